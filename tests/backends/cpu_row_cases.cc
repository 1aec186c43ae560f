// Pooling, reductions, normalization and resizing.
#include <limits>

#include "backends/cpu_cases.h"

namespace blade::backends {
namespace {

using ir::DType;
using ir::Op;

constexpr double kTolerance = 3e-6;

// Infinities, NaN of both signs and numbers of either sign, so that windows hold every combination of some of them.
ir::TensorPtr special_floats(ir::Dims dims) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity(), kNaN = std::numeric_limits<float>::quiet_NaN();
  constexpr float kValues[] = {-3, 0.5f, -kInfinity, -2, kInfinity, -0.25f, 7, -kNaN, -1e-30f, 1, kNaN, -1, -5};
  const auto source = random_floats(dims, 0, std::size(kValues));
  std::vector<float> values;
  for (int64_t i = 0; i < source->element_count(); ++i)
    values.push_back(kValues[std::min<size_t>(static_cast<size_t>(element(*source, i)), std::size(kValues) - 1)]);
  return floats(std::move(dims), std::move(values));
}

void add_pools(std::vector<Case>& cases) {
  for (int64_t channels : {3, 40, 67}) {
    cases.push_back({"pool_special" + std::to_string(channels),
                     Op::kPool,
                     ir::PoolAttrs{ir::PoolKind::kMax, {2, 2}, {2, 2}, ir::Padding::kSame, {}},
                     {special_floats({1, 7, 9, channels})},
                     ~0u,
                     1,
                     kTolerance});
  }
  for (ir::PoolKind kind : {ir::PoolKind::kMax, ir::PoolKind::kAverage}) {
    for (ir::Padding padding : {ir::Padding::kValid, ir::Padding::kSame}) {
      for (int64_t channels : {1, 5, 64, 67}) {
        const std::string name = "pool" + std::to_string(cases.size());
        cases.push_back({name,
                         Op::kPool,
                         ir::PoolAttrs{kind, {3, 3}, {2, 2}, padding, {}},
                         {random_floats({2, 11, 13, channels})},
                         ~0u,
                         1,
                         kTolerance});
        cases.push_back({name + "_1d",
                         Op::kPool,
                         ir::PoolAttrs{kind, {2}, {1}, padding, {}},
                         {random_floats({2, 11, channels})},
                         ~0u,
                         1,
                         kTolerance});
        cases.push_back({name + "_3d",
                         Op::kPool,
                         ir::PoolAttrs{kind, {2, 2, 3}, {1, 2, 2}, padding, {}},
                         {random_floats({1, 4, 5, 6, channels})},
                         ~0u,
                         1,
                         kTolerance});
      }
    }
    // Windows as large as the image, wide rows that are cut into blocks, strides beyond the window, pads on each side.
    struct Shape {
      int64_t h, w, c, window_h, window_w, stride;
      std::vector<int64_t> pads;
    };
    for (const Shape& s : {Shape{7, 7, 33, 7, 7, 1, {0, 0, 0, 0}}, Shape{3, 401, 24, 2, 2, 2, {0, 1, 0, 1}},
                           Shape{5, 9, 1500, 3, 3, 2, {1, 1, 1, 1}}, Shape{6, 31, 8, 1, 5, 3, {0, 0, 4, 2}},
                           Shape{4, 4, 4100, 2, 1, 2, {0, 0, 0, 0}}, Shape{1, 1, 3, 3, 3, 1, {1, 1, 1, 1}},
                           Shape{13, 5, 17, 2, 2, 3, {1, 0, 1, 0}}}) {
      cases.push_back(
          {"pool_shape" + std::to_string(cases.size()),
           Op::kPool,
           ir::PoolAttrs{kind, {s.window_h, s.window_w}, {s.stride, s.stride}, ir::Padding::kExplicit, s.pads},
           {random_floats({2, s.h, s.w, s.c})},
           ~0u,
           1,
           kTolerance});
    }
    for (int64_t channels : {1, 33}) {  // windows that begin in the padding before, in depth too; two images
      cases.push_back({"pool_volume" + std::to_string(cases.size()),
                       Op::kPool,
                       ir::PoolAttrs{kind, {3, 2, 2}, {2, 1, 2}, ir::Padding::kExplicit, {2, 1, 1, 0, 1, 1}},
                       {random_floats({2, 5, 4, 7, channels})},
                       ~0u,
                       1,
                       kTolerance});
    }
    cases.push_back({"pool_explicit" + std::to_string(cases.size()),
                     Op::kPool,
                     ir::PoolAttrs{kind, {3, 3}, {2, 2}, ir::Padding::kExplicit, {1, 1, 0, 1}},
                     {random_floats({1, 9, 9, 8})},
                     ~0u,
                     1,
                     kTolerance});
  }
}

void add_reductions(std::vector<Case>& cases) {
  const std::vector<std::pair<ir::Dims, std::vector<int64_t>>> patterns = {{{5}, {0}},
                                                                           {{3, 7, 9, 65}, {1, 2}},
                                                                           {{1, 7, 7, 130}, {1, 2}},
                                                                           {{4, 100}, {1}},
                                                                           {{4, 100}, {0}},
                                                                           {{2, 3, 4, 5}, {0, 2}},
                                                                           {{2, 3, 4, 5}, {1, 3}},
                                                                           {{2, 3, 4, 5}, {0, 1, 2, 3}},
                                                                           {{300, 17}, {0}},
                                                                           {{1, 41, 53, 16}, {1, 2}},
                                                                           {{2, 700, 70}, {1}},
                                                                           {{1, 14, 14, 96}, {1, 2}},
                                                                           {{1, 3, 5, 1100}, {1, 2}},
                                                                           {{1, 30, 31, 600}, {1, 2}},
                                                                           {{3, 4}, {}},
                                                                           {{2, 1, 6, 1}, {2}},
                                                                           {{100000}, {0}}};
  for (const auto& [dims, axes] : patterns) {
    for (ir::ReduceKind kind :
         {ir::ReduceKind::kSum, ir::ReduceKind::kMean, ir::ReduceKind::kMax, ir::ReduceKind::kMin}) {
      const bool keep = cases.size() % 2 == 0;
      cases.push_back({"reduce" + std::to_string(cases.size()),
                       Op::kReduce,
                       ir::ReduceAttrs{kind, axes, keep},
                       {random_floats(dims, -1, 2)},
                       ~0u,
                       1,
                       1e-5});
    }
  }
  for (bool is_max : {true, false}) {
    for (int64_t axis : {0, 1, 2}) {
      for (DType index : {DType::kInt32, DType::kInt64}) {
        cases.push_back({"arg" + std::to_string(cases.size()),
                         Op::kArgReduce,
                         ir::ArgReduceAttrs{is_max, axis, index},
                         {random_tensor(cases.size() % 2 != 0 ? DType::kInt32 : DType::kFloat32, {4, 9, 11}, -4, 4)},
                         ~0u,
                         1,
                         0});
      }
    }
  }
}

// Rows of every number of vectors, with ties, infinities, NaN and rows of nothing but NaN and -infinity.
void add_arg_rows(std::vector<Case>& cases) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity(), kNaN = std::numeric_limits<float>::quiet_NaN();
  constexpr float kLowest = std::numeric_limits<float>::lowest();
  const auto add = [&](bool is_max, int64_t axis, ir::TensorPtr x) {
    const DType index = cases.size() % 2 == 0 ? DType::kInt32 : DType::kInt64;
    cases.push_back({"arg" + std::to_string(cases.size()),
                     Op::kArgReduce,
                     ir::ArgReduceAttrs{is_max, axis, index},
                     {std::move(x)},
                     ~0u,
                     1,
                     0});
  };
  for (bool is_max : {true, false}) {
    for (int64_t length : {1, 2, 3, 4, 16, 21, 37, 150}) {
      add(is_max, 1, random_floats({61, length}));
      add(is_max, 1, special_floats({61, length}));
      add(is_max, 1, special_floats({2, length, 37}));
      add(is_max, 0, special_floats({length, 3}));
    }
    add(is_max, 1, floats({4, 3}, {kNaN, -kInfinity, kNaN, kNaN, kInfinity, kNaN, kNaN, kNaN, kNaN, -0.0f, 0, -0.0f}));
    add(is_max, 0, floats({3, 3}, {kNaN, -kInfinity, kNaN, kNaN, kInfinity, kNaN, -kInfinity, kNaN, kNaN}));
    // Nothing that is better than the worst number; some after 47 of NaN.
    const std::vector<std::vector<float>> ends = {{kNaN, kInfinity},     {kNaN, -kInfinity}, {-kInfinity, kLowest},
                                                  {kInfinity, -kLowest}, {kNaN, kLowest},    {kNaN, -kLowest}};
    for (const std::vector<float>& end : ends) {
      for (const int64_t length : {2, 3, 20, 49, 200}) {
        std::vector<float> row(static_cast<size_t>(length), kNaN);
        std::copy(end.begin(), end.end(), row.end() - 2);
        add(is_max, 1, floats({1, length}, row));
        add(is_max, 0, floats({length, 1}, row));
        std::vector<float> rows;
        for (int i = 0; i < 17; ++i) rows.insert(rows.end(), row.begin(), row.end());
        add(is_max, 1, floats({17, length}, rows));
        std::vector<float> columns;
        for (const float x : row) columns.insert(columns.end(), 5, x);
        add(is_max, 0, floats({length, 5}, columns));
      }
    }
    add(is_max, 1, random_floats({1, 7001}));
    add(is_max, 1, random_floats({0, 5}));
    add(is_max, 1, random_floats({3, 5, 0}));
  }
}

