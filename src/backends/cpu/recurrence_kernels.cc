// Recurrent layers over whole sequences: the inputs of a piece of the steps meet their weights in one product, then a
// step is one product of the state with weights that stay in cache, and its gates, cut by cells over threads where
// that pays.
#include <algorithm>
#include <vector>

#include "backends/cpu/kernel_families.h"
#include "backends/cpu/kernel_support.h"
#include "backends/cpu/matrix/gemm.h"
#include "backends/cpu/packed_weights.h"
#include "backends/cpu/recurrent_cells.h"

namespace blade::backends::cpu {
namespace {

using ir::RecurrentCell;

constexpr int64_t kCellBlock = 16;  // a part has a multiple of so many cells
// A part has so many bytes of weights at least: to read them from L2 takes as long as to meet a thread nearby.
constexpr int64_t kPartBytes = 40 << 10;
constexpr double kWeightBytesPerNs = 50;
// The gates' sums of the inputs of so many bytes, but of 16 rows at least, are made at a time: they stay in L2, and
// sequences of any length take the same memory.
constexpr int64_t kPieceBytes = 512 << 10;

enum Operand : size_t { kX, kInputWeights, kBias, kStateWeights, kH, kC };

struct RecurrentLayer {
  ir::RecurrenceAttrs attrs;
  int64_t steps = 0, batch = 0, inputs = 0, cells = 0;
  int64_t piece = 1;  // steps
  int parts = 1, threads = 1;

  int64_t gates() const { return attrs.gates() * cells; }
  bool resets_first() const { return attrs.cell == RecurrentCell::kGruResetFirst; }
  // Products of the state in a step: of its first gates, then of those that need them.
  int products() const { return resets_first() ? 2 : 1; }
  int first_gate(int product) const { return product == 0 ? 0 : 2; }
  int gate_count(int product) const { return !resets_first() ? attrs.gates() : product == 0 ? 2 : 1; }
  size_t mask_operand() const { return kH + static_cast<size_t>(attrs.states()); }

  int64_t first(int part) const {
    const int64_t blocks = ceil_div(cells, kCellBlock);
    return std::min(cells, part * blocks / parts * kCellBlock);
  }
  int64_t count(int part) const { return first(part + 1) - first(part); }
  // Weights of the cells of a part, its gates behind each other.
  PackedB view(int part, int product, const void* data) const {
    return packed_b_view(cells, gate_count(product) * count(part), data);
  }
  size_t packed_bytes(int part, int product) const {
    return align_up(view(part, product, nullptr).bytes(), kBufferAlignment);
  }
  size_t packed_bytes() const {
    size_t bytes = 0;
    for (int part = 0; part < parts; ++part) {
      for (int product = 0; product < products(); ++product) bytes += packed_bytes(part, product);
    }
    return bytes;
  }
  size_t sums_bytes(int64_t rows, int64_t columns) const {
    return align_up(static_cast<size_t>(rows * columns) * sizeof(float), kBufferAlignment);
  }
};

RecurrentLayer recurrent_layer(const KernelRequest& request) {
  RecurrentLayer layer;
  layer.attrs = request.node->get<ir::RecurrenceAttrs>();
  layer.steps = request.inputs[kX].dims[0];
  layer.batch = request.inputs[kX].dims[1];
  layer.inputs = request.inputs[kX].dims[2];
  layer.cells = request.inputs[kStateWeights].dims[0];
  layer.threads = request.num_threads;
  const int64_t row_bytes = layer.gates() * int64_t{sizeof(float)};
  const int64_t most = std::min<int64_t>(request.num_threads, ceil_div(layer.cells, kCellBlock));
  layer.parts =
      static_cast<int>(std::clamp<int64_t>(layer.cells * row_bytes / kPartBytes, 1, std::max<int64_t>(1, most)));
  const int64_t rows = std::max<int64_t>(16, kPieceBytes / row_bytes);
  layer.piece = std::clamp<int64_t>(rows / layer.batch, 1, std::max<int64_t>(1, layer.steps));
  return layer;
}

void pack_recurrent_part(const RecurrentLayer& layer, int part, int product, const float* from, void* to) {
  const int64_t count = layer.count(part), gates = layer.gate_count(product);
  std::vector<float> columns(static_cast<size_t>(layer.cells * gates * count));
  float* at = columns.data();
  for (int64_t row = 0; row < layer.cells; ++row) {
    for (int64_t gate = layer.first_gate(product); gate < layer.first_gate(product) + gates; ++gate, at += count) {
      std::copy_n(from + row * layer.gates() + gate * layer.cells + layer.first(part), count, at);
    }
  }
  pack_b(columns.data(), layer.cells, gates * count, gates * count, 1, to);
}

class RecurrenceKernel final : public Kernel {
 public:
  RecurrenceKernel(const RecurrentLayer& layer, std::shared_ptr<const AlignedBuffer> input_weights,
                   std::shared_ptr<const AlignedBuffer> state_weights)
      : layer_(layer), input_weights_(std::move(input_weights)), state_weights_(std::move(state_weights)) {
    const int64_t rows = layer_.piece * layer_.batch;
    gemm_ = layer_.sums_bytes(rows, layer_.gates());
    scaled_ = gemm_ + gemm_scratch_bytes<float>(rows, layer_.inputs, layer_.gates(), layer_.threads);
    scratch_ = scaled_ + (layer_.resets_first() ? layer_.sums_bytes(layer_.batch, layer_.cells) : 0);
    const std::byte* packed = state_weights_->data();
    for (int p = 0; p < layer_.parts; ++p) {
      Part part{layer_.first(p), layer_.count(p), {}, scratch_, 0};
      scratch_ += layer_.sums_bytes(layer_.batch, layer_.attrs.gates() * part.count);
      part.gemm = scratch_;
      size_t gemm = 0;
      for (int product = 0; product < layer_.products(); ++product) {
        part.weights[product] = layer_.view(p, product, packed);
        packed += layer_.packed_bytes(p, product);
        gemm = std::max(gemm, gemm_scratch_bytes<float>(layer_.batch, layer_.cells, part.weights[product].n, 1));
      }
      scratch_ += gemm;
      parts_.push_back(part);
    }
  }
  size_t scratch_bytes() const override { return scratch_; }
  bool reads_input(int input) const override { return input != kInputWeights && input != kStateWeights; }

