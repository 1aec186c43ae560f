// The four stages of ResNet-50 in float16 as recordings of their layers alone: every CUDA row of every layer that
// predicts its time and needs no scratch memory (so none of NVIDIA's libraries) is tried between the others', twice by
// turns, and the best of each layer are printed. Tells what a row is worth where layers overlap, in seconds. Layers are
// joined where the device joins them, as in a run of the engine; the first answer is of each by itself.
//
//   gpu_stages [images]
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "backends/cuda/loader.h"
#include "backends/kernel.h"
#include "base/half.h"
#include "base/median.h"

namespace {

using namespace blade;
using backends::TensorDesc;
using ir::PointwiseOp;

struct Layer {
  ir::Graph graph;
  backends::KernelRequest request;
  std::vector<backends::DeviceBuffer> constants;
  std::vector<const void*> in;
  std::vector<void*> out;
  int type = 0;
};

ir::TensorPtr random_tensor(const TensorDesc& desc, double scale, int seed) {
  auto made = ir::allocate_tensor(desc.dtype, desc.dims);
  if (!made.ok()) std::abort();
  std::mt19937 generator(static_cast<unsigned>(seed));
  std::uniform_real_distribution<float> uniform(static_cast<float>(-scale), static_cast<float>(scale));
  for (int64_t i = 0; i < desc.element_count(); ++i) {
    const float value = uniform(generator);
    const uint16_t half = float_to_float16(value);
    if (desc.dtype == ir::DType::kFloat16) {
      std::memcpy(made->data + 2 * i, &half, 2);
    } else {
      std::memcpy(made->data + 4 * i, &value, 4);
    }
  }
  return made->tensor;
}

void check(const Status& status) {
  if (status.ok()) return;
  std::printf("%s\n", status.message().c_str());
  std::exit(1);
}

class Stage {
 public:
  Stage(backends::Device& device, int64_t images, int64_t size, int64_t channels, int blocks) : device_(device) {
    const TensorDesc wide{ir::DType::kFloat16, {images, size, size, 4 * channels}};
    const TensorDesc narrow{ir::DType::kFloat16, {images, size, size, channels}};
    for (int i = 0; i < 5; ++i) buffers_.push_back(std::move(*device.allocate((i < 2 ? wide : narrow).bytes())));
    input_ = random_tensor(wide, 1, 1);
    for (int b = 0; b < blocks; ++b) {
      const int between = 2 + b % 2;
      add(0, wide, narrow, 1, b % 2, between, -1);
      add(1, narrow, narrow, 3, between, 4, -1);
      add(2, narrow, wide, 1, 4, 1 - b % 2, b % 2);
    }
    queue_ = std::move(*device.create_queue());
  }

  // Every row that is tried for the layers of a type.
  std::vector<std::string> rows(int type) {
    std::vector<std::pair<double, std::string>> named;
    for (const backends::KernelEntry& row : device_.kernels()) {
      Layer& layer = *layers_[static_cast<size_t>(type)];
      if (row.op != ir::Op::kConv || !row.supports(layer.request).ok || row.predicted_us == nullptr) continue;
      const auto kernel = make(layer, row.name);
      if (kernel == nullptr || kernel->scratch_bytes() > 0) continue;
      named.emplace_back(row.predicted_us(layer.request), row.name);
    }
    std::sort(named.begin(), named.end());
    std::vector<std::string> names;
    for (const auto& [us, name] : named) names.push_back(name);
    return names;
  }

  // Microseconds of all layers with a row for each type, and what they compute.
  double us(const std::string (&names)[3], int repetitions, std::vector<float>* answer = nullptr, bool joins = true) {
    const auto kernels = kernels_of(names);
    if (kernels.empty()) return kNever;
    const auto recording = record(kernels, joins);
    check(queue_->copy_to_device(buffers_[0].data(), input_->data, input_->bytes));
    check(queue_->wait());
    std::vector<double> times;
    for (int i = 0; i < repetitions; ++i) {
      check(queue_->mark(0));
      check(queue_->play(*recording));
      check(queue_->mark(1));
      check(queue_->wait());
      if (i == 0 && answer != nullptr) read(*answer);
      times.push_back(*queue_->microseconds_between(0, 1));
    }
    return median(times);
  }
  size_t layers() const { return layers_.size(); }

 private:
  static constexpr double kNever = 1e9;

