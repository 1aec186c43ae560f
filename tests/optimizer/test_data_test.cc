// The feeds that optimizing measures with: the user's are checked, others are made the same way each time.
#include "optimizer/test_data.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "optimizer/measuring_data.h"
#include "optimizer/string_tensor.h"

namespace blade::optimizer {
namespace {

using engine::TensorInfo;

ir::TensorPtr floats(ir::Dims dims, const std::vector<float>& values) {
  return ir::make_tensor<float>(ir::DType::kFloat32, std::move(dims), std::span<const float>(values));
}

template <class T>
std::vector<T> values_of(const ir::TensorPtr& tensor) {
  const auto values = tensor->as<T>();
  return {values.begin(), values.end()};
}

TensorInfo info(const std::string& name, const std::vector<ir::Dim>& dims, ir::DType dtype = ir::DType::kFloat32) {
  return {name, dtype, ir::Shape(dims)};
}

std::string refusal(const Feed& feed, const std::vector<TensorInfo>& inputs) {
  const auto checked = check_feeds({feed}, inputs);
  return checked.ok() ? "" : checked.status().message();
}

const ir::Dim kAny = ir::Dim::symbol(0);

TEST(CheckFeedsTest, OrdersAsTheModelAndCompletesNames) {
  const auto a = floats({1}, {1}), b = floats({2}, {2, 3});
  const auto checked = check_feeds({{{"b:0", b}, {"a", a}}}, {info("a", {kAny}), info("b", {kAny})});
  ASSERT_TRUE(checked.ok()) << checked.status().message();
  EXPECT_EQ((*checked)[0][0].name, "a:0");
  EXPECT_EQ((*checked)[0][0].tensor, a);
  EXPECT_EQ((*checked)[0][1].name, "b:0");
  EXPECT_EQ((*checked)[0][1].tensor, b);
}

TEST(StringsTest, PackedAndUnpackedAndRepeated) {
  const auto packed = pack_strings({1, 3}, {"ab", "", "c"});
  ASSERT_TRUE(packed.ok());
  const auto copy = copy_packed_strings((*packed)->dims, (*packed)->data, (*packed)->bytes);
  ASSERT_TRUE(copy.ok()) << copy.status().message();
  EXPECT_EQ(unpack_strings(**copy), (std::vector<std::string_view>{"ab", "", "c"}));
  const auto checked = check_feeds({{{"s", *packed}}}, {info("s", {kAny, ir::Dim(3)}, ir::DType::kOpaque)});
  ASSERT_TRUE(checked.ok()) << checked.status().message();
  const auto resized = resize_feed((*checked)[0], {{2, 2}});
  ASSERT_TRUE(resized.ok());
  EXPECT_EQ(unpack_strings(*(*resized)[0].tensor), (std::vector<std::string_view>{"ab", "", "ab", ""}));
  EXPECT_EQ(refusal({{"s", *packed}}, {info("s", {kAny, kAny})}),
            "test data for the input 's' has dtype string, the model expects float32; convert it");
}

TEST(StringsTest, DamagedOnesAreRefused) {
  const int64_t falling[] = {0, 3, 2, 'x'}, outside[] = {0, 1, 99, 'x'};
  EXPECT_FALSE(copy_packed_strings({2}, falling, sizeof falling).ok());
  EXPECT_FALSE(copy_packed_strings({2}, outside, sizeof outside).ok());
  EXPECT_FALSE(copy_packed_strings({4}, falling, sizeof falling).ok());
  EXPECT_FALSE(copy_packed_strings({-1}, falling, sizeof falling).ok());
}

TEST(StringsTest, NoneAreGenerated) {
  const auto feed = generate_feed({info("s", {kAny}, ir::DType::kOpaque)}, {{2}}, {});
  ASSERT_FALSE(feed.ok());
  EXPECT_NE(feed.status().message().find("give test_data"), std::string::npos);
}

TEST(StringsTest, NeedlessOnesAreEmptyOfAnyShape) {
  const std::vector<TensorInfo> inputs = {info("x", {kAny, 4}), info("note", {kAny, 2}, ir::DType::kOpaque)};
  OptimizeOptions options;
  options.input_shapes.resize(1);
  options.input_shapes[0].by_name = {{"x:0", {3, 4}}};
  const auto made = make_measuring_data(options, inputs, {"note"}, {});
  ASSERT_TRUE(made.ok()) << made.status().message();
  EXPECT_EQ(shapes_to_string(made->feeds[0]), "(3, 4), (1, 2)");
  EXPECT_EQ(unpack_strings(*made->feeds[0][1].tensor), (std::vector<std::string_view>{"", ""}));
  const auto refused = [&](const std::map<std::string, ir::Dims>& shapes) {
    options.input_shapes[0].by_name = shapes;
    return make_measuring_data(options, inputs, {"note"}, {}).status().message();
  };
  EXPECT_EQ(refused({{"note", {1, 2}}}), "the shapes given lack one for the input 'x'; give one for each input");
  EXPECT_EQ(refused({{"x", {3, 4}}, {"y", {1}}}),
            "'y' is no input of the model; its inputs are 'x', 'note'; leave it out or give one of those");
  EXPECT_NE(refused({{"x", {3, 4}}, {"note", {1, 3}}}), "");
}

TEST(CheckFeedsTest, NoFeedsAreFine) {
  const auto checked = check_feeds({}, {info("a", {kAny})});
  ASSERT_TRUE(checked.ok());
  EXPECT_TRUE(checked->empty());
}

TEST(CheckFeedsTest, SaysWhatIsWrong) {
  const std::vector<TensorInfo> inputs = {info("image", {kAny, 4, 3}), info("n", {}, ir::DType::kInt32)};
  const auto image = floats({2, 4, 3}, std::vector<float>(24));
  const std::vector<int32_t> one = {1};
  const auto n = ir::make_tensor<int32_t>(ir::DType::kInt32, {}, std::span<const int32_t>(one));
  EXPECT_EQ(refusal({{"image", image}, {"n", n}}, inputs), "");
  EXPECT_EQ(refusal({{"image", image}}, inputs), "test data has no value for the input 'n'; it has 'image'");
  EXPECT_EQ(refusal({{"image", image}, {"n", n}, {"m:0", n}}, inputs),
            "'m:0' is no input of the model; its inputs are 'image', 'n'; leave it out or give one of those");
  EXPECT_EQ(refusal({{"image", image}, {"n", floats({}, {1})}}, inputs),
            "test data for the input 'n' has dtype float32, the model expects int32; convert it");
  EXPECT_EQ(refusal({{"image", floats({4, 3}, std::vector<float>(12))}, {"n", n}}, inputs),
            "test data for the input 'image' has shape (4, 3), the model expects (?, 4, 3); give data of that shape");
  EXPECT_EQ(
      refusal({{"image", floats({1, 5, 3}, std::vector<float>(15))}, {"n", n}}, inputs),
      "test data for the input 'image' has shape (1, 5, 3), the model expects (?, 4, 3); give data of that shape");
}

TEST(CheckFeedsTest, AnUnknownRankTakesAnyShape) {
  EXPECT_EQ(refusal({{"x", floats({1, 1}, {5})}}, {{"x", ir::DType::kFloat32, ir::Shape::unknown()}}), "");
}

TEST(GenerateFeedTest, FloatsAreUniformInTheRangeAndTheSameEachTime) {
  const std::vector<TensorInfo> inputs = {info("x", {kAny, 1000})};
  const auto feed = generate_feed(inputs, {{2, 1000}}, {{-3, 5}}),
             again = generate_feed(inputs, {{2, 1000}}, {{-3, 5}});
  ASSERT_TRUE(feed.ok() && again.ok());
  EXPECT_EQ((*feed)[0].name, "x:0");
  EXPECT_EQ((*feed)[0].tensor->dims, (ir::Dims{2, 1000}));
  const std::vector<float> values = values_of<float>((*feed)[0].tensor);
  const auto [low, high] = std::minmax_element(values.begin(), values.end());
  EXPECT_GE(*low, -3);
  EXPECT_LE(*high, 5);
  EXPECT_LT(*low, -2);
  EXPECT_GT(*high, 4);
  EXPECT_EQ(values, values_of<float>((*again)[0].tensor));
}

TEST(GenerateFeedTest, IntegersStayInTheRangeAndTheType) {
  const auto feed = generate_feed({info("a", {100}, ir::DType::kInt32), info("b", {100}, ir::DType::kUInt8)},
                                  {{100}, {100}}, {{10, 12}, {-1000, 1000}});
  ASSERT_TRUE(feed.ok());
  for (const int32_t value : values_of<int32_t>((*feed)[0].tensor)) EXPECT_TRUE(value >= 10 && value <= 12) << value;
  const std::vector<uint8_t> bytes = values_of<uint8_t>((*feed)[1].tensor);
  EXPECT_EQ(*std::min_element(bytes.begin(), bytes.end()), 0);
  EXPECT_EQ(*std::max_element(bytes.begin(), bytes.end()), 255);
}

TEST(VaryFeedTest, KeepsRangesAndElements) {
  const auto feed = generate_feed({info("f", {50}, ir::DType::kFloat32), info("i", {50}, ir::DType::kInt64)},
                                  {{50}, {50}}, {{2, 3}, {0, 1000}});
  ASSERT_TRUE(feed.ok());
  std::vector<int64_t> given = values_of<int64_t>((*feed)[1].tensor);
  std::sort(given.begin(), given.end());
  for (const uint64_t seed : {0, 1}) {
    const auto varied = vary_feed(*feed, seed), again = vary_feed(*feed, seed);
    ASSERT_TRUE(varied.ok() && again.ok());
    const std::vector<float> floats = values_of<float>((*varied)[0].tensor);
    EXPECT_NE(floats, values_of<float>((*feed)[0].tensor));
    EXPECT_EQ(floats, values_of<float>((*again)[0].tensor));
    for (const float value : floats) EXPECT_TRUE(value >= 2 && value <= 3) << value;
    std::vector<int64_t> integers = values_of<int64_t>((*varied)[1].tensor);
    std::sort(integers.begin(), integers.end());
    EXPECT_EQ(integers, given);
  }
}

TEST(GenerateFeedTest, DisturbedFeedsLieAroundTheGivenOne) {
  const auto feed =
      generate_feed({info("x", {500}), info("n", {40}, ir::DType::kInt64)}, {{500}, {40}}, {{2, 3}, {0, 30}});
  ASSERT_TRUE(feed.ok());
  const std::vector<float> floats = values_of<float>((*feed)[0].tensor);
  std::vector<int64_t> integers = values_of<int64_t>((*feed)[1].tensor);
  std::sort(integers.begin(), integers.end());
  double last = 0;
  for (const uint64_t seed : {0, 1, 2, 3, 4}) {
    const auto disturbed = disturb_feed(*feed, seed), again = disturb_feed(*feed, seed);
    ASSERT_TRUE(disturbed.ok() && again.ok());
    const std::vector<float> got = values_of<float>((*disturbed)[0].tensor);
    EXPECT_EQ(got, values_of<float>((*again)[0].tensor));
    double squares = 0;
    for (size_t i = 0; i < got.size(); ++i) {
      EXPECT_TRUE(got[i] >= 2 && got[i] <= 3) << got[i];
      squares += std::pow(double{got[i]} - double{floats[i]}, 2);
    }
    EXPECT_GT(squares, last);  // more noise for each
    EXPECT_LT(std::sqrt(squares / 500), 0.9 * 0.3);
    last = squares;
    std::vector<int64_t> order = values_of<int64_t>((*disturbed)[1].tensor);
    std::sort(order.begin(), order.end());
    EXPECT_EQ(order, integers);
  }
}

TEST(GenerateFeedTest, EveryTypeOfAModelInputCanBeMade) {
  for (const ir::DType dtype :
       {ir::DType::kFloat32, ir::DType::kFloat64, ir::DType::kFloat16, ir::DType::kBFloat16, ir::DType::kInt8,
        ir::DType::kInt16, ir::DType::kInt32, ir::DType::kInt64, ir::DType::kUInt8, ir::DType::kUInt16,
        ir::DType::kUInt32, ir::DType::kUInt64, ir::DType::kBool}) {
    const auto feed = generate_feed({info("x", {3}, dtype)}, {{3}}, {{-1e30, 1e30}});
    ASSERT_TRUE(feed.ok()) << ir::dtype_name(dtype);
    EXPECT_EQ((*feed)[0].tensor->dtype, dtype);
  }
}

TEST(GenerateFeedTest, ShapesMustFitTheModel) {
  const auto feed = generate_feed({info("x", {kAny, 4})}, {{1, 5}}, {});
  ASSERT_FALSE(feed.ok());
  EXPECT_EQ(feed.status().message(),
            "test data for the input 'x' has shape (1, 5), the model expects (?, 4); give data of that shape");
}

TEST(ResizeFeedTest, RepeatsAndCropsAlongEveryDim) {
  const Feed feed = {{"x:0", floats({2, 3}, {0, 1, 2, 10, 11, 12})}};
  const auto larger = resize_feed(feed, {{3, 4}});
  ASSERT_TRUE(larger.ok());
  EXPECT_EQ((*larger)[0].name, "x:0");
  EXPECT_EQ((*larger)[0].tensor->dims, (ir::Dims{3, 4}));
  EXPECT_EQ(values_of<float>((*larger)[0].tensor), (std::vector<float>{0, 1, 2, 0, 10, 11, 12, 10, 0, 1, 2, 0}));
  const auto smaller = resize_feed(feed, {{1, 2}});
  ASSERT_TRUE(smaller.ok());
  EXPECT_EQ(values_of<float>((*smaller)[0].tensor), (std::vector<float>{0, 1}));
}

TEST(ResizeFeedTest, TheSameShapeIsTheSameTensor) {
  const Feed feed = {{"x:0", floats({2}, {1, 2})}};
  EXPECT_EQ((*resize_feed(feed, {{2}}))[0].tensor, feed[0].tensor);
}

TEST(ResizeFeedTest, NothingCanBeNeededButNotRepeated) {
  const Feed feed = {{"x:0", floats({2}, {1, 2})}}, nothing = {{"x:0", floats({0}, {})}};
  const auto empty = resize_feed(feed, {{0}});
  ASSERT_TRUE(empty.ok());
  EXPECT_EQ((*empty)[0].tensor->dims, (ir::Dims{0}));
  EXPECT_EQ(resize_feed(nothing, {{3}}).status().message(), "test data of shape (0,) cannot be repeated to (3,)");
  EXPECT_EQ(resize_feed(feed, {{2, 1}}).status().message(), "test data of shape (2,) cannot be repeated to (2, 1)");
}

TEST(DimsToStringTest, LooksAsInPython) {
  EXPECT_EQ(dims_to_string({}), "()");
  EXPECT_EQ(dims_to_string({5}), "(5,)");
  EXPECT_EQ(dims_to_string({1, 224, 224, 3}), "(1, 224, 224, 3)");
}

TEST(MeasuringDataTest, UnknownSidesOfImagesAndMapsAreThoseOfAUsualImageAndTheirIntegersPixels) {
  const ir::Dim any = ir::Dim::symbol(1), other = ir::Dim::symbol(2);
  const std::vector<TensorInfo> inputs = {info("last", {kAny, any, other, ir::Dim(3)}, ir::DType::kInt32),
                                          info("second", {ir::Dim(2), ir::Dim(3), any, ir::Dim(96)}),
                                          info("mask", {kAny, ir::Dim(1), any, other}),
                                          info("ids", {kAny, any}, ir::DType::kInt32)};
  const auto made = make_measuring_data({}, inputs, {}, {});
  ASSERT_TRUE(made.ok()) << made.status().message();
  const Feed& feed = made->feeds[0];
  EXPECT_EQ(shapes_of(feed), (std::vector<ir::Dims>{{1, 224, 224, 3}, {2, 3, 224, 96}, {1, 1, 224, 224}, {1, 1}}));
  const auto pixels = values_of<int32_t>(feed[0].tensor);
  EXPECT_EQ(std::ranges::max(pixels), 255);
  EXPECT_LE(values_of<int32_t>(feed[3].tensor)[0], 1);
}
TEST(MeasuringDataTest, UnknownSidesOfMapsWithoutAnImageAreOne) {
  const ir::Dim any = ir::Dim::symbol(1), other = ir::Dim::symbol(2);
  const auto made = make_measuring_data({}, {info("map", {kAny, any, other, ir::Dim(16)})}, {}, {});
  ASSERT_TRUE(made.ok()) << made.status().message();
  EXPECT_EQ(shapes_of(made->feeds[0]), (std::vector<ir::Dims>{{1, 1, 1, 16}}));
}

TEST(GenerateFeed, WhatNobodyCanMeanIsRefused) {
  const auto feed = generate_feed({info("x", {kAny, 32})}, {{100000000, 32}}, {});
  ASSERT_FALSE(feed.ok());
  EXPECT_NE(feed.status().message().find("'x' of shape (100000000, 32), would take 12 GB"), std::string::npos)
      << feed.status().message();
}

TEST(GenerateFeed, TheBoundIsOnAllInputsOfAllFeedsTogether) {
  constexpr int64_t kGiB = int64_t{1} << 30;
  const std::vector<engine::TensorInfo> inputs = {info("x", {kAny}), info("b", {kAny}, ir::DType::kUInt8)};
  const auto fits = [&](const std::vector<std::vector<ir::Dims>>& groups) {
    return check_generated_size(inputs, groups).ok();
  };
  EXPECT_TRUE(fits({{{kGiB}, {0}}}));
  EXPECT_FALSE(fits({{{kGiB}, {1}}}));
  EXPECT_FALSE(fits({{{kGiB + 1}, {0}}}));
  EXPECT_TRUE(fits({{{kGiB / 2}, {kGiB}}, {{kGiB / 8}, {kGiB / 2}}}));
  EXPECT_FALSE(fits({{{kGiB / 2}, {kGiB}}, {{kGiB / 8}, {kGiB / 2 + 1}}}));
  OptimizeOptions options;
  options.input_shapes.resize(2);
  for (NamedShapes& group : options.input_shapes) group.by_order = {{kGiB / 2}, {kGiB}};  // 3 GiB each
  const auto made = make_measuring_data(options, inputs, {}, {});
  ASSERT_FALSE(made.ok());
  EXPECT_NE(made.status().message().find("'x' of shape (536870912,), would take 6 GB"), std::string::npos)
      << made.status().message();
}

}  // namespace
}  // namespace blade::optimizer
