// Rows for Conv and ConvTranspose: direct and Winograd algorithms over the raw kernels in matrix/.
#include "backends/cpu/blockings.h"
#include "backends/cpu/cast_fusion.h"
#include "backends/cpu/conv_support.h"
#include "backends/cpu/kernel_families.h"
#include "backends/cpu/matrix/conv_split.h"
#include "backends/cpu/matrix/winograd.h"
#include "backends/cpu/packed_weights.h"

namespace blade::backends::cpu {
namespace {

// --- direct ---

constexpr MatrixUnit kVectorUnit = MatrixUnit::kVectors, kTileUnit = MatrixUnit::kTiles;

constexpr char kTakenByDepthwise[] = "has one input channel a group: the depthwise row takes that";

template <class T, MatrixUnit kUnit = kVectorUnit>
Support supports_direct(const KernelRequest& request) {
  if constexpr (kUnit == kTileUnit) {
    if (Support s = tiles_support(request); !s.ok) return s;
  }
  if (Support s = conv_node_support<T>(request); !s.ok) return s;
  if (const char* refusal = conv_algorithm_refusal(conv_shape(request), ConvAlgorithm::kDirect))
    return Support::no(refusal);
  if (is_depthwise(request)) return Support::no(kTakenByDepthwise);
  return weights_constant(request) ? Support::yes() : Support::no("weights are not constant");
}

template <class T>
Conv2DShape direct_shape(const KernelRequest& request, MatrixUnit unit = kVectorUnit) {
  Conv2DShape shape = conv_shape(request, unit);
  shape.groups /= groups_to_join<T>(shape);
  return shape;
}

template <class T, MatrixUnit kUnit = kVectorUnit>
double direct_us(const KernelRequest& request) {
  return conv_cost_us<T>(direct_shape<T>(request, kUnit), ConvAlgorithm::kDirect, request.num_threads);
}

template <class T>
std::vector<Blocking> direct_blockings(const KernelRequest& request) {
  const Conv2DShape shape = direct_shape<T>(request);
  const int64_t rows = conv2d_band_rows<T>(shape);
  if (rows == 0) return product_blockings(request, shape.group_out());
  std::vector<Blocking> blockings = panel_blockings(shape.oc);
  add_strips(blockings, rows, shape.oh);
  return blockings;
}

template <class T, class In = T, class Out = T>
Result<std::unique_ptr<Kernel>> make_direct(const KernelRequest& request, PackCache& packs,
                                            MatrixUnit unit = kVectorUnit) {
  const Conv2DShape shape = direct_shape<T>(request, unit);
  const LoweredEpilogue epilogue(request, request.node->get<ir::ConvAttrs>().epilogue, 2, kElement<T>);
  BLADE_ASSIGN_OR_RETURN(const auto packed, packed_direct_weights<T>(request, packs, shape));
  const PlaneSplits splits = conv2d_splits(shape, request.num_threads);
  return make_kernel(
      [=](const KernelArgs& args) {
        LoweredEpilogue::BoundTo<T> bound;
        epilogue.bind(args, bound);
        conv2d(shape, input<In>(args, 0), packed->data(), output<Out>(args), bound.raw, *args.pool, args.scratch,
               splits);
        return Status::ok_status();
      },
      epilogue.in_place_inputs(), conv2d_scratch_bytes<T>(shape, request.num_threads, splits), kWeightsPacked);
}

Result<std::unique_ptr<Kernel>> create_direct(const KernelRequest& request, PackCache& packs) {
  return make_direct<float>(request, packs);
}

// Images may come, and results may go, as float32.
template <MatrixUnit kUnit>
Result<std::unique_ptr<Kernel>> create_direct_bf16(const KernelRequest& request, PackCache& packs) {
  const bool wide_in = request.inputs[0].dtype == ir::DType::kFloat32;
  if (request.outputs[0].dtype == ir::DType::kFloat32) {
    return wide_in ? make_direct<BFloat16, float, float>(request, packs, kUnit)
                   : make_direct<BFloat16, BFloat16, float>(request, packs, kUnit);
  }
  return wide_in ? make_direct<BFloat16, float>(request, packs, kUnit) : make_direct<BFloat16>(request, packs, kUnit);
}

// --- Winograd ---

// Kernels of which a row takes one kind.
enum class Taps { k3x3, k5x5, kLine, kVolume };

bool has_taps(const Conv2DShape& s, Taps taps) {
  if (taps == Taps::kVolume) return s.kh == 3 && s.kw == 3;
  if (taps == Taps::kLine) return s.kh == 1 || s.kw == 1;
  return s.kh == s.kw && s.kh == (taps == Taps::k3x3 ? 3 : 5);
}

const char* taps_refusal(Taps taps) {
  switch (taps) {
    case Taps::k3x3:
      return "this row takes 3x3 kernels";
    case Taps::k5x5:
      return "this row takes 5x5 kernels";
    case Taps::kLine:
      return "this row takes kernels of one dim";
    case Taps::kVolume:
      return "this row takes kernels of 3x3 in height and width";
  }
  return "unknown";
}

template <ConvAlgorithm kAlgorithm, Taps kTaps, class T = float>
Support supports_winograd(const KernelRequest& request) {
  if (Support s = kTaps == Taps::kVolume ? conv3d_node_support(request) : conv_node_support<T>(request); !s.ok)
    return s;
  if (Support s = needs_dtype(request, kElement<T>); !s.ok) return s;
  if (const char* refusal = conv_algorithm_refusal(conv_shape(request), kAlgorithm)) return Support::no(refusal);
  if (!has_taps(conv_shape(request), kTaps)) return Support::no(taps_refusal(kTaps));
  if (winograd_rounding<T>(conv_shape(request), kAlgorithm) == WinogradRounding::kNever)
    return Support::no("tiles of 4 outputs are too inexact for so many taps in bfloat16");
  return weights_constant(request) ? Support::yes() : Support::no("weights are not constant");
}

// Coarse rows are for who checks the answers: tuning does.
template <ConvAlgorithm kAlgorithm, class T = float>
double winograd_us(const KernelRequest& request) {
  if (winograd_rounding<T>(conv_shape(request), kAlgorithm) == WinogradRounding::kCoarse)
    return never_by_prediction(request);
  return conv_cost_us<T>(conv_shape(request), kAlgorithm, request.num_threads);
}

template <ConvAlgorithm kAlgorithm, class T = float>
std::vector<Blocking> winograd_blockings(const KernelRequest& request) {
  const Conv2DShape shape = conv_shape(request);
  std::vector<Blocking> blockings = panel_blockings(shape.oc);
  add_strips(blockings, winograd_pass_tiles<T>(shape, kAlgorithm, request.num_threads),
             winograd_tiles(shape, kAlgorithm));
  return blockings;
}

template <ConvAlgorithm kAlgorithm, class T = float>
Result<std::unique_ptr<Kernel>> create_winograd(const KernelRequest& request, PackCache& packs) {
  const Conv2DShape shape = conv_shape(request);
  const LoweredEpilogue epilogue(request, request.node->get<ir::ConvAttrs>().epilogue, 2, kElement<T>);
  const std::string layout = layout_name(conv_algorithm_name(kAlgorithm), {shape.depth.taps, shape.kh, shape.kw,
                                                                           shape.c, shape.oc, shape.blocking.vectors});
  BLADE_ASSIGN_OR_RETURN(
      const auto packed,
      packed_weights<T>(request, packs, layout, packed_winograd_bytes<T>(shape, kAlgorithm),
                        [&](const T* from, void* to) { pack_winograd_weights(shape, kAlgorithm, from, to); }));
  return make_kernel(
      [=](const KernelArgs& args) {
        LoweredEpilogue::BoundTo<T> bound;
        epilogue.bind(args, bound);
        winograd_conv2d(shape, kAlgorithm, input<T>(args, 0), packed->data(), output<T>(args), bound.raw, *args.pool,
                        args.scratch);
        return Status::ok_status();
      },
      epilogue.in_place_inputs(), winograd_scratch_bytes<T>(shape, kAlgorithm, request.num_threads), kWeightsPacked);
}

template <ConvAlgorithm kAlgorithm>
int64_t winograd_row_unit(const KernelRequest& request) {
  const Conv2DShape shape = conv_shape(request);
  const int64_t unit = shape.kh > 1 ? winograd_outputs(kAlgorithm) : 1;
  return sums_keep_order(winograd_tiles(shape, kAlgorithm), shape.c, request.num_threads) ? unit : 0;
}

// --- 1x1 by pieces of bfloat16, on tile registers ---

Support supports_split_conv(const KernelRequest& request) {
  if (Support s = split_support(request); !s.ok) return s;
  if (Support s = supports_direct<float>(request); !s.ok) return s;
  return is_pointwise_conv(conv_shape(request)) ? Support::yes() : Support::no("is not a product of all pixels");
}

double split_1x1_us(const KernelRequest& request) {
  const Conv2DShape s = conv_shape(request);
  return split_product_us(s.output_pixels(), s.c, s.oc, std::max(1, request.num_threads));
}

Result<std::unique_ptr<Kernel>> create_split_conv(const KernelRequest& request, PackCache& packs) {
  const Conv2DShape s = conv_shape(request);
  const LoweredEpilogue epilogue(request, request.node->get<ir::ConvAttrs>().epilogue, 2);
  BLADE_ASSIGN_OR_RETURN(
      const auto packed,
      packed_weights(request, packs, layout_name("split_conv", {s.c, s.oc}), packed_split_bytes(s.c, s.oc),
                     [&](const float* from, void* to) { pack_split_b(from, s.c, s.oc, s.oc, 1, to); }));
  return make_split_product(s.output_pixels(), s.c, s.oc, packed, epilogue, request.num_threads);
}

// --- the same of other kernels and strides ---

Support supports_split_taps(const KernelRequest& request) {
  if (Support s = split_support(request); !s.ok) return s;
  if (Support s = supports_direct<float>(request); !s.ok) return s;
  const Conv2DShape shape = conv_shape(request);
  if (is_pointwise_conv(shape)) return Support::no("is a product of all pixels: another row takes that");
  const char* refusal = split_conv_refusal(shape);
  return refusal == nullptr ? Support::yes() : Support::no(refusal);
}

double split_taps_us(const KernelRequest& request) {
  return split_conv_us(conv_shape(request), std::max(1, request.num_threads));
}

Result<std::unique_ptr<Kernel>> create_split_taps(const KernelRequest& request, PackCache& packs) {
  const Conv2DShape s = conv_shape(request);
  const LoweredEpilogue epilogue(request, request.node->get<ir::ConvAttrs>().epilogue, 2);
  const int64_t k = s.kh * s.kw * s.c;
  BLADE_ASSIGN_OR_RETURN(
      const auto packed,
      packed_weights(request, packs, layout_name("split_conv", {k, s.oc}), packed_split_bytes(k, s.oc),
                     [&](const float* from, void* to) { pack_split_b(from, k, s.oc, s.oc, 1, to); }));
  return make_kernel(
      [=](const KernelArgs& args) {
        LoweredEpilogue::Bound bound;
        epilogue.bind(args, bound);
        split_conv(s, input<float>(args, 0), packed->data(), output<float>(args), bound.raw, *args.pool, args.scratch);
        return Status::ok_status();
      },
      epilogue.in_place_inputs(), split_conv_scratch_bytes(s, request.num_threads), kWeightsPacked);
}

// --- direct, weights computed by the graph: packed at every run ---

Support supports_repack(const KernelRequest& request) {
  if (Support s = conv_node_support(request); !s.ok) return s;
  if (weights_constant(request)) return Support::no("weights are constant, so they are packed once");
  if (const char* refusal = conv_algorithm_refusal(conv_shape(request), ConvAlgorithm::kDirect))
    return Support::no(refusal);
  return is_depthwise(request) ? Support::no(kTakenByDepthwise) : Support::yes();
}

double repack_us(const KernelRequest& request) {
  return conv_cost_us(conv_shape(request), ConvAlgorithm::kDirect, request.num_threads);
}

Result<std::unique_ptr<Kernel>> create_repack(const KernelRequest& request, PackCache&) {
  const Conv2DShape shape = conv_shape(request);
  const LoweredEpilogue epilogue(request, request.node->get<ir::ConvAttrs>().epilogue, 2);
  const size_t packed_bytes = align_up(packed_conv_bytes<float>(shape), kBufferAlignment);
  return make_kernel(
      [=](const KernelArgs& args) {
        LoweredEpilogue::Bound bound;
        epilogue.bind(args, bound);
        pack_conv_weights(shape, input<float>(args, 1), args.scratch);
        conv2d(shape, input<float>(args, 0), args.scratch, output<float>(args), bound.raw, *args.pool,
               args.scratch + packed_bytes);
        return Status::ok_status();
      },
      epilogue.in_place_inputs(), packed_bytes + conv2d_scratch_bytes<float>(shape, request.num_threads));
}

// --- three spatial dims ---

Support supports_3d(const KernelRequest& request) {
  if (Support s = conv3d_node_support(request); !s.ok) return s;
  return weights_constant(request) ? Support::yes() : Support::no("weights are not constant");
}

Result<std::unique_ptr<Kernel>> create_3d(const KernelRequest& request, PackCache& packs) {
  const Conv3DShape shape = conv3d_shape(request);
  const LoweredEpilogue epilogue(request, request.node->get<ir::ConvAttrs>().epilogue, 2);
  BLADE_ASSIGN_OR_RETURN(
      const auto packed,
      packed_weights(request, packs, layout_name("conv3d", {shape.k(), shape.oc}), packed_b_bytes(shape.k(), shape.oc),
                     [&](const float* from, void* to) { pack_b(from, shape.k(), shape.oc, shape.oc, 1, to); }));
  return make_kernel(
      [=](const KernelArgs& args) {
        LoweredEpilogue::Bound bound;
        epilogue.bind(args, bound);
        conv3d_f32(shape, input<float>(args, 0), packed_b_view(shape.k(), shape.oc, packed->data()),
                   output<float>(args), bound.raw, *args.pool, args.scratch);
        return Status::ok_status();
      },
      epilogue.in_place_inputs(), conv3d_scratch_bytes(shape, request.num_threads), kWeightsPacked);
}

// --- transposed ---

template <class T, MatrixUnit kUnit = kVectorUnit>
Support supports_conv_transpose(const KernelRequest& request) {
  if constexpr (kUnit == kTileUnit) {
    if (Support s = tiles_support(request); !s.ok) return s;
  }
  if (Support s = conv_transpose_node_support<T>(request); !s.ok) return s;
  return weights_constant(request) ? Support::yes() : Support::no("weights are not constant");
}

template <class T, MatrixUnit kUnit = kVectorUnit>
double conv_transpose_us(const KernelRequest& request) {
  return conv_transpose_cost_us<T>(conv_transpose_shape(request, kUnit), request.num_threads);
}

template <class T, MatrixUnit kUnit = kVectorUnit>
Result<std::unique_ptr<Kernel>> create_conv_transpose(const KernelRequest& request, PackCache& packs) {
  ConvTransposeShape shape = conv_transpose_shape(request, kUnit);
  const LoweredEpilogue epilogue(request, request.node->get<ir::ConvTransposeAttrs>().epilogue, 3, kElement<T>);
  shape.finishes_later = epilogue.has_residual() || epilogue.has_program();
  // Which taps meet depends on stride and padding, so they belong to the layout.
  const std::string layout = layout_name(
      kUnit == kTileUnit ? "conv_transpose_tiles" : "conv_transpose",
      {shape.kh, shape.kw, shape.c, shape.oc, shape.stride_h, shape.stride_w, shape.pad_top, shape.pad_left});
  BLADE_ASSIGN_OR_RETURN(
      const auto packed,
      packed_weights<T>(request, packs, layout, packed_conv_transpose_bytes<T>(shape),
                        [&](const T* from, void* to) { pack_conv_transpose_weights(shape, from, to); }));
  const PlaneSplits splits = conv_transpose_splits(shape, request.num_threads);
  return make_kernel(
      [=](const KernelArgs& args) {
        LoweredEpilogue::BoundTo<T> bound;
        epilogue.bind(args, bound);
        conv_transpose(shape, input<T>(args, 0), packed->data(), output<T>(args), bound.raw, *args.pool, args.scratch,
                       splits);
        return Status::ok_status();
      },
      conv_transpose_spreads(shape) ? 0 : epilogue.in_place_inputs(),
      conv_transpose_scratch_bytes<T>(shape, request.num_threads, splits), kWeightsPacked);
}

int64_t conv_transpose_row_unit(const KernelRequest& request) {
  const ConvTransposeShape s = conv_transpose_shape(request);
  constexpr int64_t kFewColumns = 4;
  if (s.oc <= kFewColumns || conv_transpose_is_gathered(s)) return 0;
  return sums_keep_order(s.h * s.w, s.c, request.num_threads) ? 1 : 0;
}

Support supports_conv_transpose3d(const KernelRequest& request) {
  if (Support s = conv_transpose3d_node_support(request); !s.ok) return s;
  return weights_constant(request) ? Support::yes() : Support::no("weights are not constant");
}

Result<std::unique_ptr<Kernel>> create_conv_transpose3d(const KernelRequest& request, PackCache& packs) {
  const ConvTranspose3DShape shape = conv_transpose3d_shape(request);
  const LoweredEpilogue epilogue(request, request.node->get<ir::ConvTransposeAttrs>().epilogue, 3);
  const std::string layout =
      layout_name("conv_transpose3d",
                  {shape.kernel[0], shape.kernel[1], shape.kernel[2], shape.c, shape.oc, shape.stride[0],
                   shape.stride[1], shape.stride[2], shape.pad_before[0], shape.pad_before[1], shape.pad_before[2]});
  BLADE_ASSIGN_OR_RETURN(const auto packed, packed_weights(request, packs, layout, packed_conv_transpose3d_bytes(shape),
                                                           [&](const float* from, void* to) {
                                                             pack_conv_transpose3d_weights(shape, from, to);
                                                           }));
  return make_kernel(
      [=](const KernelArgs& args) {
        LoweredEpilogue::Bound bound;
        epilogue.bind(args, bound);
        conv_transpose3d_f32(shape, input<float>(args, 0), packed->data(), output<float>(args), bound.raw, *args.pool,
                             args.scratch);
        return Status::ok_status();
      },
      epilogue.in_place_inputs(), conv_transpose3d_scratch_bytes(shape, request.num_threads), kWeightsPacked);
}

// Outputs of a tile along a dim.
constexpr ConvAlgorithm kFour = ConvAlgorithm::kWinograd4, kTwo = ConvAlgorithm::kWinograd2;

constexpr KernelEntry kConvRows[] = {
    {"cpu.conv.winograd43_f32", ir::Op::kConv, supports_winograd<kFour, Taps::k3x3>, winograd_us<kFour>,
     create_winograd<kFour>, winograd_blockings<kFour>, winograd_row_unit<kFour>},
    {"cpu.conv.winograd23_f32", ir::Op::kConv, supports_winograd<kTwo, Taps::k3x3>, winograd_us<kTwo>,
     create_winograd<kTwo>, winograd_blockings<kTwo>, winograd_row_unit<kTwo>},
    {"cpu.conv.winograd25_f32", ir::Op::kConv, supports_winograd<kTwo, Taps::k5x5>, winograd_us<kTwo>,
     create_winograd<kTwo>, winograd_blockings<kTwo>, winograd_row_unit<kTwo>},
    {"cpu.conv.winograd4_line_f32", ir::Op::kConv, supports_winograd<kFour, Taps::kLine>, winograd_us<kFour>,
     create_winograd<kFour>, winograd_blockings<kFour>, winograd_row_unit<kFour>},
    {"cpu.conv.winograd2_line_f32", ir::Op::kConv, supports_winograd<kTwo, Taps::kLine>, winograd_us<kTwo>,
     create_winograd<kTwo>, winograd_blockings<kTwo>, winograd_row_unit<kTwo>},
    {"cpu.conv.winograd43_volume_f32", ir::Op::kConv, supports_winograd<kFour, Taps::kVolume>, winograd_us<kFour>,
     create_winograd<kFour>, winograd_blockings<kFour>, winograd_row_unit<kFour>},
    {"cpu.conv.winograd23_volume_f32", ir::Op::kConv, supports_winograd<kTwo, Taps::kVolume>, winograd_us<kTwo>,
     create_winograd<kTwo>, winograd_blockings<kTwo>, winograd_row_unit<kTwo>},
    {"cpu.conv.winograd23_bf16", ir::Op::kConv, supports_winograd<kTwo, Taps::k3x3, BFloat16>,
     winograd_us<kTwo, BFloat16>, create_winograd<kTwo, BFloat16>, winograd_blockings<kTwo, BFloat16>,
     winograd_row_unit<kTwo>},
    {"cpu.conv.winograd43_bf16", ir::Op::kConv, supports_winograd<kFour, Taps::k3x3, BFloat16>,
     winograd_us<kFour, BFloat16>, create_winograd<kFour, BFloat16>, winograd_blockings<kFour, BFloat16>,
     winograd_row_unit<kFour>},
    {"cpu.conv.winograd25_bf16", ir::Op::kConv, supports_winograd<kTwo, Taps::k5x5, BFloat16>,
     winograd_us<kTwo, BFloat16>, create_winograd<kTwo, BFloat16>, winograd_blockings<kTwo, BFloat16>,
     winograd_row_unit<kTwo>},
    {"cpu.conv.winograd4_line_bf16", ir::Op::kConv, supports_winograd<kFour, Taps::kLine, BFloat16>,
     winograd_us<kFour, BFloat16>, create_winograd<kFour, BFloat16>, winograd_blockings<kFour, BFloat16>,
     winograd_row_unit<kFour>},
    {"cpu.conv.winograd2_line_bf16", ir::Op::kConv, supports_winograd<kTwo, Taps::kLine, BFloat16>,
     winograd_us<kTwo, BFloat16>, create_winograd<kTwo, BFloat16>, winograd_blockings<kTwo, BFloat16>,
     winograd_row_unit<kTwo>},
    {"cpu.conv.direct_f32", ir::Op::kConv, supports_direct<float>, direct_us<float>, create_direct,
     direct_blockings<float>, product_row_unit},
    on_tiles({"cpu.conv.split_amx_f32", ir::Op::kConv, supports_split_conv, split_1x1_us, create_split_conv}),
    on_tiles({"cpu.conv.split_taps_amx_f32", ir::Op::kConv, supports_split_taps, split_taps_us, create_split_taps}),
    {"cpu.conv.direct_bf16", ir::Op::kConv, supports_direct<BFloat16>, direct_us<BFloat16>,
     create_direct_bf16<kVectorUnit>, direct_blockings<BFloat16>, product_row_unit},
    on_tiles({"cpu.conv.direct_amx_bf16", ir::Op::kConv, supports_direct<BFloat16, kTileUnit>,
              direct_us<BFloat16, kTileUnit>, create_direct_bf16<kTileUnit>, nullptr, any_rows}),
    {"cpu.conv.direct_repack_f32", ir::Op::kConv, supports_repack, repack_us, create_repack},
    {"cpu.conv.direct3d_f32", ir::Op::kConv, supports_3d, direct_us<float>, create_3d},
    {"cpu.conv_transpose.direct_f32", ir::Op::kConvTranspose, supports_conv_transpose<float>, nullptr,
     create_conv_transpose<float>, nullptr, conv_transpose_row_unit},
    {"cpu.conv_transpose.direct_bf16", ir::Op::kConvTranspose, supports_conv_transpose<BFloat16>,
     conv_transpose_us<BFloat16>, create_conv_transpose<BFloat16>, nullptr, conv_transpose_row_unit},
    on_tiles({"cpu.conv_transpose.direct_amx_bf16", ir::Op::kConvTranspose,
              supports_conv_transpose<BFloat16, kTileUnit>, conv_transpose_us<BFloat16, kTileUnit>,
              create_conv_transpose<BFloat16, kTileUnit>, nullptr, any_rows}),
    {"cpu.conv_transpose.direct3d_f32", ir::Op::kConvTranspose, supports_conv_transpose3d, nullptr,
     create_conv_transpose3d},
};

constexpr KernelEntry kConvToF32Rows[] = {
    {"cpu.conv.direct_bf16_to_f32", ir::Op::kCast, supports_to_f32<ir::Op::kConv, supports_direct<BFloat16>>,
     us_with_cast<direct_us<BFloat16>>, create_with_cast<create_direct_bf16<kVectorUnit>>,
     blockings_with_cast<direct_blockings<BFloat16>>, product_row_unit},
    on_tiles({"cpu.conv.direct_amx_bf16_to_f32", ir::Op::kCast,
              supports_to_f32<ir::Op::kConv, supports_direct<BFloat16, kTileUnit>>,
              us_with_cast<direct_us<BFloat16, kTileUnit>>, create_with_cast<create_direct_bf16<kTileUnit>>, nullptr,
              any_rows}),
};

}  // namespace

std::span<const KernelEntry> conv_rows() { return kConvRows; }
std::span<const KernelEntry> conv_to_f32_rows() { return kConvToF32Rows; }

}  // namespace blade::backends::cpu