  std::vector<const backends::Kernel*> kernels_of(const std::string (&names)[3]) {
    std::vector<const backends::Kernel*> kernels;
    for (auto& layer : layers_) {
      auto& kernel = made_[layer.get()][names[layer->type]];
      if (kernel == nullptr) kernel = make(*layer, names[layer->type]);
      if (kernel == nullptr) return {};
      kernels.push_back(kernel.get());
    }
    return kernels;
  }

  // What one launch starts: some kernels together, or one.
  struct Launch {
    size_t first = 0, count = 1;
    std::unique_ptr<backends::JoinedKernels> joined;
  };

  std::vector<Launch> launches_of(const std::vector<backends::BoundKernel>& bound, bool joins) {
    std::vector<Launch> launches;
    for (size_t first = 0; first < bound.size(); first += launches.back().count) {
      Launch& launch = launches.emplace_back();
      launch.first = first;
      size_t last = first;
      while (joins && last < bound.size() && bound[last].kernel->is_small()) ++last;
      if (last < first + 2) continue;
      auto joined = device_.join(device_, std::span(bound).subspan(first, last - first), &launch.count);
      check(joined.status());
      launch.joined = std::move(*joined);
    }
    return launches;
  }

  std::unique_ptr<backends::DeviceRecording> record(const std::vector<const backends::Kernel*>& kernels, bool joins) {
    std::vector<backends::BoundKernel> bound;
    for (size_t i = 0; i < layers_.size(); ++i) {
      backends::BoundKernel& one = bound.emplace_back();
      one.kernel = kernels[i];
      one.args.inputs = layers_[i]->in;
      one.args.outputs = layers_[i]->out;
      one.args.queue = queue_->handle();
    }
    launches_ = launches_of(bound, joins);
    check(queue_->begin_recording());
    for (const Launch& launch : launches_) {
      check(launch.joined != nullptr ? launch.joined->run(queue_->handle(), launch.count)
                                     : bound[launch.first].kernel->run(bound[launch.first].args));
    }
    auto recording = queue_->end_recording();
    check(recording.status());
    return std::move(*recording);
  }

  void read(std::vector<float>& answer) {
    const backends::DeviceBuffer& last = buffers_[layers_.size() / 3 % 2];
    std::vector<uint16_t> halves(last.size() / 2);
    check(queue_->copy_to_host(reinterpret_cast<std::byte*>(halves.data()), last.data(), last.size()));
    check(queue_->wait());
    answer.clear();
    for (uint16_t half : halves) answer.push_back(float16_to_float(half));
  }

  std::unique_ptr<backends::Kernel> make(Layer& layer, const std::string& name) {
    for (const backends::KernelEntry& row : device_.kernels()) {
      if (row.op != ir::Op::kConv || name != row.name) continue;
      auto kernel = row.create(layer.request, packs_);
      if (kernel.ok()) return std::move(*kernel);
      std::printf("%s: %s\n", row.name, kernel.status().message().c_str());
    }
    return nullptr;
  }

  void add(int type, const TensorDesc& from, const TensorDesc& to, int64_t kernel, int in, int out, int residual) {
    layers_.push_back(std::make_unique<Layer>());
    Layer& layer = *layers_.back();
    layer.type = type;
    const int64_t depth = from.dims.back();
    const TensorDesc weights{ir::DType::kFloat16, {kernel, kernel, depth, to.dims.back()}};
    const TensorDesc bias{ir::DType::kFloat32, {to.dims.back()}};
    const double scale = (residual < 0 ? 2.4 : 0.8) / std::sqrt(static_cast<double>(kernel * kernel * depth));
    layer.request.inputs = {from, weights, bias};
    const int number = static_cast<int>(layers_.size());
    layer.request.constants = {nullptr, random_tensor(weights, scale, number), random_tensor(bias, 0.1, -number)};
    ir::ConvAttrs attrs;
    attrs.strides = attrs.dilations = {1, 1};
    attrs.padding = ir::Padding::kSame;
    attrs.epilogue.num_inputs = residual < 0 ? 2 : 3;
    attrs.epilogue.code = {{PointwiseOp::kAdd, 0, 1, -1, 0, 0}};
    if (residual >= 0) {
      layer.request.inputs.push_back(to);
      layer.request.constants.push_back(nullptr);
      attrs.epilogue.code.push_back({PointwiseOp::kAdd, 3, 2, -1, 0, 0});
      attrs.epilogue.code.push_back({PointwiseOp::kRelu, 4, -1, -1, 0, 0});
    } else {
      attrs.epilogue.code.push_back({PointwiseOp::kRelu, 2, -1, -1, 0, 0});
    }
    std::vector<ir::ValueId> values;
    for (size_t i = 0; i < layer.request.inputs.size(); ++i) {
      const ir::TensorPtr& constant = layer.request.constants[i];
      values.push_back(layer.graph.add_constant(constant != nullptr ? constant : input_));
    }
    layer.request.node = &layer.graph.add_node(ir::Op::kConv, "conv", values, 1, attrs);
    layer.request.outputs = {to};
    layer.request.machine = &backends::Machine::host();
    layer.request.device = &device_;
    layer.in = {buffers_[static_cast<size_t>(in)].data(), nullptr, nullptr};
    if (residual >= 0) layer.in.push_back(buffers_[static_cast<size_t>(residual)].data());
    layer.out = {buffers_[static_cast<size_t>(out)].data()};
  }

