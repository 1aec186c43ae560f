// What the tiles for little work, patches and means take beside the shapes that other tests give them: curves behind a
// residual, and numbers that are not finite. Skipped where there is no card.
#include <limits>

#include "backends/cuda_rows.h"

namespace blade::backends {
namespace {

using Code = std::vector<ir::PointwiseInstr>;

constexpr float kInfinity = std::numeric_limits<float>::infinity(), kNaN = std::numeric_limits<float>::quiet_NaN();

struct Placed {
  int64_t at;
  float value;
};

// In float16, with some elements that are not finite.
ir::TensorPtr halved_with(const ir::TensorPtr& t, const std::vector<Placed>& placed) {
  std::vector<Float16> values;
  for (int64_t i = 0; i < t->element_count(); ++i) values.emplace_back(static_cast<float>(element(*t, i)));
  for (const Placed& p : placed) values[static_cast<size_t>(p.at)] = Float16(p.value);
  return tensor<Float16>(ir::DType::kFloat16, t->dims, values);
}

// conv(x) + bias + residual in float16, then `behind`, whose first instruction reads value 4.
Case residual_case(const std::string& name, const ir::Dims& x, const ir::Dims& w, const Code& behind) {
  ir::ConvAttrs attrs;
  attrs.strides = attrs.dilations = {1, 1};
  attrs.padding = ir::Padding::kSame;
  attrs.epilogue.num_inputs = 3;
  attrs.epilogue.code = {{ir::PointwiseOp::kAdd, 0, 1, -1, 0, 0}, {ir::PointwiseOp::kAdd, 3, 2, -1, 0, 0}};
  attrs.epilogue.code.insert(attrs.epilogue.code.end(), behind.begin(), behind.end());
  const double scale = 1.5 / std::sqrt(static_cast<double>(w[0] * w[1] * w[2]));
  Case c = in_half({name, ir::Op::kConv, attrs, {random_floats(x), random_floats(w, -scale, scale)}, 1, 1, 4e-3});
  c.inputs.push_back(random_floats({w[3]}));
  c.inputs.push_back(halved(random_floats({x[0], x[1], x[2], w[3]})));
  c.variable_inputs |= 1u << 3;
  return c;
}

// By rows of warp groups, where there are any.
void check_groups(const std::vector<Case>& cases, const std::string& part) {
  if (cuda_device().ok() && !has_warp_groups()) GTEST_SKIP() << "needs compute capability 9.0";
  check_rows(cases, part);
}

// Depths that every split takes, channels that fill no eight: results in quads, of which the last column tile has few.
TEST(CudaShortPath, CurvesBehindAResidual) {
  std::vector<Case> cases;
  for (const auto op : {ir::PointwiseOp::kLeakyRelu, ir::PointwiseOp::kSigmoid, ir::PointwiseOp::kSwish,
                        ir::PointwiseOp::kHardSwish, ir::PointwiseOp::kGeluErf, ir::PointwiseOp::kGeluTanh}) {
    const bool has_factor = op == ir::PointwiseOp::kLeakyRelu || op == ir::PointwiseOp::kHardSwish;
    const Code behind = {{op, 4, -1, -1, has_factor ? 0.3f : 0.0f, 0},
                         {ir::PointwiseOp::kClip, 5, -1, -1, -0.25f, 0.75f}};
    const std::string name = ir::pointwise_name(op);
    cases.push_back(residual_case(name + "_64", {1, 9, 11, 64}, {3, 3, 64, 76}, behind));
    cases.push_back(residual_case(name + "_512", {1, 9, 11, 512}, {1, 1, 512, 140}, behind));
  }
  check_all(cases);
  check_groups(cases, "plain_wgmma");
}

// Of 9 x 11 pixels; where windows and residuals meet, infinities of both signs do.
Case case_of_no_numbers(int64_t depth, int64_t kernel, bool with_relu) {
  constexpr int64_t kChannels = 76;
  const Code behind = with_relu ? Code{{ir::PointwiseOp::kRelu, 4, -1, -1, 0, 0}} : Code{};
  Case c = residual_case("no_numbers_" + std::to_string(depth) + (with_relu ? "_relu" : ""), {1, 9, 11, depth},
                         {kernel, kernel, depth, kChannels}, behind);
  c.inputs[0] = halved_with(c.inputs[0], {{0, kNaN}, {49 * depth + 5, kInfinity}, {97 * depth + 9, -kInfinity}});
  c.inputs[3] = halved_with(c.inputs[3], {{20 * kChannels + 1, kNaN},
                                          {21 * kChannels + 2, kInfinity},
                                          {22 * kChannels + 75, -kInfinity},
                                          {49 * kChannels, -kInfinity},
                                          {49 * kChannels + 1, -kInfinity},
                                          {49 * kChannels + 2, kInfinity}});
  return c;
}

TEST(CudaShortPath, WhatIsNotFinite) {
  std::vector<Case> plain, patches;
  for (const bool with_relu : {false, true}) {
    plain.push_back(case_of_no_numbers(512, 1, with_relu));
    patches.push_back(case_of_no_numbers(64, 3, with_relu));
    patches.push_back(case_of_no_numbers(128, 3, with_relu));
  }
  check_groups(plain, "plain_wgmma");
  check_groups(patches, "plain_wgmma");
  check_groups(patches, "patch_wgmma");
}

TEST(CudaShortPath, MeansOfWhatIsNotFinite) {
  constexpr int64_t kDepth = 192, kChannels = 72;
  std::vector<PairCase> pairs;
  const auto add = [&](const std::vector<Placed>& x, const std::vector<Placed>& residual, bool with_relu) {
    const Code behind = with_relu ? Code{{ir::PointwiseOp::kRelu, 4, -1, -1, 0, 0}} : Code{};
    PairCase pair;
    pair.first = residual_case("no_numbers", {1, 7, 7, kDepth}, {1, 1, kDepth, kChannels}, behind);
    pair.first.inputs[0] = halved_with(pair.first.inputs[0], x);
    pair.first.inputs[3] = halved_with(pair.first.inputs[3], residual);
    ir::ReduceAttrs mean;
    mean.kind = ir::ReduceKind::kMean;
    mean.axes = {1, 2};
    pair.second = {"mean_" + std::to_string(pairs.size()), ir::Op::kReduce, mean, {nullptr}, 1, 1, 4e-3};
    pair.is_taken = has_warp_groups();
    pairs.push_back(pair);
  };
  for (const bool with_relu : {false, true}) {
    for (const float value : {kNaN, kInfinity, -kInfinity}) add({{5 * kDepth + 7, value}}, {}, with_relu);
    add({}, {{kChannels, kNaN}, {48 * kChannels + 9, kInfinity}, {3 * kChannels + 71, -kInfinity}}, with_relu);
  }
  check_pairs(pairs);
}

// bias + relu of a 1x1 convolution in float16.
Case single_case(const std::string& name, const ir::TensorPtr& x, int64_t channels) {
  ir::ConvAttrs attrs;
  attrs.strides = attrs.dilations = {1, 1};
  attrs.padding = ir::Padding::kSame;
  attrs.epilogue.num_inputs = 2;
  attrs.epilogue.code = {{ir::PointwiseOp::kAdd, 0, 1, -1, 0, 0}, {ir::PointwiseOp::kRelu, 2, -1, -1, 0, 0}};
  const int64_t depth = x->dims.back();
  const double scale = 1.5 / std::sqrt(static_cast<double>(depth));
  Case c =
      in_half({name, ir::Op::kConv, attrs, {x, random_floats({1, 1, depth, channels}, -scale, scale)}, 1, 1, 6e-3});
  c.inputs.push_back(random_floats({channels}));
  return c;
}

// A step of a plan with operands on the card.
struct BoundCase {
  Case c;
  std::vector<ir::TensorPtr> want;
  std::unique_ptr<Kernel> kernel;
  std::optional<Operands> operands;
  std::vector<const void*> in;
  KernelArgs args;

