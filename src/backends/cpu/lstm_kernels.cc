// LSTM layers whose inputs have met their weights already: a step is one product of the state with weights that stay in
// cache, and its gates, cut by cells over threads where that pays.
#include <algorithm>
#include <vector>

#include "backends/cpu/kernel_families.h"
#include "backends/cpu/kernel_support.h"
#include "backends/cpu/matrix/gemm.h"
#include "backends/cpu/packed_weights.h"
#include "backends/cpu/recurrent_cells.h"

namespace blade::backends::cpu {
namespace {

constexpr int64_t kGateCount = 4;
constexpr int64_t kCellBlock = 16;  // a part has a multiple of so many cells
// A part has so many bytes of weights at least: to read them from L2 takes as long as to meet another thread.
constexpr int64_t kPartBytes = 80 << 10;

struct LstmLayer {
  int64_t steps = 0, batch = 0, cells = 0;
  int parts = 1;
  int64_t gates() const { return kGateCount * cells; }
  int64_t first(int part) const {
    const int64_t blocks = ceil_div(cells, kCellBlock);
    return std::min(cells, part * blocks / parts * kCellBlock);
  }
  int64_t count(int part) const { return first(part + 1) - first(part); }
  // Weights of the cells of a part, its four gates behind each other.
  PackedB view(int part, const void* data) const { return packed_b_view(cells, kGateCount * count(part), data); }
  size_t packed_bytes(int part) const { return align_up(view(part, nullptr).bytes(), kBufferAlignment); }
  size_t sums_bytes(int part) const {
    return align_up(static_cast<size_t>(batch * kGateCount * count(part)) * sizeof(float), kBufferAlignment);
  }
  size_t scratch_bytes(int part) const {
    return sums_bytes(part) + gemm_scratch_bytes<float>(batch, cells, kGateCount * count(part), 1);
  }
};

LstmLayer lstm_layer(const KernelRequest& request) {
  LstmLayer layer;
  layer.steps = request.inputs[0].dims[0];
  layer.batch = request.inputs[0].dims[1];
  layer.cells = request.inputs[1].dims[0];
  const int64_t bytes = layer.cells * layer.gates() * int64_t{sizeof(float)};
  const int64_t most = std::min<int64_t>(request.num_threads, ceil_div(layer.cells, kCellBlock));
  layer.parts = static_cast<int>(std::clamp<int64_t>(bytes / kPartBytes, 1, std::max<int64_t>(1, most)));
  return layer;
}

void pack_lstm_part(const LstmLayer& layer, int part, const float* from, void* to) {
  const int64_t count = layer.count(part), first = layer.first(part);
  std::vector<float> columns(static_cast<size_t>(layer.cells * kGateCount * count));
  float* at = columns.data();
  for (int64_t row = 0; row < layer.cells * kGateCount; ++row, at += count) {
    std::copy_n(from + row * layer.cells + first, count, at);
  }
  pack_b(columns.data(), layer.cells, kGateCount * count, kGateCount * count, 1, to);
}

class LstmLayerKernel final : public Kernel {
 public:
  LstmLayerKernel(const LstmLayer& layer, std::shared_ptr<const AlignedBuffer> packed)
      : layer_(layer), packed_(std::move(packed)) {
    size_t at = 0;
    for (int p = 0; p < layer_.parts; ++p) {
      Part part;
      part.first = layer_.first(p);
      part.count = layer_.count(p);
      part.weights = layer_.view(p, packed_->data() + at);
      part.scratch = scratch_;
      part.sums = layer_.sums_bytes(p);
      at += layer_.packed_bytes(p);
      scratch_ += layer_.scratch_bytes(p);
      parts_.push_back(part);
    }
  }
  size_t scratch_bytes() const override { return scratch_; }
  bool reads_input(int input) const override { return input != 1; }

  Status run(const KernelArgs& args) const override {
    const int64_t state = layer_.batch * layer_.cells;
    float* cs = output<float>(args, 2);
    std::copy_n(input<float>(args, 3), state, cs);
    const float* h = input<float>(args, 2);
    for (int64_t t = 0; t < layer_.steps; ++t) {
      float* next = output<float>(args) + t * state;
      const float* sums = input<float>(args, 0) + t * layer_.batch * layer_.gates();
      if (layer_.parts == 1) {
        step(args, parts_[0], sums, h, next);
      } else {
        args.pool->parallel_for(layer_.parts, [&](int part, int) { step(args, parts_[part], sums, h, next); });
      }
      h = next;
    }
    std::copy_n(h, state, output<float>(args, 1));
    return Status::ok_status();
  }

 private:
  struct Part {
    int64_t first = 0, count = 0;  // cells
    PackedB weights;
    size_t scratch = 0, sums = 0;  // where its scratch begins, bytes of sums in it
  };

  void step(const KernelArgs& args, const Part& part, const float* from_inputs, const float* h, float* next) const {
    auto* sums = reinterpret_cast<float*>(args.scratch + part.scratch);
    const int64_t width = kGateCount * part.count;
    gemm_on_caller(layer_.batch, layer_.cells, h, layer_.cells, part.weights, sums, width, EpilogueF32(),
                   args.scratch + part.scratch + part.sums);
    for (int64_t n = 0; n < layer_.batch; ++n) {
      const int64_t at = n * layer_.cells + part.first;
      cells_.lstm({from_inputs + n * layer_.gates() + part.first, layer_.cells}, {sums + n * width, part.count},
                  output<float>(args, 2) + at, next + at, part.count);
    }
  }

  LstmLayer layer_;
  std::shared_ptr<const AlignedBuffer> packed_;
  std::vector<Part> parts_;
  size_t scratch_ = 0;
  const RecurrentCells& cells_ = recurrent_cells();
};

Support supports_lstm_layer(const KernelRequest& request) {
  for (const TensorDesc& desc : request.inputs) {
    if (desc.dtype != ir::DType::kFloat32) return Support::no("is not float32");
  }
  if (request.constants.size() < 2 || request.constants[1] == nullptr)
    return Support::no("the weights are not constant");
  return request.outputs[1].element_count() == 0 ? Support::no("is empty") : Support::yes();
}

Result<std::unique_ptr<Kernel>> create_lstm_layer(const KernelRequest& request, PackCache& packs) {
  const LstmLayer layer = lstm_layer(request);
  size_t bytes = 0;
  for (int p = 0; p < layer.parts; ++p) bytes += layer.packed_bytes(p);
  BLADE_ASSIGN_OR_RETURN(auto packed, packed_weights(request, packs, layout_name("lstm", {layer.cells, layer.parts}),
                                                     bytes, [&](const float* from, std::byte* to) {
                                                       for (int p = 0; p < layer.parts; ++p) {
                                                         pack_lstm_part(layer, p, from, to);
                                                         to += layer.packed_bytes(p);
                                                       }
                                                     }));
  return std::unique_ptr<Kernel>(std::make_unique<LstmLayerKernel>(layer, std::move(packed)));
}

constexpr KernelEntry kLstmRows[] = {
    {"cpu.lstm.steps_f32", ir::Op::kLstm, supports_lstm_layer, nullptr, create_lstm_layer},
};

}  // namespace

std::span<const KernelEntry> lstm_rows() { return kLstmRows; }

}  // namespace blade::backends::cpu