  backends::Device& device_;
  std::vector<backends::DeviceBuffer> buffers_;
  ir::TensorPtr input_;
  std::vector<std::unique_ptr<Layer>> layers_;
  std::map<const Layer*, std::map<std::string, std::unique_ptr<backends::Kernel>>> made_;
  backends::PackCache packs_;
  std::unique_ptr<backends::DeviceQueue> queue_;
  std::vector<Launch> launches_;  // of the last recording
};

void measure(backends::Device& device, int64_t images, int64_t size, int64_t channels, int blocks) {
  Stage stage(device, images, size, channels, blocks);
  std::vector<std::string> rows[3];
  std::string names[3];
  for (int type = 0; type < 3; ++type) {
    rows[type] = stage.rows(type);
    names[type] = rows[type].front();
  }
  std::vector<float> want, got;
  double best = stage.us(names, 31, &want, false);
  std::printf("stage %lldx%lld x %lld: %zu layers, %.1f us at first, not joined\n", static_cast<long long>(size),
              static_cast<long long>(size), static_cast<long long>(channels), stage.layers(), best);
  std::map<std::string, double> seen[3];
  for (int round = 0; round < 2; ++round) {
    for (int type = 0; type < 3; ++type) {
      seen[type].clear();
      for (const std::string& name : rows[type]) {
        std::string trial[3] = {names[0], names[1], names[2]};
        trial[type] = name;
        const double one = stage.us(trial, 15, &got);
        seen[type][name] = one;
        double error = 0, norm = 0;
        for (size_t i = 0; i < want.size(); ++i) {
          error += (want[i] - got[i]) * (want[i] - got[i]);
          norm += want[i] * want[i];
        }
        if (!(error <= 1e-4 * norm)) std::printf("  %s differs: %.3g of %.3g\n", name.c_str(), error, norm);
      }
      const auto fastest = std::min_element(seen[type].begin(), seen[type].end(),
                                            [](const auto& a, const auto& b) { return a.second < b.second; });
      names[type] = fastest->first;
    }
  }
  best = stage.us(names, 101);
  std::printf("  best %.1f us (%.2f a layer)\n", best, best / static_cast<double>(stage.layers()));
  for (int type = 0; type < 3; ++type) {
    std::vector<std::pair<double, std::string>> order;
    for (const auto& [name, us] : seen[type]) order.emplace_back(us, name);
    std::sort(order.begin(), order.end());
    std::printf("  %s:", type == 0 ? "1x1 in" : type == 1 ? "3x3" : "1x1 out");
    order.resize(std::min<size_t>(order.size(), 6));
    for (const auto& [us, name] : order) std::printf(" %s %.1f;", name.c_str() + std::strlen("cuda.conv."), us);
    std::printf("\n");
  }
  std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
  const auto& card = backends::cuda_device();
  if (!card.ok()) {
    std::printf("%s\n", card.status().message().c_str());
    return 1;
  }
  const int64_t images = argc > 1 ? std::atoll(argv[1]) : 1;
  measure(**card, images, 56, 64, 3);
  measure(**card, images, 28, 128, 4);
  measure(**card, images, 14, 256, 6);
  measure(**card, images, 7, 512, 3);
  return 0;
}
