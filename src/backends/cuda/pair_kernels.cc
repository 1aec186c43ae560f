// Convolutions as one launch, by clusters; see conv_pair.cu and conv_bottleneck.cu.
#include "backends/cuda/pair_kernels.h"

#include <algorithm>
#include <functional>
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

// A convolution with its operands, as a launch takes it.
struct Part {
  ConvProblem problem, addend;
  ConvParams params;
  const void* addend_x = nullptr;
  ElementType type = ElementType::kFloat16;
  bool is_plain = false;
  size_t image_bytes = 0, result_bytes = 0;
  std::vector<std::pair<const void*, size_t>> inputs;  // that the kernel reads

  bool has_residual() const { return params.epilogue.residual != nullptr; }
  bool has_addend() const { return problem.addend_channels > 0; }
};

Part part_of(const BoundKernel& bound) {
  const PairPart& from = dynamic_cast<const PairedKernel&>(*bound.kernel).part();
  Part part;
  part.problem = from.problem;
  part.addend = from.addend;
  part.params = from.operands.bind(from.params, bound.args);
  part.addend_x = bound.args.inputs[0];
  part.type = from.type;
  part.is_plain = from.is_plain && bound.args.outputs.size() == 1;
  part.image_bytes = from.input_bytes[from.operands.x];
  part.result_bytes = from.output_bytes;
  for (size_t i = 0; i < from.input_bytes.size(); ++i)
    part.inputs.emplace_back(bound.args.inputs[i], from.input_bytes[i]);
  return part;
}

Result<PixelMaps> pixel_maps(const Part& part, int rows) {
  return make_pixel_maps(part.problem, part.addend, part.params.x, part.addend_x, rows);
}

bool overlap(const void* a, size_t a_bytes, const void* b, size_t b_bytes) {
  const auto* first = static_cast<const std::byte*>(a);
  const auto* second = static_cast<const std::byte*>(b);
  return first < second + b_bytes && second < first + a_bytes;
}

// Whether results would come where a convolution reads.
bool overwrites(const Part& by, const Part& read) {
  return std::any_of(read.inputs.begin(), read.inputs.end(), [&](const auto& input) {
    return overlap(input.first, input.second, by.params.y, by.result_bytes);
  });
}

// The second one's results come while other blocks still read the first one's operands. They may take the place of its
// image, if pixels are as long and no block reads another's: a cluster has read its own when it stores them.
bool keeps_operands(const Part& first, const Part& second) {
  return std::none_of(first.inputs.begin(), first.inputs.end(), [&](const auto& input) {
    const bool same_pixels = is_plain_product(first.problem) && input.first == first.params.x &&
                             input.first == second.params.y && input.second == second.result_bytes;
    return !same_pixels && overlap(input.first, input.second, second.params.y, second.result_bytes);
  });
}

// A 1x1 convolution of another's results, and of nothing else: both with plain results.
bool follows(const Part& first, const Part& second) {
  return first.is_plain && second.is_plain && first.type == second.type && is_plain_product(second.problem) &&
         !second.has_addend() && first.params.y == second.params.x && first.result_bytes == second.image_bytes &&
         first.problem.channels == second.problem.in_channels && first.problem.rows() == second.problem.rows() &&
         keeps_operands(first, second);
}

// All of them in one launch, or the first few by themselves.
class JoinedLaunch final : public JoinedKernels {
 public:
  using Launch = std::function<Status(const KernelArgs& queue)>;

  JoinedLaunch(std::span<const BoundKernel> kernels, Launch launch)
      : kernels_(kernels.begin(), kernels.end()), launch_(std::move(launch)) {}

  Status run(void* queue, size_t count) const override {
    if (count == kernels_.size()) {
      KernelArgs on;
      on.queue = queue;
      return launch_(on);
    }
    for (size_t i = 0; i < count; ++i) {
      KernelArgs args = kernels_[i].args;
      args.queue = queue;
      BLADE_RETURN_IF_ERROR(kernels_[i].kernel->run(args));
    }
    return {};
  }

