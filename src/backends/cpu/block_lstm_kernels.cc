// LSTM sequences in float32: the inputs of all steps meet their weights in one product, each step adds that of its
// state.
#include <algorithm>
#include <cmath>

#include "backends/cpu/kernel_families.h"
#include "backends/cpu/kernel_support.h"
#include "backends/cpu/matrix/gemm.h"

namespace blade::backends::cpu {
namespace {

struct LstmPlan {
  ir::BlockLstmAttrs attrs;
  int64_t steps = 0, batch = 0, inputs = 0, cells = 0;
  std::string label;
  int64_t state() const { return batch * cells; }
  int64_t gates() const { return 4 * cells; }
};

float sigmoid(float x) { return 1 / (1 + std::exp(-x)); }

// One row of gate sums [4 cells] and the cell state before it to the seven results.
void lstm_row(const LstmPlan& plan, const float* gates, const float* old, const KernelArgs& args, int64_t at) {
  const ir::BlockLstmAttrs& a = plan.attrs;
  const float *wci = input<float>(args, 5), *wcf = input<float>(args, 6), *wco = input<float>(args, 7);
  const float *gi = gates, *gc = gates + (a.ifco ? 2 : 1) * plan.cells, *gf = gates + (a.ifco ? 1 : 2) * plan.cells,
              *go = gates + 3 * plan.cells;
  float* out[7];
  for (size_t r = 0; r < 7; ++r) out[r] = output<float>(args, r) + at;
  for (int64_t k = 0; k < plan.cells; ++k) {
    const float i = sigmoid(gi[k] + (a.peephole ? old[k] * wci[k] : 0.0f));
    const float f = sigmoid(gf[k] + a.forget_bias + (a.peephole ? old[k] * wcf[k] : 0.0f));
    const float ci = std::tanh(gc[k]);
    float cell = ci * i + old[k] * f;
    if (a.cell_clip > 0) cell = std::clamp(cell, -a.cell_clip, a.cell_clip);
    const float o = sigmoid(go[k] + (a.peephole ? cell * wco[k] : 0.0f)), co = std::tanh(cell);
    const float results[7] = {i, cell, f, o, ci, co, o * co};
    for (size_t r = 0; r < 7; ++r) out[r][k] = results[r];
  }
}

class LstmKernel final : public Kernel {
 public:
  LstmKernel(LstmPlan plan, int threads) : plan_(std::move(plan)) {
    const int64_t rows = plan_.steps * plan_.batch;
    packed_x_ = align_up(packed_b_bytes(plan_.inputs, plan_.gates()), kBufferAlignment);
    packed_h_ = align_up(packed_b_bytes(plan_.cells, plan_.gates()), kBufferAlignment);
    sums_ = align_up(static_cast<size_t>(rows * plan_.gates()) * sizeof(float), kBufferAlignment);
    gemm_ = std::max(gemm_scratch_bytes<float>(rows, plan_.inputs, plan_.gates(), threads),
                     gemm_scratch_bytes<float>(plan_.batch, plan_.cells, plan_.gates(), threads));
  }
  size_t scratch_bytes() const override { return packed_x_ + packed_h_ + sums_ + gemm_; }

  Status run(const KernelArgs& args) const override {
    const int64_t last = *input<int64_t>(args, 0), rows = plan_.steps * plan_.batch, gates = plan_.gates();
    if (last > plan_.steps) {
      return invalid_argument(plan_.label + "it runs " + std::to_string(last) + " steps, but its input has " +
                              std::to_string(plan_.steps) + ".");
    }
    const float* w = input<float>(args, 4);
    auto* sums = reinterpret_cast<float*>(args.scratch + packed_x_ + packed_h_);
    std::byte* scratch = args.scratch + packed_x_ + packed_h_ + sums_;
    const PackedB wx = pack_b(w, plan_.inputs, gates, gates, 1, args.scratch);
    const PackedB wh = pack_b(w + plan_.inputs * gates, plan_.cells, gates, gates, 1, args.scratch + packed_x_);
    EpilogueF32 bias;
    bias.bias = input<float>(args, 8);
    gemm(rows, plan_.inputs, input<float>(args, 1), plan_.inputs, wx, sums, gates, bias, *args.pool, scratch);
    for (int64_t t = 0; t < last; ++t) step(args, wh, sums + t * plan_.batch * gates, t, scratch);
    for (size_t r = 0; r < 7; ++r) {
      const int64_t done = std::max<int64_t>(last, 0) * plan_.state();
      std::fill(output<float>(args, r) + done, output<float>(args, r) + rows * plan_.cells, 0.0f);
    }
    return Status::ok_status();
  }

 private:
  void step(const KernelArgs& args, const PackedB& wh, float* sums, int64_t t, std::byte* scratch) const {
    const float* h = t == 0 ? input<float>(args, 3) : output<float>(args, 6) + (t - 1) * plan_.state();
    const float* cs = t == 0 ? input<float>(args, 2) : output<float>(args, 1) + (t - 1) * plan_.state();
    EpilogueF32 add;
    add.residual = sums;
    add.residual_row_stride = plan_.gates();
    gemm(plan_.batch, plan_.cells, h, plan_.cells, wh, sums, plan_.gates(), add, *args.pool, scratch);
    parallel_ranges(args.pool, plan_.batch, static_cast<double>(200 * plan_.cells), [&](int64_t begin, int64_t end) {
      for (int64_t n = begin; n < end; ++n) {
        lstm_row(plan_, sums + n * plan_.gates(), cs + n * plan_.cells, args, (t * plan_.batch + n) * plan_.cells);
      }
    });
  }

  LstmPlan plan_;
  size_t packed_x_ = 0, packed_h_ = 0, sums_ = 0, gemm_ = 0;
};

Support supports_lstm(const KernelRequest& request) {
  if (request.inputs[1].dtype != ir::DType::kFloat32) return Support::no("is not float32");
  if (request.inputs[0].dtype != ir::DType::kInt64) return Support::no("the number of steps is not int64");
  const bool empty = request.outputs[0].element_count() == 0 || request.inputs[1].element_count() == 0;
  return empty ? Support::no("is empty") : Support::yes();
}

Result<std::unique_ptr<Kernel>> create_lstm(const KernelRequest& request, PackCache&) {
  LstmPlan plan;
  plan.attrs = request.node->get<ir::BlockLstmAttrs>();
  plan.steps = request.inputs[1].dims[0];
  plan.batch = request.inputs[1].dims[1];
  plan.inputs = request.inputs[1].dims[2];
  plan.cells = request.inputs[2].dims[1];
  plan.label = node_label(request);
  return std::unique_ptr<Kernel>(std::make_unique<LstmKernel>(std::move(plan), request.num_threads));
}

constexpr KernelEntry kBlockLstmRows[] = {
    {"cpu.block_lstm.steps_f32", ir::Op::kBlockLstm, supports_lstm, nullptr, create_lstm},
};

}  // namespace

std::span<const KernelEntry> block_lstm_rows() { return kBlockLstmRows; }

}  // namespace blade::backends::cpu