  // By the first row of that name which takes it.
  BoundCase(Device& device, DeviceQueue& queue, PackCache& packs, Case of,
            const std::string& name = "conv.plain_wgmma_32x64k2")
      : c(std::move(of)) {
    auto result = run_reference(c);
    EXPECT_TRUE(result.ok()) << result.status().message();
    want = *result;
    const CaseGraph made = make_graph(c);
    KernelRequest request = make_request(c, made.graph.node(made.node), want, 1);
    request.device = &device;
    for (const KernelEntry& row : device.kernels()) {
      if (std::string(row.name).find(name) == std::string::npos || !row.supports(request).ok) continue;
      auto made_kernel = row.create(request, packs);
      EXPECT_TRUE(made_kernel.ok()) << made_kernel.status().message();
      kernel = std::move(*made_kernel);
      break;
    }
    EXPECT_NE(kernel, nullptr) << c.name;
    auto placed = Operands::create(device, *kernel, c.inputs, want);
    EXPECT_TRUE(placed.ok()) << placed.status().message();
    operands.emplace(std::move(*placed));
    args = operands->args(queue);
  }
  BoundKernel bound() const { return {kernel.get(), args}; }
  // Input 0 becomes what another one computes.
  void read(const BoundCase& first) {
    in.assign(args.inputs.begin(), args.inputs.end());
    in[0] = first.args.outputs[0];
    args.inputs = in;
  }
  void check(DeviceQueue& queue) const {
    const auto got = operands->results(queue);
    ASSERT_TRUE(got.ok()) << got.status().message();
    expect_results(*got, c, want, "one of a pair");
  }
  // Where results come in another one's place.
  void check_at(DeviceQueue& queue, const void* place) const {
    std::vector<std::byte> got(want[0]->bytes);
    ASSERT_TRUE(queue.copy_to_host(got.data(), static_cast<const std::byte*>(place), got.size()).ok());
    ASSERT_TRUE(queue.wait().ok());
    expect_results(got, c, want, "in another one's place");
  }
};

struct PairShape {
  int64_t height, width, depth, between, channels;
};

// As many as share a launch of the two, and what it computes; in the second one's place where the image was.
void check_pair(Device& device, const Case& first_case, int64_t channels, size_t together, bool in_place = false,
                bool with_residual = false) {
  const auto queue = device.create_queue();
  ASSERT_TRUE(queue.ok());
  PackCache packs;
  BoundCase first(device, **queue, packs, first_case);
  Case then = single_case("then", first.want[0], channels);
  if (first.want[0]->dtype == ir::DType::kBFloat16) then = with_bfloat16(then);
  if (with_residual) {
    then = residual_case("then", first.want[0]->dims, {1, 1, first.want[0]->dims.back(), channels}, {});
    then.inputs[0] = first.want[0];
  }
  BoundCase second(device, **queue, packs, then);
  second.read(first);
  void* place[] = {const_cast<void*>(first.args.inputs[0])};
  if (in_place) second.args.outputs = place;
  const std::vector<BoundKernel> both = {first.bound(), second.bound()};
  size_t taken = 0;
  const auto joined = device.join(device, both, &taken);
  ASSERT_TRUE(joined.ok()) << joined.status().message();
  ASSERT_EQ(taken, together) << first_case.name;
  ASSERT_EQ(*joined != nullptr, together == 2);
  if (together == 1) return;
  // Both come first: alone, the first one would leave the results that the pair has to store.
  ASSERT_TRUE((*joined)->run((*queue)->handle(), 2).ok());
  ASSERT_TRUE((*queue)->wait().ok());
  first.check(**queue);
  if (!in_place) {
    second.check(**queue);
    ASSERT_TRUE((*joined)->run((*queue)->handle(), 1).ok());
    ASSERT_TRUE((*queue)->wait().ok());
    return first.check(**queue);
  }
  second.check_at(**queue, place[0]);
}

TEST(CudaShortPath, PairsOfConvolutions) {
  if (!cuda_device().ok() || !has_warp_groups()) GTEST_SKIP() << "needs a GPU of compute capability 9.0";
  Device& device = **cuda_device();
  const Code relu = {{ir::PointwiseOp::kRelu, 4, -1, -1, 0, 0}};
  for (const PairShape& s : {PairShape{56, 56, 64, 256, 64},
                             {9, 11, 64, 256, 64},
                             {56, 56, 64, 256, 128},
                             {28, 28, 128, 512, 128},
                             {9, 11, 128, 512, 128},
                             {28, 28, 128, 512, 256},
                             {14, 14, 256, 1024, 256},
                             {9, 11, 256, 1024, 256},
                             {9, 11, 192, 512, 128}}) {
    const std::string name =
        std::to_string(s.height) + "x" + std::to_string(s.depth) + "_" + std::to_string(s.channels);
    const Case c = residual_case(name, {1, s.height, s.width, s.depth}, {1, 1, s.depth, s.between}, relu);
    check_pair(device, c, s.channels, 2);
    check_pair(device, with_bfloat16(c), s.channels, 2);
    check_pair(device, single_case(name, c.inputs[0], s.between), s.channels, 2);
    if (s.depth == s.channels) check_pair(device, c, s.channels, 2, true);
    check_pair(device, c, s.channels, 1, s.depth != s.channels, s.depth == s.channels);
  }
  // Channels that no cluster has, and more pixels than run at once.
  check_pair(device, residual_case("others", {1, 9, 11, 128}, {1, 1, 128, 320}, relu), 128, 1);
  check_pair(device, residual_case("many", {8, 14, 14, 256}, {1, 1, 256, 1024}, relu), 256, 1);
}

struct BottleneckCase {
  ir::Dims image;
  size_t together = 3;  // that share a launch
  bool has_residual = true, in_bfloat16 = false;
  bool over_image = false, over_middle = false;  // where the last results come
  bool over_residual = false;                    // where the wide ones come
  bool narrow_has_residual = false;
  int64_t narrow_channels = 0;  // where not those of the image
  std::string window_row = "conv.patch_wgmma";
};

// bias + relu of a 3x3 convolution that keeps the number of channels, by one that reads patches.
Case window_case(const ir::Dims& image) {
  ir::ConvAttrs attrs;
  attrs.strides = attrs.dilations = {1, 1};
  attrs.padding = ir::Padding::kSame;
  attrs.epilogue.num_inputs = 2;
  attrs.epilogue.code = {{ir::PointwiseOp::kAdd, 0, 1, -1, 0, 0}, {ir::PointwiseOp::kRelu, 2, -1, -1, 0, 0}};
  const int64_t channels = image.back();
  const double scale = 1.5 / std::sqrt(9.0 * static_cast<double>(channels));
  const ir::TensorPtr weights = random_floats({3, 3, channels, channels}, -scale, scale);
  Case c = in_half({"window", ir::Op::kConv, attrs, {random_floats(image), weights}, 1, 1, 6e-3});
  c.inputs.push_back(random_floats({channels}));
  return c;
}

// The three convolutions of a bottleneck as steps of a plan.
struct BoundBottleneck {
  BoundCase window, wide, narrow;
  std::vector<void*> place;  // in which results come instead of their own

