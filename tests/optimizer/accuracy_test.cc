// Whether two sets of answers agree: bounds, NaN and infinity, integers, 16-bit floats, and the words of a refusal.
#include "optimizer/accuracy.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/half.h"
#include "optimizer/string_tensor.h"

namespace blade::optimizer {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

template <class T>
ir::TensorPtr tensor(ir::DType dtype, const std::vector<T>& values) {
  return ir::make_tensor<T>(dtype, {static_cast<int64_t>(values.size())}, std::span<const T>(values));
}
ir::TensorPtr floats(const std::vector<float>& values) { return tensor<float>(ir::DType::kFloat32, values); }
ir::TensorPtr ints(const std::vector<int64_t>& values) { return tensor<int64_t>(ir::DType::kInt64, values); }

AccuracyResult check(const ir::TensorPtr& expected, const ir::TensorPtr& got, const AccuracyOptions& options = {}) {
  return check_accuracy({"y"}, {expected}, {got}, options);
}

TEST(AccuracyTest, EqualAnswersHold) {
  const AccuracyResult result = check(floats({1, -4, 2}), floats({1, -4, 2}));
  EXPECT_TRUE(result.holds);
  EXPECT_EQ(result.outputs[0].max_difference, 0);
  EXPECT_EQ(result.outputs[0].max_expected, 4);
  EXPECT_EQ(result.message(), "");
}

TEST(AccuracyTest, AnswersThatCannotBeComparedAreSaid) {
  EXPECT_EQ(check(floats({1, kNaN}), floats({1, kNaN})).nothing_compared(), "");
  EXPECT_EQ(check(ints({3}), ints({3})).nothing_compared(), "");
  const AccuracyResult all_nan = check(floats({kNaN, kInfinity}), floats({kNaN, kInfinity}));
  EXPECT_TRUE(all_nan.holds);
  EXPECT_EQ(all_nan.outputs[0].compared, 0);
  EXPECT_EQ(all_nan.nothing_compared(), "output 'y' has no finite element");
  EXPECT_EQ(check(floats({}), floats({})).nothing_compared(), "output 'y' has no finite element");
  EXPECT_EQ(check(floats({kNaN}), floats({1})).nothing_compared(), "");  // fails, and says why
}

TEST(AccuracyTest, TheBoundIsRelativeToTheLargestExpectedValue) {
  AccuracyOptions options;
  options.rtol = 0.25;
  options.atol = 1;
  EXPECT_TRUE(check(floats({8, 0}), floats({8, 3}), options).holds);  // 1 + 0.25 * 8
  const AccuracyResult result = check(floats({8, 0}), floats({8, 3.5}), options);
  EXPECT_FALSE(result.holds);
  EXPECT_EQ(result.outputs[0].max_difference, 3.5);
  EXPECT_EQ(result.outputs[0].allowed, 3);
  EXPECT_EQ(result.message(), "output 'y': largest difference 3.5, allowed 3");
}

TEST(AccuracyTest, FewIntegersThatFloatsDecideMayDiffer) {
  AccuracyOptions options;
  options.roundings["y"] = {1, 0.25};
  EXPECT_TRUE(check(ints({3, 4, 5, 6}), ints({3, 5, 5, 6}), options).holds);
  EXPECT_EQ(check(ints({3, 4, 5, 6}), ints({3, 5, 5, 6}), options).outputs[0].allowed, 1);
  EXPECT_TRUE(check(ints({3, 4, 5, 6}), ints({3, 4, 5, 6}), options).holds);
  EXPECT_FALSE(check(ints({3, 4, 5, 6}), ints({3, 6, 5, 6}), options).holds);  // by more than one
  EXPECT_FALSE(check(ints({3, 4, 5, 6}), ints({3, 5, 5, 7}), options).holds);  // more than a quarter
  EXPECT_FALSE(check(ints({3, 4, 5}), ints({3, 5, 5}), options).holds);
  const AccuracyResult few = check(ints({3, 4, 5, 6}), ints({3, 5, 5, 6}), options);
  EXPECT_EQ(few.outputs[0].unequal, 1);
  EXPECT_EQ(few.outputs[0].message,
            "1 of 4 elements differ, by at most 1, as rounding of the floats that decide them may");
  EXPECT_EQ(few.message(), "");
  options.rtol = options.atol = 0;  // who asks for exact answers gets them
  EXPECT_FALSE(check(ints({3, 4, 5, 6}), ints({3, 5, 5, 6}), options).holds);
}

TEST(AccuracyTest, MaxAbsoluteUsesAtolAlone) {
  AccuracyOptions options;
  options.metric = "max_absolute";
  options.atol = 0.5;
  EXPECT_TRUE(check(floats({1000}), floats({1000.5}), options).holds);
  EXPECT_FALSE(check(floats({1000}), floats({1001}), options).holds);
}

TEST(AccuracyTest, NotFiniteValuesMustStandAtTheSamePlaces) {
  EXPECT_TRUE(check(floats({kNaN, kInfinity, -kInfinity, 1}), floats({kNaN, kInfinity, -kInfinity, 1})).holds);
  EXPECT_EQ(check(floats({1, 2}), floats({1, kNaN})).message(), "output 'y': element 1 is nan, expected 2");
  EXPECT_EQ(check(floats({kNaN}), floats({0})).message(), "output 'y': element 0 is 0, expected nan");
  EXPECT_EQ(check(floats({kInfinity}), floats({-kInfinity})).message(), "output 'y': element 0 is -inf, expected inf");
  EXPECT_EQ(check(floats({3}), floats({kInfinity})).message(), "output 'y': element 0 is inf, expected 3");
}

TEST(AccuracyTest, InfinityDoesNotWidenTheBound) {
  EXPECT_FALSE(check(floats({kInfinity, 1}), floats({kInfinity, 2})).holds);
}

TEST(AccuracyTest, IntegersMustBeEqual) {
  AccuracyOptions generous;
  generous.rtol = generous.atol = 10;
  EXPECT_TRUE(check(ints({5, -7}), ints({5, -7}), generous).holds);
  EXPECT_EQ(check(ints({5, -7}), ints({5, -6}), generous).message(), "output 'y': largest difference 1, allowed 0");
  const auto flags = [](std::vector<uint8_t> values) { return tensor<uint8_t>(ir::DType::kBool, values); };
  EXPECT_TRUE(check(flags({0, 1}), flags({0, 1}), generous).holds);
  EXPECT_FALSE(check(flags({0, 1}), flags({1, 1}), generous).holds);
}

TEST(AccuracyTest, IntegersThatADoubleCannotTellApartDiffer) {
  const int64_t large = int64_t{1} << 60;
  EXPECT_TRUE(check(ints({large}), ints({large})).holds);
  EXPECT_FALSE(check(ints({large}), ints({large + 1})).holds);
}

TEST(AccuracyTest, StringsMustBeEqual) {
  const auto strings = [](const std::vector<std::string_view>& values) {
    return *pack_strings({static_cast<int64_t>(values.size())}, values);
  };
  const AccuracyResult same = check(strings({"cat", "", "dog"}), strings({"cat", "", "dog"}));
  EXPECT_TRUE(same.holds);
  EXPECT_EQ(same.outputs[0].compared, 3);
  for (const auto& other : {strings({"cat", "", "dot"}), strings({"ca", "t", "dog"}), strings({"cat", "", "dogs"})}) {
    const AccuracyResult result = check(strings({"cat", "", "dog"}), other);
    EXPECT_FALSE(result.holds);
    EXPECT_EQ(result.message(), "output 'y': its strings are not equal");
  }
  EXPECT_EQ(check(strings({"cat", "dog"}), strings({"cat", "cow"})).outputs[0].unequal, 1);
}

TEST(AccuracyTest, SixteenBitFloatsAreWidened) {
  const auto half = [](float value) { return tensor<uint16_t>(ir::DType::kFloat16, {float_to_float16(value)}); };
  const auto brain = [](float value) { return tensor<uint16_t>(ir::DType::kBFloat16, {float_to_bfloat16(value)}); };
  EXPECT_EQ(check(half(2), half(1.5)).outputs[0].max_difference, 0.5);
  EXPECT_EQ(check(brain(2), brain(-1)).outputs[0].max_difference, 3);
  EXPECT_TRUE(check(half(1024), half(1024.5)).holds);  // rtol 1e-3
  EXPECT_FALSE(check(half(kInfinity), half(1)).holds);
}

TEST(AccuracyTest, DtypesAndShapesMustBeEqual) {
  EXPECT_EQ(check(floats({1}), ints({1})).message(), "output 'y': dtype int64, expected float32");
  EXPECT_EQ(check(floats({1}), floats({1, 1})).message(), "output 'y': shape [2], expected [1]");
}

TEST(AccuracyTest, EmptyTensorsHold) { EXPECT_TRUE(check(floats({}), floats({})).holds); }

TEST(AccuracyTest, EveryOutputIsReportedAndTheFirstFailureIsTheMessage) {
  const AccuracyResult result = check_accuracy({"a", "b", "c"}, {floats({1}), floats({1}), floats({1})},
                                               {floats({1}), floats({3}), floats({9})}, AccuracyOptions());
  EXPECT_FALSE(result.holds);
  ASSERT_EQ(result.outputs.size(), 3u);
  EXPECT_TRUE(result.outputs[0].holds);
  EXPECT_EQ(result.outputs[1].max_difference, 2);
  EXPECT_EQ(result.outputs[2].max_difference, 8);
  EXPECT_EQ(result.message().rfind("output 'b': ", 0), 0u);
}

}  // namespace
}  // namespace blade::optimizer
