// Convolutions as one launch, by clusters; see conv_pair.cu and conv_bottleneck.cu.
#include "backends/cuda/pair_kernels.h"

#include <algorithm>
#include <map>
#include <mutex>
#include <utility>

#include "backends/cuda/kernels/conv_bottleneck.h"
#include "backends/cuda/tensor_map.h"

namespace blade::backends::cuda {
namespace {

// Of the kernel's inputs, in their order: the producer's, then the node's own without that one.
std::vector<size_t> input_bytes(const KernelRequest& request) {
  std::vector<size_t> bytes;
  if (request.producer != nullptr) bytes = input_bytes(*request.producer);
  for (size_t i = 0; i < request.inputs.size(); ++i) {
    if (request.producer == nullptr || i != request.producer_input) bytes.push_back(request.inputs[i].bytes());
  }
  return bytes;
}

bool has_residual(const PairPart& part) { return part.operands.epilogue.in_place_inputs() != 0; }

// A 3x3 convolution that keeps the image's size and number of channels.
bool is_window(const ConvProblem& problem) {
  return problem.addend_channels == 0 && problem.kernel_h == 3 && problem.kernel_w == 3 && problem.stride_h == 1 &&
         problem.stride_w == 1 && problem.dilation_h == 1 && problem.dilation_w == 1 && problem.pad_top == 1 &&
         problem.pad_left == 1 && problem.out_height == problem.height && problem.out_width == problem.width &&
         problem.in_channels == problem.channels;
}

// Whether tiles of a variant are those of a window's image, and how many there are.
bool has_tiles(const BottleneckVariant& variant, const ConvProblem& window) {
  return variant.channels == window.channels && window.width % variant.columns == 0;
}
int64_t tiles_of(const BottleneckVariant& variant, const ConvProblem& window) {
  return window.images * ceil_div(window.height, int64_t{variant.rows}) * window.width / variant.columns;
}

// Of an SM's 228 KB, of which a block takes another.
constexpr int kMoreThanHalf = 228 * 1024 / 2 - 1024 + 256;

const PairPart& part_of(const BoundKernel& bound) { return dynamic_cast<const PairedKernel&>(*bound.kernel).part(); }

bool overlap(const void* a, size_t a_bytes, const void* b, size_t b_bytes) {
  const auto* first = static_cast<const std::byte*>(a);
  const auto* second = static_cast<const std::byte*>(b);
  return first < second + b_bytes && second < first + a_bytes;
}

// The second one's results come while other blocks still read the first one's operands. They may take the place of its
// image, if pixels are as long and no block reads another's: a cluster has read its own when it stores them.
bool keeps_operands(const BoundKernel& first, const BoundKernel& second) {
  const PairPart &from = part_of(first), &to = part_of(second);
  const void* results = second.args.outputs[0];
  for (size_t i = 0; i < from.input_bytes.size(); ++i) {
    const void* input = first.args.inputs[i];
    const bool same_pixels = is_plain_product(from.problem) && i == from.operands.x && input == results &&
                             from.input_bytes[i] == to.output_bytes;
    if (!same_pixels && overlap(input, from.input_bytes[i], results, to.output_bytes)) return false;
  }
  return true;
}

// A 1x1 convolution of another's results, and of nothing else: both with plain results.
bool follows(const BoundKernel& first, const BoundKernel& second) {
  const PairPart &from = part_of(first), &to = part_of(second);
  return first.args.outputs.size() == 1 && second.args.outputs.size() == 1 && from.is_plain && to.is_plain &&
         from.type == to.type && is_plain_product(to.problem) && to.problem.addend_channels == 0 &&
         first.args.outputs[0] == second.args.inputs[to.operands.x] && from.output_bytes == to.input_bytes[0] &&
         from.problem.channels == to.problem.in_channels && from.problem.rows() == to.problem.rows() &&
         keeps_operands(first, second);
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

class BottleneckLaunch final : public JoinedKernels {
 public:
  BottleneckLaunch(std::span<const BoundKernel> kernels, const BottleneckVariant& variant, const LaunchShape& shape)
      : kernels_(kernels.begin(), kernels.begin() + 3), variant_(variant), shape_(shape) {}

  Status run(void* queue, size_t count) const override {
    if (count < 3) {
      for (size_t i = 0; i < count; ++i) {
        KernelArgs args = kernels_[i].args;
        args.queue = queue;
        BLADE_RETURN_IF_ERROR(kernels_[i].kernel->run(args));
      }
      return {};
    }
    ConvParams p[3];
    for (size_t i = 0; i < 3; ++i)
      p[i] = part_of(kernels_[i]).operands.bind(part_of(kernels_[i]).params, kernels_[i].args);
    const PairPart& window = part_of(kernels_[0]);
    BottleneckMaps maps;
    BLADE_ASSIGN_OR_RETURN(maps.image, make_patch_map(window.problem, p[0].x, variant_.rows + 2, variant_.pitch));
    ConvProblem results = window.problem;
    results.in_channels = part_of(kernels_[1]).problem.channels;
    BLADE_ASSIGN_OR_RETURN(maps.wide, make_patch_map(results, p[1].y, 1, variant_.columns));
    maps.residual = maps.wide;
    if (p[1].epilogue.residual != nullptr) {
      BLADE_ASSIGN_OR_RETURN(maps.residual,
                             make_patch_map(results, p[1].epilogue.residual, variant_.rows, variant_.pitch));
    }
    void* arguments[] = {&maps, &p[0], &p[1], &p[2]};
    KernelArgs args = kernels_[0].args;
    args.queue = queue;
    return launch(args, variant_.kernels.of(window.type), shape_, arguments);
  }

 private:
  std::vector<BoundKernel> kernels_;
  const BottleneckVariant& variant_;
  LaunchShape shape_;
};

// Blocks of a launch on SMs of their own, beside those of the launch before, which run while they fetch weights: every
// other launch asks for a little more than half of an SM's shared memory, and spare clusters fill what SMs are left.
LaunchShape bottleneck_shape(const BottleneckVariant& variant, bool is_wide) {
  LaunchShape shape;
  shape.threads = variant.threads;
  shape.shared_bytes = is_wide ? kMoreThanHalf : variant.shared_bytes;
  shape.cluster = variant.cluster;
  shape.grid.x = static_cast<unsigned>(variant.cluster);
  return shape;
}

// How many blocks run at once, in whole clusters; none where the card refuses such a launch. Asked once of each kernel
// and shape.
int blocks_at_once(const Device& device, const void* kernel, const LaunchShape& shape) {
  static std::mutex mutex;
  static std::map<std::pair<const void*, int>, int> answers;
  const std::lock_guard lock(mutex);
  const auto [known, is_new] = answers.try_emplace({kernel, shape.shared_bytes}, 0);
  if (!is_new || !prepare_launch(device, kernel, shape).ok()) return known->second;
  if (shape.cluster == 1) return known->second = device.info().multiprocessors;
  const Result<int> clusters = clusters_at_once(kernel, shape);
  if (clusters.ok()) known->second = *clusters * shape.cluster;
  return known->second;
}

// What a launch saves is waiting, which more work than runs at once hides. A card that refuses such a launch runs the
// convolutions one by one.
bool fits(const Device& device, const void* kernel, const LaunchShape& shape) {
  const auto blocks = static_cast<int>(shape.grid.x);
  return blocks <= device.info().multiprocessors && blocks <= blocks_at_once(device, kernel, shape);
}

}  // namespace

int PairedKernel::holds_operands() const {
  if (!part_.is_plain || !is_window(part_.problem) || has_residual(part_)) return 0;
  const auto variants = bottleneck_variants();
  const bool may_join = std::any_of(variants.begin(), variants.end(), [&](const BottleneckVariant& v) {
    return has_tiles(v, part_.problem) && tiles_of(v, part_.problem) * v.cluster <= part_.multiprocessors;
  });
  return may_join ? 2 : 0;
}

Result<PairPart> pair_part(const KernelRequest& request, PackCache& packs) {
  PairPart part;
  part.problem = conv_problem(request);
  part.addend = request.producer != nullptr ? addend_problem(request) : part.problem;
  BLADE_ASSIGN_OR_RETURN(part.operands, conv_operands(request, part.problem, packs));
  part.params = conv_params(part.problem, 1);
  part.type = *element_type(request.outputs[0].dtype);
  part.input_bytes = input_bytes(request);
  part.output_bytes = request.outputs[0].bytes();
  part.multiprocessors = request.device->info().multiprocessors;
  return part;
}

bool can_pair(const BoundKernel& kernel) { return dynamic_cast<const PairedKernel*>(kernel.kernel) != nullptr; }

namespace {

std::unique_ptr<JoinedKernels> bottleneck(const Device& device, std::span<const BoundKernel> kernels) {
  const PairPart &window = part_of(kernels[0]), &wide = part_of(kernels[1]), &narrow = part_of(kernels[2]);
  if (!is_window(window.problem) || has_residual(window) || has_residual(narrow)) return nullptr;
  if (!follows(kernels[0], kernels[1]) || !follows(kernels[1], kernels[2])) return nullptr;
  // The last results come while other clusters' windows reach into the image, and not after all of the first ones.
  const void* results = kernels[2].args.outputs[0];
  if (overlap(kernels[0].args.inputs[window.operands.x], window.input_bytes[window.operands.x], results,
              narrow.output_bytes) ||
      overlap(kernels[0].args.outputs[0], window.output_bytes, results, narrow.output_bytes)) {
    return nullptr;
  }
  for (const BottleneckVariant& variant : bottleneck_variants()) {
    if (!has_tiles(variant, window.problem) || variant.channels * 4 != wide.problem.channels ||
        variant.channels != narrow.problem.channels) {
      continue;
    }
    // Neighbours are three kernels apart.
    LaunchShape shape = bottleneck_shape(variant, kernels.size() % 2 == 0);
    const int held = blocks_at_once(device, variant.kernels.of(window.type), bottleneck_shape(variant, true));
    if (tiles_of(variant, window.problem) * variant.cluster > held) continue;
    shape.grid.x = static_cast<unsigned>(held);
    return std::make_unique<BottleneckLaunch>(kernels, variant, shape);
  }
  return nullptr;
}

std::unique_ptr<JoinedKernels> pair(const Device& device, std::span<const BoundKernel> kernels) {
  const PairPart &from = part_of(kernels[0]), &to = part_of(kernels[1]);
  if (!is_plain_product(from.problem) || from.problem.chunks() > kMostPairChunks || has_residual(to) ||
      !follows(kernels[0], kernels[1])) {
    return nullptr;
  }
  for (const PairVariant& variant : pair_variants()) {
    if (variant.cluster * variant.columns != from.problem.channels || variant.channels != to.problem.channels) continue;
    const LaunchShape shape = pair_shape(variant, from.problem);
    const void* kernel = variant.kernels.of(from.type);
    if (fits(device, kernel, shape)) return std::make_unique<PairLaunch>(kernels[0], kernels[1], kernel, shape);
  }
  return nullptr;
}

}  // namespace

Result<std::unique_ptr<JoinedKernels>> pair_kernels(const Device& device, std::span<const BoundKernel> kernels,
                                                    size_t* taken) {
  *taken = 1;
  size_t count = 1;
  while (count < std::min<size_t>(kernels.size(), 3) && can_pair(kernels[count])) ++count;
  std::unique_ptr<JoinedKernels> joined;
  if (count == 3 && (joined = bottleneck(device, kernels)) != nullptr) *taken = 3;
  if (count >= 2 && joined == nullptr && (joined = pair(device, kernels)) != nullptr) *taken = 2;
  return joined;
}

}  // namespace blade::backends::cuda