void add_moments(std::vector<Case>& cases) {
  const std::vector<std::pair<ir::Dims, std::vector<int64_t>>> specs = {
      {{7}, {0}},          {{3, 5, 11}, {2}},      {{2, 9, 7, 5}, {1, 2}},    {{1, 70, 9, 4, 3}, {1, 2, 4}},
      {{3, 1, 6, 2}, {3}}, {{2, 300, 40}, {1, 2}}, {{5, 200, 17}, {0, 1}},    {{2, 130, 2, 16}, {1, 3}},
      {{4, 1, 1}, {1, 2}}, {{1, 65, 33}, {1}},     {{2, 3, 4, 5, 6}, {1, 4}}, {{2, 6, 3, 3, 40}, {0, 1, 2, 3, 4}}};
  for (const auto& [dims, axes] : specs) {
    cases.push_back({"moments" + std::to_string(cases.size()),
                     Op::kMoments,
                     ir::AxesAttrs{axes},
                     {random_floats(dims, 3, 5)},
                     ~0u,
                     2,
                     1e-5});
  }
}

void add_normalizations(std::vector<Case>& cases) {
  add_moments(cases);
  for (int64_t length : {1, 3, 10, 16, 21, 33, 50, 64, 65, 1001}) {
    const std::string suffix = std::to_string(length);
    const auto x = random_floats({3, 5, length}, -9, 9);
    const auto scale = random_floats({length}), offset = random_floats({length}, -1, 1),
               variance = random_floats({length}, 0.1, 2);
    cases.push_back({"softmax" + suffix, Op::kSoftmax, ir::SoftmaxAttrs{false}, {x}, ~0u, 1, kTolerance});
    cases.push_back({"log_softmax" + suffix, Op::kSoftmax, ir::SoftmaxAttrs{true}, {x}, ~0u, 1, kTolerance});
    cases.push_back(
        {"layer_norm" + suffix, Op::kLayerNorm, ir::LayerNormAttrs{1e-3f}, {x, scale, offset}, ~0u, 1, 1e-5});
    cases.push_back({"batch_norm" + suffix,
                     Op::kBatchNorm,
                     ir::BatchNormAttrs{1e-3f},
                     {x, scale, offset, offset, variance},
                     ~0u,
                     1,
                     1e-5});
    cases.push_back({"lrn" + suffix,
                     Op::kLrn,
                     ir::LrnAttrs{2, 1, 0.3f, 0.75f},
                     {random_floats({1, 3, 5, length}, -9, 9)},
                     ~0u,
                     1,
                     kTolerance});
  }
}

