// Every row of the CUDA table against the reference kernel, in float32, float16 and bfloat16; skipped where there is no
// card.
#include "backends/cuda_rows.h"

namespace blade::backends {
namespace {

TEST(CudaVsReference, Pointwise) { check_all(pointwise_cases()); }
TEST(CudaVsReference, Matrix) { check_all(matrix_cases()); }
TEST(CudaVsReference, MatrixHalf) { check_all(in_half(matrix_cases())); }
TEST(CudaVsReference, Rows) { check_all(row_cases()); }
TEST(CudaVsReference, RowsHalf) { check_all(in_half(row_cases())); }
TEST(CudaVsReference, Movement) { check_all(movement_cases()); }

struct TileSpec {
  const char* name;
  ir::Dims x, w;
  std::vector<int64_t> strides, dilations;
  ir::Padding padding;
};

// Shapes that reach every tile and split, with borders that fill no tile.
std::vector<Case> make_tile_cases(ir::DType type) {
  using ir::Padding;
  const TileSpec specs[] = {
      {"1x1", {1, 7, 9, 512}, {1, 1, 512, 136}, {1, 1}, {1, 1}, Padding::kValid},
      {"1x1_strided", {2, 9, 7, 64}, {1, 1, 64, 264}, {2, 2}, {1, 1}, Padding::kValid},
      {"3x3", {1, 14, 13, 128}, {3, 3, 128, 72}, {1, 1}, {1, 1}, Padding::kSame},
      {"3x3_strided", {3, 15, 11, 64}, {3, 3, 64, 64}, {2, 2}, {1, 1}, Padding::kSame},
      {"3x3_dilated", {1, 20, 12, 72}, {3, 3, 72, 40}, {1, 1}, {2, 3}, Padding::kSame},
      {"5x3_few_channels", {1, 17, 19, 8}, {5, 3, 8, 24}, {1, 2}, {1, 1}, Padding::kExplicit},
      {"odd_channels_out", {1, 6, 6, 320}, {1, 1, 320, 77}, {1, 1}, {1, 1}, Padding::kValid},
      {"deep", {1, 4, 4, 1024}, {3, 3, 1024, 32}, {1, 1}, {1, 1}, Padding::kSame},
      {"3x3_deep", {2, 7, 7, 512}, {3, 3, 512, 136}, {1, 1}, {1, 1}, Padding::kSame},
      {"3x3_deep_strided", {1, 9, 11, 256}, {3, 3, 256, 72}, {2, 2}, {1, 1}, Padding::kSame},
      {"3x3_dilated_patch", {1, 20, 12, 128}, {3, 3, 128, 40}, {1, 1}, {2, 3}, Padding::kSame},
      {"7x5", {1, 21, 23, 64}, {7, 5, 64, 32}, {2, 1}, {1, 1}, Padding::kSame},
  };
  std::vector<Case> cases;
  for (const TileSpec& spec : specs) {
    ir::ConvAttrs attrs;
    attrs.strides = spec.strides;
    attrs.dilations = spec.dilations;
    attrs.padding = spec.padding;
    if (spec.padding == Padding::kExplicit) attrs.explicit_pads = {2, 1, 0, 3};
    const double depth = std::sqrt(static_cast<double>(spec.w[0] * spec.w[1] * spec.w[2]));
    Case c{spec.name,
           ir::Op::kConv,
           attrs,
           {random_floats(spec.x), random_floats(spec.w, -1.5 / depth, 1.5 / depth)},
           1,
           1,
           type == ir::DType::kFloat16 ? 4e-3 : 2e-5};
    const bool half = type == ir::DType::kFloat16;
    if (half) c = in_half(c);
    cases.push_back(c);
    const ir::Dims out = (*run_reference(c))[0]->dims;
    // Bias (float32), residual and clamp; then a program that no kernel lowers.
    ir::PointwiseProgram program;
    program.num_inputs = 3;
    program.code = {{ir::PointwiseOp::kAdd, 0, 1, -1, 0, 0},
                    {ir::PointwiseOp::kAdd, 3, 2, -1, 0, 0},
                    {ir::PointwiseOp::kRelu, 4, -1, -1, 0, 0}};
    Case fused = c;
    fused.name += "_bias_residual_relu";
    fused.inputs.push_back(random_floats({out.back()}));
    fused.inputs.push_back(half ? halved(random_floats(out)) : random_floats(out));
    fused.variable_inputs |= 1u << 3;
    attrs.epilogue = program;
    fused.attrs = attrs;
    cases.push_back(fused);
    program.code.push_back({ir::PointwiseOp::kSigmoid, 5, -1, -1, 0, 0});
    program.code.push_back({ir::PointwiseOp::kMul, 5, 6, -1, 0, 0});
    attrs.epilogue = program;
    fused.name += "_swish";
    fused.attrs = attrs;
    cases.push_back(fused);
  }
  return cases;
}

const std::vector<Case>& tile_cases(ir::DType type) {
  static const std::vector<Case> half = make_tile_cases(ir::DType::kFloat16);
  static const std::vector<Case> full = make_tile_cases(ir::DType::kFloat32);
  return type == ir::DType::kFloat16 ? half : full;
}

TEST(CudaVsReference, Tiles) { check_all(tile_cases(ir::DType::kFloat16)); }
TEST(CudaVsReference, TilesInFloat) { check_all(tile_cases(ir::DType::kFloat32)); }

// Bias, one activation, and a clamp behind it; in float32 and float16, dense and depthwise.
TEST(CudaVsReference, Activations) {
  std::vector<Case> cases;
  for (const auto op :
       {ir::PointwiseOp::kLeakyRelu, ir::PointwiseOp::kPRelu, ir::PointwiseOp::kSigmoid, ir::PointwiseOp::kSwish,
        ir::PointwiseOp::kHardSwish, ir::PointwiseOp::kGeluErf, ir::PointwiseOp::kGeluTanh}) {
    for (const int64_t groups : {1, 72}) {
      const bool has_slopes = op == ir::PointwiseOp::kPRelu;
      ir::ConvAttrs attrs;
      attrs.strides = attrs.dilations = {1, 1};
      attrs.padding = ir::Padding::kSame;
      attrs.groups = groups;
      attrs.epilogue.num_inputs = has_slopes ? 3 : 2;
      const auto sum = static_cast<int16_t>(attrs.epilogue.num_inputs);
      const bool has_factor = op == ir::PointwiseOp::kLeakyRelu || op == ir::PointwiseOp::kHardSwish;
      attrs.epilogue.code = {{ir::PointwiseOp::kAdd, 0, 1, -1, 0, 0},
                             {op, sum, static_cast<int16_t>(has_slopes ? 2 : -1), -1, has_factor ? 0.3f : 0.0f, 0},
                             {ir::PointwiseOp::kClip, static_cast<int16_t>(sum + 1), -1, -1, -0.25f, 0.75f}};
      Case c{std::string(ir::pointwise_name(op)) + "_" + std::to_string(groups),
             ir::Op::kConv,
             attrs,
             {random_floats({1, 9, 11, 72}), random_floats({3, 3, 72 / groups, 72}, -0.1, 0.1), random_floats({72})},
             1,
             1,
             2e-3};
      if (has_slopes) c.inputs.push_back(random_floats({72}, -0.5, 0.5));
      cases.push_back(c);
      for (ir::TensorPtr* t : {&c.inputs[0], &c.inputs[1]}) *t = halved(*t);
      c.name += "_f16";
      c.tolerance = 4e-3;
      cases.push_back(c);
    }
  }
  check_all(cases);
}

TEST(CudaVsReference, FirstLayers) {
  std::vector<Case> cases;
  for (int64_t kernel : {3, 5, 7}) {
    for (int64_t channels : {1, 3, 4}) {
      ir::ConvAttrs attrs;
      attrs.strides = {kernel == 5 ? 1 : 2, 2};
      attrs.dilations = {1, 1};
      attrs.padding = ir::Padding::kSame;
      cases.push_back(
          in_half({"first_" + std::to_string(kernel) + "_" + std::to_string(channels),
                   ir::Op::kConv,
                   attrs,
                   {random_floats({2, 37, 41, channels}), random_floats({kernel, kernel, channels, 72}, -0.2, 0.2)},
                   1,
                   1,
                   4e-3}));
    }
  }
  check_all(cases);
}

// A few rows: results that fill no block, depths that fill no chunk and that take several rounds.
TEST(CudaVsReference, ProductsOfAFewRows) {
  std::vector<Case> cases;
  std::vector<PairCase> pairs;
  for (const auto& [rows, depth, columns] :
       {std::array<int64_t, 3>{1, 2048, 1001}, {3, 72, 40}, {4, 4104, 13}, {2, 16, 8}}) {
    const double scale = 1.5 / std::sqrt(static_cast<double>(depth));
    Case c{"rows_" + std::to_string(rows) + "_" + std::to_string(depth),
           ir::Op::kMatMul,
           ir::MatMulAttrs{},
           {random_floats({rows, depth}), random_floats({depth, columns}, -scale, scale)},
           1,
           1,
           1e-4};
    cases.push_back(c);
    cases.push_back(in_half(c));
    pairs.push_back(
        {in_half(c), {"cast", ir::Op::kCast, ir::CastAttrs{ir::DType::kFloat32}, {nullptr}, 1, 1, 4e-3}, 0});
    ir::ConvAttrs attrs;
    attrs.strides = attrs.dilations = {1, 1};
    attrs.padding = ir::Padding::kValid;
    attrs.epilogue.num_inputs = 3;
    attrs.epilogue.code = {{ir::PointwiseOp::kAdd, 0, 1, -1, 0, 0},
                           {ir::PointwiseOp::kAdd, 3, 2, -1, 0, 0},
                           {ir::PointwiseOp::kRelu, 4, -1, -1, 0, 0}};
    Case pixels = c;
    pixels.name += "_pixels";
    pixels.op = ir::Op::kConv;
    pixels.attrs = attrs;
    pixels.inputs = {random_floats({rows, 1, 1, depth}), random_floats({1, 1, depth, columns}, -scale, scale),
                     random_floats({columns}), random_floats({rows, 1, 1, columns})};
    pixels.variable_inputs |= 1u << 3;
    cases.push_back(pixels);
    Case curved = pixels;  // not bias, residual and clamp alone
    curved.name += "_curved";
    std::get<ir::ConvAttrs>(curved.attrs).epilogue.code.back().op = ir::PointwiseOp::kSigmoid;
    for (const Case& one : {pixels, curved}) {
      cases.push_back(in_half(one));
      cases.back().inputs[2] = one.inputs[2];
    }
    cases.push_back(curved);
  }
  check_all(cases);
  check_pairs(pairs);
}

// What tools that watch every access of shared memory take in minutes.
TEST(CudaVsReference, EveryTileOnce) {
  check_smallest(tile_cases(ir::DType::kFloat16));
  check_smallest(with_bfloat16(tile_cases(ir::DType::kFloat16)));
  check_smallest(tile_cases(ir::DType::kFloat32));
}

TEST(CudaVsReference, WideProducts) {
  std::vector<Case> cases;
  for (const int64_t columns : {101, 136}) {
    for (const bool transposed : {false, true}) {
      ir::MatMulAttrs attrs;
      attrs.transpose_b = transposed;
      const ir::Dims right = transposed ? ir::Dims{columns, 512} : ir::Dims{512, columns};
      const Case c = {"product_" + std::to_string(columns) + (transposed ? "_t" : ""),
                      ir::Op::kMatMul,
                      attrs,
                      {random_floats({5, 19, 512}), random_floats(right, -0.1, 0.1)},
                      1,
                      1,
                      2e-5};
      cases.push_back(c);
      cases.push_back(in_half(c));
    }
  }
  check_all(cases);
}

// More tiles than blocks that stay, more chunks than stages, the last tile not full.
TEST(CudaVsReference, ManyPixels) {
  std::vector<Case> cases;
  for (const auto& [depth, channels] : {std::pair<int64_t, int64_t>{448, 128}, {192, 256}}) {
    for (const bool with_residual : {false, true}) {
      ir::ConvAttrs attrs;
      attrs.strides = attrs.dilations = {1, 1};
      attrs.padding = ir::Padding::kValid;
      Case c{"many_" + std::to_string(channels) + (with_residual ? "_residual" : ""),
             ir::Op::kConv,
             attrs,
             {random_floats({1, 131, 131, depth}), random_floats({1, 1, depth, channels}, -0.1, 0.1)},
             1,
             1,
             4e-3};
      c = in_half(c);
      if (with_residual) {
        ir::PointwiseProgram program;
        program.num_inputs = 2;
        program.code = {{ir::PointwiseOp::kAdd, 0, 1, -1, 0, 0}, {ir::PointwiseOp::kRelu, 2, -1, -1, 0, 0}};
        attrs.epilogue = program;
        c.attrs = attrs;
        c.inputs.push_back(halved(random_floats({1, 131, 131, channels})));
        c.variable_inputs |= 1u << 2;
      }
      cases.push_back(c);
    }
  }
  check_all(cases);
}

TEST(CudaVsReference, Depthwise) {
  struct Spec {
    int64_t height, width, channels, kernel_h, kernel_w, stride, dilation;
  };
  std::vector<Case> cases;
  for (const Spec& spec : {Spec{11, 13, 36, 3, 3, 1, 1}, Spec{12, 9, 8, 3, 3, 2, 1}, Spec{17, 16, 132, 5, 5, 2, 1},
                           Spec{9, 9, 4, 5, 5, 1, 2}, Spec{8, 10, 24, 2, 7, 1, 1}, Spec{7, 7, 6, 3, 3, 1, 1}}) {
    ir::ConvAttrs attrs;
    attrs.strides = {spec.stride, spec.stride};
    attrs.dilations = {spec.dilation, spec.dilation};
    attrs.padding = ir::Padding::kSame;
    attrs.groups = spec.channels;
    attrs.epilogue = ir::PointwiseProgram::binary(ir::PointwiseOp::kAdd);
    Case c{"depthwise_" + std::to_string(spec.channels),
           ir::Op::kConv,
           attrs,
           {random_floats({3, spec.height, spec.width, spec.channels}),
            random_floats({spec.kernel_h, spec.kernel_w, 1, spec.channels}, -0.4, 0.4)},
           1,
           1,
           2e-5};
    c.variable_inputs |= 1u << 2;
    const ir::Dims out = [&] {
      Case plain = c;
      std::get<ir::ConvAttrs>(plain.attrs).epilogue = {};
      return (*run_reference(plain))[0]->dims;
    }();
    c.inputs.push_back(random_floats(out));
    cases.push_back(c);
    cases.push_back(in_half(c));
  }
  check_all(cases);
}

// Long enough for several blocks to share an output.
TEST(CudaVsReference, LongReductions) {
  std::vector<Case> cases;
  for (const auto kind : {ir::ReduceKind::kMean, ir::ReduceKind::kMax, ir::ReduceKind::kSum}) {
    for (const ir::Dims& dims :
         {ir::Dims{2, 7001, 3}, ir::Dims{1, 2999, 40}, ir::Dims{3, 65, 257}, ir::Dims{2, 30011, 1}}) {
      ir::ReduceAttrs attrs;
      attrs.kind = kind;
      attrs.axes = {1};
      const double lo = kind == ir::ReduceKind::kSum ? 0 : -2, hi = kind == ir::ReduceKind::kSum ? 0.01 : 2;
      Case c{"long_" + std::to_string(dims[1]) + "_" + std::to_string(static_cast<int>(kind)),
             ir::Op::kReduce,
             attrs,
             {random_floats(dims, lo, hi)},
             1,
             1,
             1e-4};
      cases.push_back(c);
      cases.push_back(in_half(c));
    }
  }
  check_all(cases);
}

TEST(CudaVsReference, TransposedConvolutionsOfWindows) {
  std::vector<Case> cases;
  for (const auto& [in, out, height, width] :
       {std::array<int64_t, 4>{64, 32, 2, 2}, {7, 5, 3, 2}, {128, 24, 2, 2}, {40, 136, 4, 4}}) {
    ir::ConvTransposeAttrs attrs;
    attrs.strides = {height, width};
    attrs.dilations = {1, 1};
    attrs.padding = ir::Padding::kValid;
    const int64_t rows = 9, columns = 11;
    const std::vector<int32_t> size = {2, static_cast<int32_t>(rows * height), static_cast<int32_t>(columns * width),
                                       static_cast<int32_t>(out)};
    Case c{"windows_" + std::to_string(in) + "_" + std::to_string(out),
           ir::Op::kConvTranspose,
           attrs,
           {random_floats({2, rows, columns, in}), random_floats({height, width, out, in}, -0.1, 0.1),
            tensor<int32_t>(ir::DType::kInt32, {4}, size)},
           1,
           1,
           2e-5};
    cases.push_back(c);
    cases.push_back(in_half(c));
    attrs.epilogue = ir::PointwiseProgram::binary(ir::PointwiseOp::kAdd);
    c.attrs = attrs;
    c.inputs.push_back(random_floats({out}));
    c.name += "_bias";
    cases.push_back(c);
    Case half = in_half(c);
    half.inputs[3] = c.inputs[3];
    cases.push_back(half);
  }
  check_all(cases);
}

TEST(CudaVsReference, ProductsWithACast) {
  std::vector<PairCase> pairs;
  for (const int64_t columns : {101, 136}) {
    PairCase pair;
    pair.first = in_half({"product",
                          ir::Op::kMatMul,
                          ir::MatMulAttrs{},
                          {random_floats({37, 512}), random_floats({512, columns}, -0.1, 0.1)},
                          1,
                          1,
                          4e-3});
    pair.second = {
        "cast_" + std::to_string(columns), ir::Op::kCast, ir::CastAttrs{ir::DType::kFloat32}, {nullptr}, 1, 1, 4e-3};
    pairs.push_back(pair);
  }
  check_pairs(pairs);
}

ir::PointwiseProgram bias_and_relu() {
  ir::PointwiseProgram program;
  program.num_inputs = 2;
  program.code = {{ir::PointwiseOp::kAdd, 0, 1, -1, 0, 0}, {ir::PointwiseOp::kRelu, 2, -1, -1, 0, 0}};
  return program;
}

TEST(CudaVsReference, FirstLayersWithMaxPool) {
  std::vector<PairCase> pairs;
  for (const int64_t kernel : {3, 5, 7}) {
    for (const int64_t window : {2, 3}) {
      ir::ConvAttrs conv;
      conv.strides = {kernel == 5 ? 1 : 2, 2};
      conv.dilations = {1, 1};
      conv.padding = kernel != 7 ? ir::Padding::kSame : ir::Padding::kExplicit;
      if (kernel == 7) conv.explicit_pads = {3, 3, 3, 3};
      conv.epilogue = bias_and_relu();
      PairCase pair;
      pair.first = in_half({"first_" + std::to_string(kernel),
                            ir::Op::kConv,
                            conv,
                            {random_floats({3, 61, 75, 3}), random_floats({kernel, kernel, 3, 72}, -0.2, 0.2)},
                            1,
                            1,
                            4e-3});
      pair.first.inputs.push_back(random_floats({72}));
      ir::PoolAttrs pool;
      pool.window = {window, window};
      pool.strides = {2, 2};
      pool.padding = window == 3 ? ir::Padding::kSame : ir::Padding::kValid;
      pair.second = {"pool_" + std::to_string(window) + "_of_" + std::to_string(kernel),
                     ir::Op::kPool,
                     pool,
                     {nullptr},
                     1,
                     1,
                     4e-3};
      pairs.push_back(pair);
    }
  }
  check_pairs(pairs);
}

// Blocks that take at least five tiles one after another, images in float16 and in float32.
void check_first_layers_of_many_tiles(int64_t stride) {
  std::vector<PairCase> pairs;
  constexpr int64_t kImages = 96;
  for (const bool of_float : {false, true}) {
    ir::ConvAttrs conv;
    conv.strides = {stride, 2};
    conv.dilations = {1, 1};
    conv.padding = ir::Padding::kSame;
    conv.epilogue = bias_and_relu();
    const int64_t kernel = stride == 2 ? 7 : 3;
    const Case full{"first_of_" + std::to_string(kImages) + (of_float ? "_float_" : "_") + std::to_string(stride),
                    ir::Op::kConv,
                    conv,
                    {random_floats({kImages, 64 * stride, 116, 3}), random_floats({kernel, kernel, 3, 8}, -0.2, 0.2)},
                    1,
                    1,
                    4e-3};
    PairCase pair;
    pair.first = in_half(full);
    if (of_float) pair.first.inputs[0] = full.inputs[0];
    pair.first.inputs.push_back(random_floats({8}));
    ir::PoolAttrs pool;
    pool.window = {3, 3};
    pool.strides = {2, 2};
    pool.padding = ir::Padding::kSame;
    pair.second = {"pool_of_" + full.name, ir::Op::kPool, pool, {nullptr}, 1, 1, 4e-3};
    pairs.push_back(pair);
  }
  check_pairs(pairs);
}
TEST(CudaVsReference, FirstLayersOfManyTiles) { check_first_layers_of_many_tiles(2); }
TEST(CudaVsReference, FirstLayersOfManyTilesSideBySide) { check_first_layers_of_many_tiles(1); }

// All pixels in one tile, channels that fill none, windows, with and without the residual.
TEST(CudaVsReference, MeansOfConvolutions) {
  struct Spec {
    int64_t height, width, depth, channels, kernel;
    bool residual;
  };
  std::vector<PairCase> pairs;
  for (const Spec& spec : {Spec{7, 7, 512, 200, 1, true}, Spec{8, 8, 64, 40, 3, false}, Spec{3, 5, 192, 72, 1, true}}) {
    const double scale = 1.5 / std::sqrt(static_cast<double>(spec.depth * spec.kernel * spec.kernel));
    ir::ConvAttrs attrs;
    attrs.strides = attrs.dilations = {1, 1};
    attrs.padding = ir::Padding::kSame;
    attrs.epilogue = bias_and_relu();
    PairCase pair;
    pair.first = in_half({"convolution",
                          ir::Op::kConv,
                          attrs,
                          {random_floats({1, spec.height, spec.width, spec.depth}),
                           random_floats({spec.kernel, spec.kernel, spec.depth, spec.channels}, -scale, scale)},
                          1,
                          1,
                          4e-3});
    pair.first.inputs.push_back(random_floats({spec.channels}));
    if (spec.residual) {
      attrs.epilogue.num_inputs = 3;
      attrs.epilogue.code = {{ir::PointwiseOp::kAdd, 0, 1, -1, 0, 0},
                             {ir::PointwiseOp::kAdd, 3, 2, -1, 0, 0},
                             {ir::PointwiseOp::kRelu, 4, -1, -1, 0, 0}};
      pair.first.attrs = attrs;
      pair.first.inputs.push_back(halved(random_floats({1, spec.height, spec.width, spec.channels})));
      pair.first.variable_inputs |= 1u << 3;
    }
    ir::ReduceAttrs mean;
    mean.kind = ir::ReduceKind::kMean;
    mean.axes = {1, 2};
    pair.second = {"mean_" + std::to_string(spec.channels), ir::Op::kReduce, mean, {nullptr}, 1, 1, 4e-3};
    pair.is_taken = has_warp_groups();
    pairs.push_back(pair);
  }
  check_pairs(pairs);
}

// Windows of both known sizes and another, strides, dilation, channels that fill no chunk and no tile.
TEST(CudaVsReference, DepthwiseWithAProduct) {
  struct Spec {
    int64_t height, width, channels, kernel_h, kernel_w, stride, dilation, results;
  };
  std::vector<PairCase> pairs;
  for (const Spec& spec :
       {Spec{11, 13, 40, 3, 3, 1, 1, 24}, Spec{12, 9, 136, 3, 3, 2, 1, 72}, Spec{17, 16, 64, 5, 5, 2, 1, 136},
        Spec{9, 9, 200, 5, 5, 1, 2, 32}, Spec{8, 10, 24, 2, 7, 1, 1, 77}}) {
    ir::ConvAttrs attrs;
    attrs.strides = {spec.stride, spec.stride};
    attrs.dilations = {spec.dilation, spec.dilation};
    attrs.padding = ir::Padding::kSame;
    attrs.groups = spec.channels;
    attrs.epilogue = bias_and_relu();
    PairCase pair;
    pair.first = in_half({"depthwise",
                          ir::Op::kConv,
                          attrs,
                          {random_floats({3, spec.height, spec.width, spec.channels}),
                           random_floats({spec.kernel_h, spec.kernel_w, 1, spec.channels}, -0.4, 0.4)},
                          1,
                          1,
                          4e-3});
    pair.first.inputs.push_back(random_floats({spec.channels}));
    ir::ConvAttrs product;
    product.strides = product.dilations = {1, 1};
    product.padding = ir::Padding::kValid;
    product.epilogue = bias_and_relu();
    pair.second = in_half({"product_" + std::to_string(spec.results),
                           ir::Op::kConv,
                           product,
                           {random_floats({1}), random_floats({1, 1, spec.channels, spec.results}, -0.2, 0.2)},
                           1,
                           1,
                           8e-3});
    pair.second.inputs[0] = nullptr;
    pair.second.inputs.push_back(random_floats({spec.results}));
    pairs.push_back(pair);
  }
  check_pairs(pairs);
}

// y = relu(conv(x) + bias + (conv1x1(other) + bias)), with one block and many, split and not.
TEST(CudaVsReference, SumsOfConvolutions) {
  struct Spec {
    int64_t images, size, channels, depth, other_depth, stride, kernel;
  };
  std::vector<PairCase> pairs;
  for (const Spec& spec : {Spec{1, 7, 136, 512, 1024, 2, 1}, Spec{2, 13, 72, 64, 64, 1, 1},
                           Spec{1, 9, 264, 128, 192, 2, 3}, Spec{1, 67, 256, 64, 128, 1, 1}}) {
    PairCase pair;
    ir::ConvAttrs attrs;
    attrs.strides = {spec.stride, spec.stride};
    attrs.dilations = {1, 1};
    attrs.padding = ir::Padding::kSame;
    attrs.epilogue = ir::PointwiseProgram::binary(ir::PointwiseOp::kAdd);
    const int64_t other_size = spec.size * spec.stride - spec.stride + 1;
    pair.first = in_half({"addend",
                          ir::Op::kConv,
                          attrs,
                          {random_floats({spec.images, other_size, other_size, spec.other_depth}),
                           random_floats({1, 1, spec.other_depth, spec.channels}, -0.06, 0.06)},
                          1,
                          1,
                          4e-3});
    pair.first.inputs.push_back(random_floats({spec.channels}));
    attrs.strides = {1, 1};
    attrs.epilogue.num_inputs = 3;
    attrs.epilogue.code = {{ir::PointwiseOp::kAdd, 0, 1, -1, 0, 0},
                           {ir::PointwiseOp::kAdd, 3, 2, -1, 0, 0},
                           {ir::PointwiseOp::kRelu, 4, -1, -1, 0, 0}};
    pair.second = in_half({"sum_" + std::to_string(spec.channels),
                           ir::Op::kConv,
                           attrs,
                           {random_floats({spec.images, spec.size, spec.size, spec.depth}),
                            random_floats({spec.kernel, spec.kernel, spec.depth, spec.channels}, -0.06, 0.06)},
                           1,
                           1,
                           8e-3});
    pair.second.inputs.push_back(random_floats({spec.channels}));
    pair.second.inputs.push_back(nullptr);
    pair.second.variable_inputs |= 1u << 3;
    pair.input = 3;
    pairs.push_back(pair);
  }
  check_pairs(pairs);
}

TEST(CudaDevice, SaysWhyThereIsNone) {
  if (cuda_device().ok()) GTEST_SKIP() << "there is a GPU";
  EXPECT_FALSE(cuda_device().status().message().empty());
}

}  // namespace
}  // namespace blade::backends
