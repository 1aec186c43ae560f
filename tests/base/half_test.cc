// Conversion of many values at once against conversion one by one.
#include "base/half.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

namespace blade {
namespace {

TEST(Half, ManyValuesAreConvertedLikeOne) {
  std::mt19937 random(7);
  std::vector<float> values = {
      0.0f,    -0.0f,    1.0f,     65504.0f, 65519.9f, 65520.0f, 1e9f,     -1e9f,
      6.1e-5f, 5.96e-8f, 2.98e-8f, 1e-12f,   2049.0f,  2051.0f,  -3.3e-6f, std::numeric_limits<float>::infinity()};
  for (int i = 0; i < 5000; ++i) {
    const float exponent = std::uniform_real_distribution<float>(-28, 18)(random);
    values.push_back(std::uniform_real_distribution<float>(-1, 1)(random) * std::exp2(exponent));
  }
  for (const size_t count : {values.size(), size_t{0}, size_t{1}, size_t{7}, size_t{17}}) {
    std::vector<uint16_t> got(count + 1, 0xabcd);
    floats_to_float16(values.data(), got.data(), count);
    for (size_t i = 0; i < count; ++i) ASSERT_EQ(got[i], float_to_float16(values[i])) << values[i];
    EXPECT_EQ(got[count], 0xabcd);
  }
}

TEST(Half, AllFloat16WidenedLikeOne) {
  std::vector<uint16_t> values(1 << 16);
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<uint16_t>(i);
  std::vector<float> got(values.size() + 1, -7.0f);
  float16_to_floats(values.data(), got.data(), values.size());
  for (size_t i = 0; i < values.size(); ++i) {
    const float want = float16_to_float(values[i]);
    if (std::isnan(want)) {
      ASSERT_TRUE(std::isnan(got[i])) << values[i];
    } else {
      ASSERT_EQ(std::bit_cast<uint32_t>(got[i]), std::bit_cast<uint32_t>(want)) << values[i];
    }
  }
  for (const size_t count : {size_t{0}, size_t{3}, size_t{9}}) {
    got.assign(16, -7.0f);
    float16_to_floats(values.data() + 0x3c00, got.data(), count);
    EXPECT_EQ(got[count], -7.0f);
  }
}

TEST(Half, NaNStaysNaN) {
  const std::vector<float> values(9, std::numeric_limits<float>::quiet_NaN());
  std::vector<uint16_t> got(9);
  floats_to_float16(values.data(), got.data(), got.size());
  for (const uint16_t bits : got) EXPECT_TRUE(std::isnan(float16_to_float(bits)));
}

}  // namespace
}  // namespace blade