void add_lrns(std::vector<Case>& cases) {
  for (const ir::LrnAttrs& attrs : {ir::LrnAttrs{0, 1, 0.3f, 0.5f}, ir::LrnAttrs{5, 2, 0.01f, 1},
                                    ir::LrnAttrs{64, 1, 0.1f, 0.6f}, ir::LrnAttrs{65, 1, 0.1f, 0.75f}}) {
    for (int64_t length : {1, 17, 96, 600}) {
      cases.push_back({"lrn_" + std::to_string(attrs.depth_radius) + "_" + std::to_string(length),
                       Op::kLrn,
                       attrs,
                       {random_floats({2, 1, 3, length}, -9, 9)},
                       ~0u,
                       1,
                       kTolerance});
    }
  }
}

void add_resizes(std::vector<Case>& cases) {
  for (ir::ResizeKind kind : {ir::ResizeKind::kNearest, ir::ResizeKind::kBilinear, ir::ResizeKind::kBicubic}) {
    for (int mode = 0; mode < 3; ++mode) {
      const ir::ResizeAttrs attrs{kind, mode == 1, mode == 2};
      for (const auto& [h, w] : {std::pair{10, 7}, {3, 20}, {5, 6}, {1, 1}}) {
        cases.push_back({"resize" + std::to_string(cases.size()),
                         Op::kResize,
                         attrs,
                         {random_floats({2, 5, 6, 19}), ints({2}, {h, w})},
                         1,
                         1,
                         1e-5});
      }
    }
  }
  cases.push_back({"resize_uint8",
                   Op::kResize,
                   ir::ResizeAttrs{ir::ResizeKind::kNearest, false, false},
                   {random_tensor(DType::kUInt8, {1, 5, 6, 3}, 0, 255), ints({2}, {10, 12})},
                   1,
                   1,
                   0});
}