  Status run(const KernelArgs& args) const override {
    const int64_t state = layer_.batch * layer_.cells;
    if (layer_.attrs.states() == 2) std::copy_n(input<float>(args, kC), state, output<float>(args, 2));
    const float* h = input<float>(args, kH);
    for (int64_t first = 0; first < layer_.steps; first += layer_.piece) {
      const int64_t last = std::min(layer_.steps, first + layer_.piece);
      sum_inputs(args, first, last);
      for (int64_t t = first; t < last; ++t) {
        float* next = output<float>(args) + t * state;
        run_step(args, {sums(args) + (t - first) * layer_.batch * layer_.gates(), mask(args, t), h, next});
        h = next;
      }
    }
    std::copy_n(h, state, output<float>(args, 1));
    return Status::ok_status();
  }

 private:
  struct Part {
    int64_t first = 0, count = 0;  // cells
    PackedB weights[2];
    size_t sums = 0, gemm = 0;  // where its scratch begins
  };
  struct Step {
    const float* from_inputs;  // [batch, gates]
    const bool* mask;          // [batch], or null
    const float* h;
    float* next;
  };

  float* sums(const KernelArgs& args) const { return reinterpret_cast<float*>(args.scratch); }
  float* scaled(const KernelArgs& args) const { return reinterpret_cast<float*>(args.scratch + scaled_); }
  const bool* mask(const KernelArgs& args, int64_t t) const {
    return layer_.attrs.masked ? input<bool>(args, layer_.mask_operand()) + t * layer_.batch : nullptr;
  }

  void sum_inputs(const KernelArgs& args, int64_t first, int64_t last) const {
    EpilogueF32 bias;
    bias.bias = input<float>(args, kBias);
    const PackedB weights = packed_b_view(layer_.inputs, layer_.gates(), input_weights_->data());
    gemm((last - first) * layer_.batch, layer_.inputs, input<float>(args, kX) + first * layer_.batch * layer_.inputs,
         layer_.inputs, weights, sums(args), layer_.gates(), bias, *args.pool, args.scratch + gemm_);
  }

  void run_step(const KernelArgs& args, const Step& step) const {
    if (step.mask != nullptr && std::none_of(step.mask, step.mask + layer_.batch, [](bool counts) { return counts; })) {
      std::copy_n(step.h, layer_.batch * layer_.cells, step.next);
      return;
    }
    for (int product = 0; product < layer_.products(); ++product) {
      const bool last = product + 1 == layer_.products();
      const auto run_part = [&](int part, int) {
        multiply(args, parts_[part], product, step);
        finish(args, parts_[part], last, step);
      };
      if (layer_.parts == 1) {
        run_part(0, 0);
      } else {
        args.pool->parallel_for(layer_.parts, step_ns(product), run_part);
      }
    }
  }

  double step_ns(int product) const {
    const auto weights = static_cast<double>(layer_.cells * layer_.gate_count(product) * layer_.cells);
    return weights * sizeof(float) / kWeightBytesPerNs;
  }

