// Convolutions in three spatial dims on tile registers.
#include <algorithm>

#include "backends/cpu/conv_support.h"
#include "backends/cpu/kernel_families.h"
#include "backends/cpu/matrix/conv_volume.h"
#include "backends/cpu/packed_weights.h"
#include "backends/depth_taps.h"

namespace blade::backends::cpu {
namespace {

Support supports_3d_on_tiles(const KernelRequest& request) {
  if (Support s = tiles_support(request); !s.ok) return s;
  if (Support s = conv3d_node_support<BFloat16>(request); !s.ok) return s;
  if (request.inputs[0].dtype != ir::DType::kBFloat16) return Support::no("does not read bfloat16");
  if (request.inputs[1].dims[0] > kMostDepthTaps) return Support::no("has too many taps along its depth");
  return weights_constant(request) ? Support::yes() : Support::no("weights are not constant");
}

double us_of_3d_on_tiles(const KernelRequest& request) {
  return conv_volume_us(conv_shape(request, MatrixUnit::kTiles), std::max(1, request.num_threads));
}

Result<std::unique_ptr<Kernel>> create_3d_on_tiles(const KernelRequest& request, PackCache& packs) {
  const Conv2DShape volume = conv_shape(request, MatrixUnit::kTiles);
  const LoweredEpilogue epilogue(request, request.node->get<ir::ConvAttrs>().epilogue, 2, kElement<BFloat16>);
  BLADE_ASSIGN_OR_RETURN(
      const auto packed,
      packed_weights<BFloat16>(request, packs,
                               layout_name("conv_volume", {volume.depth.taps, volume.kh, volume.kw, volume.c, volume.oc,
                                                           volume.dilation_w, volume.dilation_h}),
                               packed_volume_bytes(volume),
                               [&](const BFloat16* from, void* to) { pack_volume_weights(volume, from, to); }));
  const VolumeSplits splits = conv_volume_splits(volume, request.num_threads);
  return make_kernel(
      [=](const KernelArgs& args) {
        LoweredEpilogue::BoundTo<BFloat16> bound;
        epilogue.bind(args, bound);
        conv_volume(volume, splits, input<BFloat16>(args, 0), packed->data(), output<BFloat16>(args), bound.raw,
                    *args.pool, args.scratch);
        return Status::ok_status();
      },
      epilogue.in_place_inputs(), conv_volume_scratch_bytes(volume, request.num_threads, splits), kWeightsPacked);
}

constexpr KernelEntry kConv3dTilesRows[] = {
    on_tiles(
        {"cpu.conv.direct3d_amx_bf16", ir::Op::kConv, supports_3d_on_tiles, us_of_3d_on_tiles, create_3d_on_tiles}),
};

}  // namespace

std::span<const KernelEntry> conv3d_tiles_rows() { return kConv3dTilesRows; }

}  // namespace blade::backends::cpu