void add_samplings(std::vector<Case>& cases) {
  const auto floats = [](float a, float b) {
    const std::vector<float> values = {a, b};
    return ir::make_tensor<float>(DType::kFloat32, {2}, std::span(values));
  };
  for (int kind = 0; kind <= static_cast<int>(ir::SampleKind::kMitchellCubic); ++kind) {
    for (const auto& [h, w, channels] : {std::tuple{4, 20, 3}, {31, 5, 17}, {13, 17, 1}}) {
      for (const bool antialias : {true, false}) {
        const auto scale = floats(static_cast<float>(h) / 13, static_cast<float>(w) / 17);
        cases.push_back(
            {"sampled" + std::to_string(cases.size()),
             Op::kScaleAndTranslate,
             ir::SampleAttrs{static_cast<ir::SampleKind>(kind), antialias},
             {random_floats({2, 13, 17, channels}), ints({2}, {h, w}), scale, floats(0, antialias ? 0 : -2.5f)},
             1,
             1,
             1e-5});
      }
    }
  }
}

// Lengths of every radix, of large primes and long enough to be split; rows that are longer than needed.
void add_ffts(std::vector<Case>& cases) {
  using ir::FftKind;
  for (const int32_t n : {1, 2, 3, 4, 5, 6, 7, 12, 15, 16, 30, 49, 64, 97, 122, 134, 200, 251, 512, 600, 1024, 2304}) {
    const double tolerance = n > 300 ? 3e-5 : 1e-5;
    for (const int64_t rows : {1, 5, 35}) {
      const std::string name = "fft" + std::to_string(cases.size());
      const auto parts = [&](int64_t length) { return random_floats({rows, length}); };
      for (const FftKind kind : {FftKind::kForward, FftKind::kInverse}) {
        cases.push_back({name, Op::kFft, ir::FftAttrs{kind}, {parts(n), parts(n)}, 3u, 2, tolerance});
      }
      for (const int64_t have : {n, n + 3}) {
        cases.push_back(
            {name + "_real", Op::kFft, ir::FftAttrs{FftKind::kReal}, {parts(have), ints({1}, {n})}, 1u, 2, tolerance});
        const int64_t numbers = have / 2 + 1;
        cases.push_back({name + "_real_inverse",
                         Op::kFft,
                         ir::FftAttrs{FftKind::kRealInverse},
                         {parts(numbers), parts(numbers), ints({1}, {n})},
                         3u,
                         1,
                         tolerance});
      }
    }
  }
}

void add_double_ffts(std::vector<Case>& cases) {
  for (const int32_t n : {2, 4, 16, 512, 2048}) {
    for (const int64_t have : {n, n + 3}) {
      cases.push_back({"fft" + std::to_string(cases.size()) + "_real_f64",
                       Op::kFft,
                       ir::FftAttrs{ir::FftKind::kReal},
                       {random_tensor(ir::DType::kFloat64, {5, have}, -2, 2), ints({1}, {n})},
                       1u,
                       2,
                       1e-12});
    }
  }
}

}  // namespace

std::vector<Case> row_cases() {
  std::vector<Case> cases;
  add_samplings(cases);
  add_ffts(cases);
  add_double_ffts(cases);
  add_pools(cases);
  add_reductions(cases);
  add_arg_rows(cases);
  add_normalizations(cases);
  add_lrns(cases);
  add_resizes(cases);
  return cases;
}

}  // namespace blade::backends
