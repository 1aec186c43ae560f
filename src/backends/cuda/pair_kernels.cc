// Two 1x1 convolutions as one launch, by clusters; see conv_pair.cu.
#include "backends/cuda/pair_kernels.h"

#include <algorithm>

#include "backends/cuda/tensor_map.h"

namespace blade::backends::cuda {
namespace {

const PairPart& part_of(const BoundKernel& bound) { return dynamic_cast<const PairedKernel&>(*bound.kernel).part(); }

bool overlap(const void* a, size_t a_bytes, const void* b, size_t b_bytes) {
  const auto* first = static_cast<const std::byte*>(a);
  const auto* second = static_cast<const std::byte*>(b);
  return first < second + b_bytes && second < first + a_bytes;
}

// The second one's results come while other blocks still read the first one's operands. They may take the place of its
// image, if pixels are as long: a cluster has read its own when it stores them.
bool keeps_operands(const BoundKernel& first, const BoundKernel& second) {
  const PairPart &from = part_of(first), &to = part_of(second);
  const void* results = second.args.outputs[0];
  for (size_t i = 0; i < from.input_bytes.size(); ++i) {
    const void* input = first.args.inputs[i];
    const bool same_pixels = i == from.operands.x && input == results && from.input_bytes[i] == to.output_bytes;
    if (!same_pixels && overlap(input, from.input_bytes[i], results, to.output_bytes)) return false;
  }
  return true;
}

bool follows(const BoundKernel& first, const BoundKernel& second) {
  const PairPart &from = part_of(first), &to = part_of(second);
  return first.args.outputs.size() == 1 && second.args.outputs.size() == 1 && from.is_plain && to.is_plain &&
         from.type == to.type && is_plain_product(from.problem) && is_plain_product(to.problem) &&
         to.problem.addend_channels == 0 && to.operands.epilogue.in_place_inputs() == 0 &&
         first.args.outputs[0] == second.args.inputs[to.operands.x] && from.output_bytes == to.input_bytes[0] &&
         from.problem.channels == to.problem.in_channels && from.problem.rows() == to.problem.rows() &&
         from.problem.chunks() <= kMostPairChunks && keeps_operands(first, second);
}

class PairLaunch final : public JoinedKernels {
 public:
  PairLaunch(const BoundKernel& first, const BoundKernel& second, const void* kernel, const LaunchShape& shape)
      : first_(first), second_(second), kernel_(kernel), shape_(shape) {}

  Status run(void* queue, size_t count) const override {
    KernelArgs args = first_.args;
    args.queue = queue;
    if (count < 2) return first_.kernel->run(args);
    const PairPart &from = part_of(first_), &to = part_of(second_);
    ConvParams p = from.operands.bind(from.params, args), then = to.operands.bind(to.params, second_.args);
    PixelMaps maps;
    BLADE_ASSIGN_OR_RETURN(maps, make_pixel_maps(from.problem, from.addend, p.x, args.inputs[0], kPairRows));
    void* arguments[] = {&maps, &p, &then};
    return launch(args, kernel_, shape_, arguments);
  }

 private:
  BoundKernel first_, second_;
  const void* kernel_;
  LaunchShape shape_;
};

LaunchShape pair_shape(const PairVariant& variant, const ConvProblem& problem) {
  LaunchShape shape;
  shape.grid.x = static_cast<unsigned>(ceil_div(problem.rows(), int64_t{kPairRows}) * variant.cluster);
  shape.threads = variant.threads;
  shape.shared_bytes =
      std::max(variant.kept_bytes, static_cast<int>(problem.chunks()) * variant.stage_bytes) + variant.more_bytes;
  shape.cluster = variant.cluster;
  return shape;
}

// Blocks that all run at once: what a launch saves is waiting, which more work than that hides. A card that refuses
// such a launch runs the two one by one.
bool fits(const Device& device, const void* kernel, const LaunchShape& shape) {
  if (shape.grid.x > static_cast<unsigned>(device.info().multiprocessors)) return false;
  if (!prepare_launch(device, kernel, shape).ok()) return false;
  if (shape.cluster == 1) return true;
  const Result<int> clusters = clusters_at_once(kernel, shape);
  return clusters.ok() && static_cast<int>(shape.grid.x) <= *clusters * shape.cluster;
}

}  // namespace

bool can_pair(const BoundKernel& kernel) { return dynamic_cast<const PairedKernel*>(kernel.kernel) != nullptr; }

Result<std::unique_ptr<JoinedKernels>> pair_kernels(const Device& device, std::span<const BoundKernel> kernels,
                                                    size_t* taken) {
  *taken = 1;
  if (kernels.size() < 2 || !can_pair(kernels[1]) || !follows(kernels[0], kernels[1])) {
    return std::unique_ptr<JoinedKernels>();
  }
  const PairPart &from = part_of(kernels[0]), &to = part_of(kernels[1]);
  for (const PairVariant& variant : pair_variants()) {
    if (variant.cluster * variant.columns != from.problem.channels || variant.channels != to.problem.channels) continue;
    const LaunchShape shape = pair_shape(variant, from.problem);
    const void* kernel = variant.kernels.of(from.type);
    if (!fits(device, kernel, shape)) continue;
    *taken = 2;
    return std::unique_ptr<JoinedKernels>(std::make_unique<PairLaunch>(kernels[0], kernels[1], kernel, shape));
  }
  return std::unique_ptr<JoinedKernels>();
}

}  // namespace blade::backends::cuda