  void multiply(const KernelArgs& args, const Part& part, int product, const Step& step) const {
    const int64_t width = layer_.attrs.gates() * part.count;
    float* to = reinterpret_cast<float*>(args.scratch + part.sums) + layer_.first_gate(product) * part.count;
    gemm_on_caller(layer_.batch, layer_.cells, product == 0 ? step.h : scaled(args), layer_.cells,
                   part.weights[product], to, width, EpilogueF32(), args.scratch + part.gemm);
  }

  // What follows a product; `last`: the states' new values.
  void finish(const KernelArgs& args, const Part& part, bool last, const Step& step) const {
    const auto* from_state = reinterpret_cast<const float*>(args.scratch + part.sums);
    for (int64_t n = 0; n < layer_.batch; ++n) {
      const int64_t at = n * layer_.cells + part.first;
      const Gates inputs{step.from_inputs + n * layer_.gates() + part.first, layer_.cells, layer_.attrs.hard_slope};
      const Gates state{from_state + n * layer_.attrs.gates() * part.count, part.count, 0};
      if (!last) {
        cells_.reset(inputs, state, step.h + at, scaled(args) + at, part.count);
      } else if (step.mask != nullptr && !step.mask[n]) {
        std::copy_n(step.h + at, part.count, step.next + at);
      } else {
        finish_cells(args, part, inputs, state, at, step);
      }
    }
  }

  void finish_cells(const KernelArgs& args, const Part& part, const Gates& inputs, const Gates& state, int64_t at,
                    const Step& step) const {
    const float* h = step.h + at;
    float* next = step.next + at;
    switch (layer_.attrs.cell) {
      case RecurrentCell::kPlain:
        return cells_.plain(inputs, state, next, part.count);
      case RecurrentCell::kLstm:
        return cells_.lstm(inputs, state, output<float>(args, 2) + at, next, part.count);
      case RecurrentCell::kGru:
        return cells_.gru(inputs, state, input<float>(args, kBias) + layer_.gates() + part.first, h, next, part.count);
      case RecurrentCell::kGruResetFirst:
        return cells_.gru_after_reset(inputs, state, h, next, part.count);
    }
  }

  RecurrentLayer layer_;
  std::shared_ptr<const AlignedBuffer> input_weights_, state_weights_;
  std::vector<Part> parts_;
  // Scratch: sums of a piece, then from here: for their product, h scaled by r, what the parts have.
  size_t gemm_ = 0, scaled_ = 0, scratch_ = 0;
  const RecurrentCells& cells_ = recurrent_cells();
};

Support supports_recurrence(const KernelRequest& request) {
  if (request.outputs[0].dtype != ir::DType::kFloat32) return Support::no("is not float32");
  for (size_t i : {kInputWeights, kStateWeights}) {
    if (request.constants.size() <= i || request.constants[i] == nullptr) {
      return Support::no("the weights are not constant");
    }
  }
  const bool empty = request.outputs[1].element_count() == 0 || request.inputs[kInputWeights].element_count() == 0;
  return empty ? Support::no("is empty") : Support::yes();
}

Result<std::unique_ptr<Kernel>> create_recurrence(const KernelRequest& request, PackCache& packs) {
  const RecurrentLayer layer = recurrent_layer(request);
  const PackedB input_view = packed_b_view(layer.inputs, layer.gates(), nullptr);
  BLADE_ASSIGN_OR_RETURN(auto input_weights,
                         packed_weights(request, packs, layout_name("recurrent_inputs", {layer.inputs, layer.gates()}),
                                        input_view.bytes(), [&](const float* from, std::byte* to) {
                                          pack_runs(from, 1, layer.inputs, layer.gates(), layer.gates(), 1, to);
                                        }));
  const std::string layout =
      layout_name("recurrent_state", {layer.cells, layer.parts, layer.attrs.gates(), layer.products()});
  const auto pack_parts = [&](const float* from, std::byte* to) {
    for (int part = 0; part < layer.parts; ++part) {
      for (int product = 0; product < layer.products(); ++product) {
        pack_recurrent_part(layer, part, product, from, to);
        to += layer.packed_bytes(part, product);
      }
    }
  };
  BLADE_ASSIGN_OR_RETURN(auto state_weights,
                         packed_weights(request, packs, layout, layer.packed_bytes(), pack_parts, kStateWeights));
  return std::unique_ptr<Kernel>(
      std::make_unique<RecurrenceKernel>(layer, std::move(input_weights), std::move(state_weights)));
}

constexpr KernelEntry kRecurrenceRows[] = {
    {"cpu.recurrence.steps_f32", ir::Op::kRecurrence, supports_recurrence, nullptr, create_recurrence},
};

}  // namespace

std::span<const KernelEntry> recurrence_rows() { return kRecurrenceRows; }

}  // namespace blade::backends::cpu
