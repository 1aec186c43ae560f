// Convolutions in three spatial dims on tile registers: each image along the depth of the result is a convolution of
// two dims whose channels are those of all images that its depth taps read, which are copied to planes in any case.
#include <array>

#include "backends/cpu/conv_support.h"
#include "backends/cpu/kernel_families.h"
#include "backends/cpu/matrix/conv_planes.h"
#include "backends/cpu/packed_weights.h"
#include "backends/depth_taps.h"

namespace blade::backends::cpu {
namespace {

// One image of the result.
Conv2DShape image_of_volume(const Conv2DShape& volume) {
  Conv2DShape image = volume;
  image.n = 1;
  image.c *= volume.depth.taps;
  image.depth = {};
  return image;
}

Support supports_3d_on_tiles(const KernelRequest& request) {
  if (Support s = tiles_support(request); !s.ok) return s;
  if (Support s = conv3d_node_support<BFloat16>(request); !s.ok) return s;
  if (request.inputs[0].dtype != ir::DType::kBFloat16) return Support::no("does not read bfloat16");
  if (request.inputs[1].dims[0] > kMostDepthTaps) return Support::no("has too many taps along its depth");
  return weights_constant(request) ? Support::yes() : Support::no("weights are not constant");
}

double us_of_3d_on_tiles(const KernelRequest& request) {
  const Conv2DShape volume = conv_shape(request, MatrixUnit::kTiles);
  const double image_us =
      conv_cost_us<BFloat16>(image_of_volume(volume), ConvAlgorithm::kDirect, std::max(1, request.num_threads));
  return static_cast<double>(volume.n) * image_us;
}

// Weights [depth][height][width][c][oc] with the channels of all depth taps one behind the other.
std::vector<BFloat16> weights_by_image(const Conv2DShape& volume, const BFloat16* from) {
  const int64_t taps = volume.kh * volume.kw, row = volume.c * volume.oc;
  std::vector<BFloat16> to(static_cast<size_t>(volume.depth.taps * taps * row));
  for (int64_t d = 0; d < volume.depth.taps; ++d) {
    for (int64_t tap = 0; tap < taps; ++tap, from += row)
      std::copy_n(from, row, to.begin() + (tap * volume.depth.taps + d) * row);
  }
  return to;
}

// What the depth taps of the `index`-th image read; images outside the volume are one pixel of zeros, again and again.
void find_images(const Conv2DShape& volume, int64_t index, const BFloat16* in, const BFloat16* zeros,
                 std::span<PlanePart> parts) {
  const DepthAxis& depth = volume.depth;
  const int64_t first = index % depth.out * depth.stride - depth.pad_before;
  for (size_t tap = 0; tap < parts.size(); ++tap) {
    const int64_t z = first + static_cast<int64_t>(tap) * depth.dilation;
    const int64_t image = index / depth.out * depth.in + z;
    const bool inside = z >= 0 && z < depth.in;
    parts[tap] = inside ? PlanePart{in + image * volume.h * volume.w * volume.c, volume.c, volume.c}
                        : PlanePart{zeros, volume.c, 0};
  }
}

Result<std::unique_ptr<Kernel>> create_3d_on_tiles(const KernelRequest& request, PackCache& packs) {
  const Conv2DShape volume = conv_shape(request, MatrixUnit::kTiles), image = image_of_volume(volume);
  const LoweredEpilogue epilogue(request, request.node->get<ir::ConvAttrs>().epilogue, 2, kElement<BFloat16>);
  const auto pack = [&](const BFloat16* from, void* to) {
    pack_runs(weights_by_image(volume, from).data(), image.kh * image.kw, image.c, image.oc, image.oc, 1, to);
  };
  BLADE_ASSIGN_OR_RETURN(
      const auto packed,
      packed_weights<BFloat16>(request, packs,
                               layout_name("conv3d_tiles", {volume.depth.taps, image.kh, image.kw, volume.c, image.oc}),
                               conv_planes_weights(image, nullptr).bytes(), pack));
  const PlaneSplits splits = conv_planes_splits(image, request.num_threads);
  const std::vector<BFloat16> zeros(static_cast<size_t>(volume.c));
  return make_kernel(
      [=](const KernelArgs& args) {
        LoweredEpilogue::BoundTo<BFloat16> bound;
        epilogue.bind(args, bound);
        std::array<PlanePart, kMostDepthTaps> parts{};
        const std::span<PlanePart> taps(parts.data(), static_cast<size_t>(volume.depth.taps));
        const PlaneSplit& split = splits[static_cast<size_t>(args.pool->num_threads() - 1)];
        const int64_t pixels = image.output_pixels();
        for (int64_t i = 0; i < volume.n; ++i) {
          find_images(volume, i, input<BFloat16>(args, 0), zeros.data(), taps);
          const PartEpilogue<BFloat16> part(bound.raw, i * pixels);
          conv_by_planes(image, split, taps, conv_planes_weights(image, packed->data()),
                         output<BFloat16>(args) + i * pixels * image.oc, part.get(), *args.pool, args.scratch);
        }
        return Status::ok_status();
      },
      epilogue.in_place_inputs(), conv_planes_scratch_bytes(image, splits), kWeightsPacked);
}

constexpr KernelEntry kConv3dTilesRows[] = {
    on_tiles(
        {"cpu.conv.direct3d_amx_bf16", ir::Op::kConv, supports_3d_on_tiles, us_of_3d_on_tiles, create_3d_on_tiles}),
};

}  // namespace

std::span<const KernelEntry> conv3d_tiles_rows() { return kConv3dTilesRows; }

}  // namespace blade::backends::cpu
