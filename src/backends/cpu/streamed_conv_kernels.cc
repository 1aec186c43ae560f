// Rows for convolutions of few pixels in bfloat16, whose weights stream past them.
#include "backends/cpu/cast_fusion.h"
#include "backends/cpu/conv_support.h"
#include "backends/cpu/kernel_families.h"
#include "backends/cpu/matrix/conv_streamed.h"
#include "backends/cpu/packed_weights.h"

namespace blade::backends::cpu {
namespace {

Conv2DShape streamed_shape(const KernelRequest& request) { return conv_shape(request, MatrixUnit::kTiles); }

LoweredEpilogue streamed_epilogue(const KernelRequest& request) {
  return {request, request.node->get<ir::ConvAttrs>().epilogue, 2, kElement<BFloat16>};
}

Support supports_streamed(const KernelRequest& request) {
  if (Support s = tiles_support(request); !s.ok) return s;
  if (Support s = conv_node_support<BFloat16>(request); !s.ok) return s;
  if (!weights_constant(request)) return Support::no("weights are not constant");
  const Conv2DShape shape = streamed_shape(request);
  if (rounds_input(shape)) return Support::no("is a first layer");
  if (const char* refusal = streamed_conv_refusal(shape, request.num_threads)) return Support::no(refusal);
  const LoweredEpilogue e = streamed_epilogue(request);
  const bool narrow_residual = e.has_residual() && e.in_place_inputs() == 0;
  if (!e.is_plain() || narrow_residual) return Support::no("has more to do than bias, residual and clamp");
  return Support::yes();
}

// Weights arrive while others are multiplied, which the direct row does not reach; but that one can cut pixels, too,
// for more threads.
double streamed_us(const KernelRequest& request) {
  constexpr double kOfDirect = 0.8;
  const int threads = std::max(1, request.num_threads);
  const StreamedConv conv(streamed_shape(request), threads);
  return kOfDirect * conv_cost_us<BFloat16>(conv.shape, ConvAlgorithm::kDirect, threads) * threads /
         conv.busy_threads();
}

template <class Out>
Result<std::unique_ptr<Kernel>> make_streamed(const KernelRequest& request, PackCache& packs) {
  const StreamedConv conv(streamed_shape(request), request.num_threads);
  const Conv2DShape& s = conv.shape;
  const LoweredEpilogue epilogue = streamed_epilogue(request);
  BLADE_ASSIGN_OR_RETURN(
      const auto packed,
      packed_weights<BFloat16>(request, packs, layout_name("conv_streamed", {s.kh, s.kw, s.c, s.oc, conv.channels}),
                               packed_streamed_bytes(s),
                               [&](const BFloat16* from, void* to) { pack_streamed_weights(conv, from, to); }));
  return make_kernel(
      [=](const KernelArgs& args) {
        LoweredEpilogue::BoundTo<BFloat16> bound;
        epilogue.bind(args, bound);
        streamed_conv(conv, input<BFloat16>(args, 0), packed->data(), output<Out>(args), bound.raw, *args.pool,
                      args.scratch);
        return Status::ok_status();
      },
      epilogue.in_place_inputs(), streamed_conv_scratch_bytes(conv, request.num_threads), kWeightsPacked);
}

Result<std::unique_ptr<Kernel>> create_streamed(const KernelRequest& request, PackCache& packs) {
  return request.outputs[0].dtype == ir::DType::kFloat32 ? make_streamed<float>(request, packs)
                                                         : make_streamed<BFloat16>(request, packs);
}

constexpr KernelEntry kStreamedConvRows[] = {
    on_tiles({"cpu.conv.streamed_amx_bf16", ir::Op::kConv, supports_streamed, streamed_us, create_streamed}),
};
constexpr KernelEntry kStreamedConvToF32Rows[] = {
    on_tiles({"cpu.conv.streamed_amx_bf16_to_f32", ir::Op::kCast, supports_to_f32<ir::Op::kConv, supports_streamed>,
              us_with_cast<streamed_us>, create_with_cast<create_streamed>}),
};

}  // namespace

std::span<const KernelEntry> streamed_conv_rows() { return kStreamedConvRows; }
std::span<const KernelEntry> streamed_conv_to_f32_rows() { return kStreamedConvToF32Rows; }

}  // namespace blade::backends::cpu