 private:
  std::vector<BoundKernel> kernels_;
  Launch launch_;
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

Result<BottleneckMaps> bottleneck_maps(const BottleneckVariant& variant, const Part& window, const Part& wide) {
  BottleneckMaps maps;
  BLADE_ASSIGN_OR_RETURN(maps.image, make_patch_map(window.problem, window.params.x, variant.rows + 2, variant.pitch));
  ConvProblem results = window.problem;
  results.in_channels = wide.problem.channels;
  BLADE_ASSIGN_OR_RETURN(maps.wide, make_patch_map(results, wide.params.y, 1, variant.columns));
  maps.residual = maps.wide;
  if (wide.has_residual()) {
    BLADE_ASSIGN_OR_RETURN(maps.residual,
                           make_patch_map(results, wide.params.epilogue.residual, variant.rows, variant.pitch));
  }
  return maps;
}

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
  if (!part_.is_plain) return 0;
  const ConvProblem& problem = part_.problem;
  const int64_t most = part_.multiprocessors;
  if (is_window(problem)) {
    const auto variants = bottleneck_variants();
    const bool may_join = std::any_of(variants.begin(), variants.end(), [&](const BottleneckVariant& v) {
      return has_tiles(v, problem) && tiles_of(v, problem) * v.cluster <= most;
    });
    return may_join ? 2 : 0;
  }
  const auto pairs = pair_variants();
  const int64_t tiles = ceil_div(problem.rows(), int64_t{kPairRows});
  const bool may_pair = std::any_of(pairs.begin(), pairs.end(), [&](const PairVariant& v) {
    return v.cluster * v.columns == problem.channels && tiles * v.cluster <= most;
  });
  return may_pair && is_plain_product(problem) ? 1 : 0;
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

using Launch = JoinedLaunch::Launch;

// The launch of a 3x3 convolution, the wide one behind it and, where there is one, the narrow one behind that. Every
// other one is_apart from its neighbours.
Launch bottleneck(const Device& device, const Part& window, const Part& wide, const Part* narrow, bool is_apart) {
  if (!is_window(window.problem) || window.has_residual() || wide.has_addend() || !follows(window, wide)) return {};
  if (narrow != nullptr && (narrow->has_residual() || !follows(wide, *narrow))) return {};
  // The last results come while other clusters' windows reach into the image, and not after all of the first ones.
  if (narrow != nullptr && (overwrites(*narrow, window) ||
                            overlap(window.params.y, window.result_bytes, narrow->params.y, narrow->result_bytes))) {
    return {};
  }
  for (const BottleneckVariant& variant : bottleneck_variants()) {
    if (!has_tiles(variant, window.problem) || variant.channels * 4 != wide.problem.channels ||
        variant.narrows != (narrow != nullptr) || (narrow != nullptr && variant.channels != narrow->problem.channels)) {
      continue;
    }
    const void* kernel = variant.kernels.of(window.type);
    LaunchShape shape = bottleneck_shape(variant, is_apart);
    const int held = blocks_at_once(device, kernel, bottleneck_shape(variant, true));
    if (tiles_of(variant, window.problem) * variant.cluster > held) continue;
    shape.grid.x = static_cast<unsigned>(held);
    return [=, last = narrow != nullptr ? narrow->params : ConvParams(), &variant](const KernelArgs& queue) -> Status {
      BottleneckMaps maps;
      BLADE_ASSIGN_OR_RETURN(maps, bottleneck_maps(variant, window, wide));
      ConvParams first = window.params, second = wide.params, third = last;
      void* arguments[] = {&maps, &first, &second, &third};
      return launch(queue, kernel, shape, arguments);
    };
  }
  return {};
}

// That of two 1x1 convolutions.
Launch pair(const Device& device, const Part& from, const Part& to) {
  if (!is_plain_product(from.problem) || from.problem.chunks() > kMostPairChunks || to.has_residual() ||
      !follows(from, to)) {
    return {};
  }
  for (const PairVariant& variant : pair_variants()) {
    if (variant.cluster * variant.columns != from.problem.channels || variant.channels != to.problem.channels) continue;
    const LaunchShape shape = pair_shape(variant, from.problem);
    const void* kernel = variant.kernels.of(from.type);
    if (!fits(device, kernel, shape)) continue;
    return [=](const KernelArgs& queue) -> Status {
      PixelMaps maps;
      BLADE_ASSIGN_OR_RETURN(maps, pixel_maps(from, kPairRows));
      ConvParams first = from.params, second = to.params;
      void* arguments[] = {&maps, &first, &second};
      return launch(queue, kernel, shape, arguments);
    };
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<JoinedKernels>> pair_kernels(const Device& device, std::span<const BoundKernel> kernels,
                                                    size_t* taken) {
  *taken = 1;
  std::vector<Part> parts;
  while (parts.size() < std::min<size_t>(kernels.size(), 3) && can_pair(kernels[parts.size()]))
    parts.push_back(part_of(kernels[parts.size()]));
  const bool is_apart = kernels.size() % 2 == 0;  // neighbours are three kernels apart
  Launch launch;
  if (parts.size() > 2 && (launch = bottleneck(device, parts[0], parts[1], &parts[2], is_apart))) {
    *taken = 3;
  } else if (parts.size() > 1 && ((launch = bottleneck(device, parts[0], parts[1], nullptr, is_apart)) ||
                                  (launch = pair(device, parts[0], parts[1])))) {
    *taken = 2;
  }
  std::unique_ptr<JoinedKernels> joined;
  if (launch) joined = std::make_unique<JoinedLaunch>(kernels.first(*taken), std::move(launch));
  return joined;
}

}  // namespace blade::backends::cuda
