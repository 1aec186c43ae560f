// Weights in bfloat16 whose errors cancel.
#include "passes/balanced_rounding.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <random>

#include "base/half.h"
#include "passes/constants.h"

namespace blade::passes {
namespace {

std::vector<float> generated_weights(int64_t count, unsigned seed = 1) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal(0, 0.1f);
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = normal(generator);
  return values;
}

std::vector<float> balanced(const ir::Dims& dims, const std::vector<float>& values, WeightDims kind,
                            const InputMoments* moments = nullptr) {
  const ir::TensorPtr rounded = round_balanced(*float_tensor(dims, values), kind, moments);
  EXPECT_EQ(rounded->dims, dims);
  EXPECT_EQ(rounded->dtype, ir::DType::kBFloat16);
  const auto* halves = reinterpret_cast<const BFloat16*>(rounded->data);
  std::vector<float> widened;
  for (size_t i = 0; i < values.size(); ++i) widened.push_back(static_cast<float>(halves[i]));
  return widened;
}

float nearest(float value) { return bfloat16_to_float(float_to_bfloat16(value)); }

std::vector<float> nearest(std::vector<float> values) {
  for (float& value : values) value = nearest(value);
  return values;
}

// Root mean square of the errors, each group of them summed: an element's group is its index modulo `groups`.
double deviation(const std::vector<float>& exact, const std::vector<float>& rounded, size_t groups) {
  std::vector<double> sums(groups);
  for (size_t i = 0; i < exact.size(); ++i) sums[i % groups] += double{rounded[i]} - double{exact[i]};
  double square = 0;
  for (const double sum : sums) square += sum * sum;
  return std::sqrt(square / static_cast<double>(groups));
}

TEST(BalancedRounding, TakesOneOfTwoNeighbours) {
  struct Case {
    ir::Dims dims;
    WeightDims kind;
  };
  const Case cases[] = {{{3, 3, 1, 37}, {true, false}}, {{5, 5, 7, 33}, {true, false}}, {{31, 17}, {false, false}},
                        {{17, 31}, {false, true}},      {{2, 3, 5, 7}, {false, false}}, {{2, 2, 3, 67}, {false, true}},
                        {{1, 1}, {false, false}},       {{0, 3}, {false, false}},       {{3, 3, 0, 2}, {true, false}},
                        {{2, 3, 4, 0}, {true, false}}};
  for (const Case& one : cases) {
    const std::vector<float> exact = generated_weights(product(one.dims));
    const std::vector<float> rounded = balanced(one.dims, exact, one.kind);
    for (size_t i = 0; i < exact.size(); ++i) {
      const float below = bfloat16_to_float(static_cast<uint16_t>(std::bit_cast<uint32_t>(exact[i]) >> 16));
      const float above = bfloat16_to_float(static_cast<uint16_t>((std::bit_cast<uint32_t>(exact[i]) >> 16) + 1));
      EXPECT_TRUE(rounded[i] == below || rounded[i] == above) << exact[i] << " became " << rounded[i];
    }
  }
}

TEST(BalancedRounding, LeavesWhatBfloat16Holds) {
  const std::vector<float> exact = nearest(generated_weights(9 * 5 * 40));
  EXPECT_EQ(balanced({3, 3, 5, 40}, exact, {true, false}), exact);
}

// Beside weights whose errors ask for changes.
TEST(BalancedRounding, LeavesZeros) {
  std::vector<float> exact = generated_weights(9 * 5 * 40);
  for (size_t i = 0; i < exact.size(); i += 2) exact[i] = i % 4 == 0 ? 0.0f : -0.0f;
  const std::vector<float> rounded = balanced({3, 3, 5, 40}, exact, {true, false});
  for (size_t i = 0; i < exact.size(); i += 2)
    ASSERT_EQ(std::bit_cast<uint32_t>(rounded[i]), std::bit_cast<uint32_t>(exact[i])) << i;
}

TEST(BalancedRounding, ErrorsOfAChannelsTapsCancel) {
  const std::vector<float> exact = generated_weights(9 * 16 * 64), plain = nearest(exact);
  const std::vector<float> rounded = balanced({3, 3, 16, 64}, exact, {true, false});
  EXPECT_LT(deviation(exact, rounded, 16 * 64), 0.4 * deviation(exact, plain, 16 * 64));
  EXPECT_LT(deviation(exact, rounded, 64), 0.4 * deviation(exact, plain, 64));
  EXPECT_LT(deviation(exact, rounded, exact.size()), 1.25 * deviation(exact, plain, exact.size()));
}

TEST(BalancedRounding, ErrorsOfAProductCancelAtNoCostToEachWeight) {
  const std::vector<float> exact = generated_weights(256 * 48), plain = nearest(exact);
  const std::vector<float> rounded = balanced({256, 48}, exact, {false, false});
  EXPECT_LT(deviation(exact, rounded, 48), 0.6 * deviation(exact, plain, 48));
  EXPECT_LT(deviation(exact, rounded, exact.size()), 1.02 * deviation(exact, plain, exact.size()));
}

TEST(BalancedRounding, TransposedWeightsAndBatchesAreRoundedTheSame) {
  constexpr size_t kChannels = 61, kResults = 45;
  const std::vector<float> a = generated_weights(kChannels * kResults, 3),
                           b = generated_weights(kChannels * kResults, 4);
  std::vector<float> turned(a.size()), both = a;
  both.insert(both.end(), b.begin(), b.end());
  for (size_t i = 0; i < a.size(); ++i) turned[i % kResults * kChannels + i / kResults] = a[i];
  const std::vector<float> rounded = balanced({kChannels, kResults}, a, {});
  const std::vector<float> of_turned = balanced({kResults, kChannels}, turned, {false, true});
  for (size_t i = 0; i < a.size(); ++i) EXPECT_EQ(of_turned[i % kResults * kChannels + i / kResults], rounded[i]);
  const std::vector<float> of_both = balanced({2, kChannels, kResults}, both, {});
  EXPECT_TRUE(std::equal(rounded.begin(), rounded.end(), of_both.begin()));
}

// Of inputs with these means, which hardly vary.
TEST(BalancedRounding, ErrorsOfMeasuredMeansCancel) {
  constexpr size_t kChannels = 256, kResults = 48;
  const std::vector<float> exact = generated_weights(kChannels * kResults), means = generated_weights(kChannels, 7);
  const InputMoments moments = {means, std::vector<float>(kChannels, 1e-6f)};
  const auto deviation_of_means = [&](const std::vector<float>& rounded) {
    std::vector<float> a(exact.size()), b(exact.size());
    for (size_t i = 0; i < a.size(); ++i) {
      a[i] = exact[i] * means[i / kResults];
      b[i] = rounded[i] * means[i / kResults];
    }
    return deviation(a, b, kResults);
  };
  const std::vector<float> plain = balanced({kChannels, kResults}, exact, {});
  const std::vector<float> rounded = balanced({kChannels, kResults}, exact, {}, &moments);
  EXPECT_LT(deviation_of_means(rounded), 0.1 * deviation_of_means(plain));
  EXPECT_LT(deviation(exact, rounded, exact.size()), 1.5 * deviation(exact, plain, exact.size()));
}

TEST(BalancedRounding, MomentsThatSayNothingChangeNothing) {
  const std::vector<float> exact = generated_weights(9 * 16 * 40);
  const std::vector<float> plain = balanced({3, 3, 16, 40}, exact, {true, false});
  const float infinity = std::numeric_limits<float>::infinity();
  for (const InputMoments& moments :
       {InputMoments(), InputMoments{std::vector<float>(15, 1), std::vector<float>(15, 1)},
        InputMoments{std::vector<float>(16, 0), std::vector<float>(16, 0)},
        InputMoments{std::vector<float>(16, 1), std::vector<float>(16, infinity)}})
    EXPECT_EQ(balanced({3, 3, 16, 40}, exact, {true, false}, &moments), plain);
}

TEST(BalancedRounding, NothingBecomesInfiniteAndWhatIsNotANumberSpoilsItsOwnResultAlone) {
  std::vector<float> exact(9 * 3, 0.1f);
  for (size_t tap = 0; tap < 9; ++tap) exact[tap * 3] = 0x1.FDp127f;  // between the two largest
  exact[4 * 3 + 1] = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> rounded = balanced({3, 3, 1, 3}, exact, {true, false});
  for (size_t tap = 0; tap < 9; ++tap) {
    EXPECT_TRUE(std::isfinite(rounded[tap * 3]));
    EXPECT_EQ(std::isnan(rounded[tap * 3 + 1]), tap == 4);
  }
  double sum = 0;
  for (size_t tap = 0; tap < 9; ++tap) sum += double{rounded[tap * 3 + 2]};
  EXPECT_NEAR(sum, 0.9, 0x1.01p-12);  // half of the neighbours' distance, where the nearest are off by 8.8e-4
}

}  // namespace
}  // namespace blade::passes