  BoundBottleneck(Device& device, DeviceQueue& queue, PackCache& packs, const BottleneckCase& of,
                  const ir::TensorPtr& image = nullptr)
      : window(device, queue, packs, with_image(typed(of, window_case(of.image)), image), of.window_row),
        wide(device, queue, packs, wide_case(of, window.want[0])),
        narrow(device, queue, packs, narrow_case(of, wide.want[0])) {
    wide.read(window);
    if (of.over_residual) {
      place = {const_cast<void*>(wide.args.inputs[3])};
      wide.args.outputs = place;
    }
    narrow.read(wide);
    if (of.over_image) {
      place = {const_cast<void*>(window.args.inputs[0])};
      narrow.args.outputs = place;
    }
    if (of.over_middle) narrow.args.outputs = window.args.outputs;
  }
  std::vector<BoundKernel> bound() const { return {window.bound(), wide.bound(), narrow.bound()}; }

 private:
  static Case typed(const BottleneckCase& of, const Case& c) { return of.in_bfloat16 ? with_bfloat16(c) : c; }
  static Case with_image(Case c, const ir::TensorPtr& image) {
    if (image != nullptr) c.inputs[0] = image;
    return c;
  }
  static Case wide_case(const BottleneckCase& of, const ir::TensorPtr& image) {
    const int64_t channels = of.image.back();
    if (!of.has_residual) return with_image(typed(of, single_case("wide", image, 4 * channels)), image);
    const Code relu = {{ir::PointwiseOp::kRelu, 4, -1, -1, 0, 0}};
    return with_image(typed(of, residual_case("wide", of.image, {1, 1, channels, 4 * channels}, relu)), image);
  }
  static Case narrow_case(const BottleneckCase& of, const ir::TensorPtr& image) {
    const int64_t channels = of.narrow_channels > 0 ? of.narrow_channels : of.image.back();
    if (!of.narrow_has_residual) return with_image(typed(of, single_case("narrow", image, channels)), image);
    return with_image(residual_case("narrow", image->dims, {1, 1, image->dims.back(), channels}, {}), image);
  }
};

void check_bottleneck(Device& device, const BottleneckCase& of) {
  SCOPED_TRACE(::testing::PrintToString(of.image));
  const auto queue = device.create_queue();
  ASSERT_TRUE(queue.ok());
  PackCache packs;
  const BoundBottleneck three(device, **queue, packs, of);
  const std::vector<BoundKernel> all = three.bound();
  size_t taken = 0;
  const auto joined = device.join(device, all, &taken);
  ASSERT_TRUE(joined.ok()) << joined.status().message();
  if (taken == 1 && device.info().multiprocessors < 132) return;  // which may not hold so many blocks at once
  ASSERT_EQ(taken, of.together);
  // All come first: by themselves, they would leave the results that the launch of all has to store. A residual that
  // is replaced is there once.
  for (size_t count = of.together; count > 0 && of.together > 1; count = of.over_residual ? 0 : count - 1) {
    ASSERT_TRUE((*joined)->run((*queue)->handle(), count).ok());
    ASSERT_TRUE((*queue)->wait().ok());
    three.window.check(**queue);
    if (of.over_residual) {
      three.wide.check_at(**queue, three.place[0]);
    } else {
      three.wide.check(**queue);
    }
    if (of.together == 3) three.narrow.check(**queue);
  }
}

// Two launches behind each other in a recording, the second of what the first gives.
void check_bottlenecks_in_a_row(Device& device, const ir::Dims& image) {
  SCOPED_TRACE(::testing::PrintToString(image));
  const auto queue = device.create_queue();
  ASSERT_TRUE(queue.ok());
  PackCache packs;
  const BottleneckCase of{.image = image};
  const BoundBottleneck first(device, **queue, packs, of);
  BoundBottleneck second(device, **queue, packs, of, first.narrow.want[0]);
  second.window.read(first.narrow);
  std::vector<BoundKernel> all = first.bound();
  for (const BoundKernel& kernel : second.bound()) all.push_back(kernel);
  std::vector<std::unique_ptr<JoinedKernels>> launches;
  for (size_t at = 0; at < all.size(); at += 3) {
    size_t taken = 0;
    auto joined = device.join(device, std::span(all).subspan(at), &taken);
    ASSERT_TRUE(joined.ok()) << joined.status().message();
    if (taken == 1 && device.info().multiprocessors < 132) return;
    ASSERT_EQ(taken, 3u);
    launches.push_back(std::move(*joined));
  }
  ASSERT_TRUE((*queue)->begin_recording().ok());
  for (const auto& launch : launches) ASSERT_TRUE(launch->run((*queue)->handle(), 3).ok());
  const auto recording = (*queue)->end_recording();
  ASSERT_TRUE(recording.ok()) << recording.status().message();
  for (int i = 0; i < 3; ++i) ASSERT_TRUE((*queue)->play(**recording).ok());
  ASSERT_TRUE((*queue)->wait().ok());
  for (const BoundBottleneck* one : {&first, static_cast<const BoundBottleneck*>(&second)}) {
    one->window.check(**queue);
    one->wide.check(**queue);
    one->narrow.check(**queue);
  }
}

const std::vector<ir::Dims>& bottleneck_images() {
  static const std::vector<ir::Dims> images = {{1, 56, 56, 64}, {2, 3, 28, 64},   {1, 28, 28, 128},
                                               {3, 5, 28, 128}, {1, 14, 14, 256}, {2, 5, 14, 256}};
  return images;
}

TEST(CudaShortPath, Bottlenecks) {
  if (!cuda_device().ok() || !has_warp_groups()) GTEST_SKIP() << "needs a GPU of compute capability 9.0";
  Device& device = **cuda_device();
  for (const ir::Dims& image : bottleneck_images()) {
    for (const bool in_bfloat16 : {false, true}) {
      check_bottleneck(device, {.image = image, .in_bfloat16 = in_bfloat16});
      check_bottleneck(device, {.image = image, .has_residual = false, .in_bfloat16 = in_bfloat16});
    }
    check_bottleneck(device, {.image = image, .over_residual = true});
    check_bottleneck(device, {.image = image, .window_row = "conv.plain_wgmma_32x64k2"});
  }
  // Widths that no tile has, channels that no cluster has, and more pixels than run at once.
  check_bottleneck(device, {.image = {1, 9, 30, 64}, .together = 1});
  check_bottleneck(device, {.image = {1, 7, 28, 192}, .together = 1});
  check_bottleneck(device, {.image = {2, 14, 14, 256}, .together = 1});
}

// Of 256 channels two are one launch.
TEST(CudaShortPath, BottlenecksWithoutTheLast) {
  if (!cuda_device().ok() || !has_warp_groups()) GTEST_SKIP() << "needs a GPU of compute capability 9.0";
  Device& device = **cuda_device();
  for (const ir::Dims& image : bottleneck_images()) {
    const size_t two = image.back() == 256 ? 2 : 1;
    for (const bool in_bfloat16 : {false, true}) {
      check_bottleneck(
          device, {.image = image, .together = two, .in_bfloat16 = in_bfloat16, .narrow_channels = 4 * image.back()});
    }
    check_bottleneck(device, {.image = image, .together = two, .over_image = true});
    check_bottleneck(device, {.image = image, .together = two, .over_middle = true});
    check_bottleneck(device, {.image = image, .together = two, .has_residual = false, .narrow_has_residual = true});
  }
}

TEST(CudaShortPath, BottlenecksInARow) {
  if (!cuda_device().ok() || !has_warp_groups()) GTEST_SKIP() << "needs a GPU of compute capability 9.0";
  for (const ir::Dims& image : bottleneck_images()) check_bottlenecks_in_a_row(**cuda_device(), image);
}

}  // namespace
}  // namespace blade::backends
