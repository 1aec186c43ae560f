// A sequence of LSTM steps, as TensorFlow's BlockLSTM defines it.
#include <algorithm>

#include "backends/reference/common.h"

namespace blade::backends::reference {
namespace {

double gate_sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

}  // namespace

Status run_block_lstm(const Call& call) {
  const auto& attrs = call.node.get<ir::BlockLstmAttrs>();
  const Array<double> x = read<double>(call, 1), w = read<double>(call, 4), wci = read<double>(call, 5),
                      wcf = read<double>(call, 6), wco = read<double>(call, 7), bias = read<double>(call, 8);
  Array<double> cs = read<double>(call, 2), h = read<double>(call, 3);
  const int64_t steps = x.dims[0], batch = x.dims[1], inputs = x.dims[2], cells = cs.dims[1];
  const int64_t last = read_ints(call, 0)[0];
  if (last > steps) {
    return invalid_argument(call.where() + "it runs " + std::to_string(last) + " steps, but its input has " +
                            std::to_string(steps) + ".");
  }
  std::vector<Array<double>> out(7, make_array<double>(call.out_dims()));
  const int64_t gate_f = attrs.ifco ? 1 : 2, gate_c = attrs.ifco ? 2 : 1;
  for (int64_t t = 0; t < last; ++t) {
    const Array<double> before = h;
    for (int64_t n = 0; n < batch; ++n) {
      for (int64_t k = 0; k < cells; ++k) {
        const auto gate = [&](int64_t g) {
          double sum = bias[g * cells + k];
          for (int64_t i = 0; i < inputs; ++i) sum += x[(t * batch + n) * inputs + i] * w[(i * 4 + g) * cells + k];
          for (int64_t i = 0; i < cells; ++i) sum += before[n * cells + i] * w[((inputs + i) * 4 + g) * cells + k];
          return sum;
        };
        const double old = cs[n * cells + k];
        const double i = gate_sigmoid(gate(0) + (attrs.peephole ? old * wci[k] : 0));
        const double f =
            gate_sigmoid(gate(gate_f) + static_cast<double>(attrs.forget_bias) + (attrs.peephole ? old * wcf[k] : 0));
        const double ci = std::tanh(gate(gate_c));
        double cell = ci * i + old * f;
        const double clip = attrs.cell_clip;
        if (clip > 0) cell = std::clamp(cell, -clip, clip);
        const double o = gate_sigmoid(gate(3) + (attrs.peephole ? cell * wco[k] : 0));
        const double co = std::tanh(cell);
        const double results[7] = {i, cell, f, o, ci, co, o * co};
        for (int r = 0; r < 7; ++r) out[static_cast<size_t>(r)][(t * batch + n) * cells + k] = results[r];
        cs[n * cells + k] = cell;
        h[n * cells + k] = o * co;
      }
    }
  }
  for (int r = 0; r < 7; ++r) write(call, r, out[static_cast<size_t>(r)]);
  return Status::ok_status();
}

namespace {

// One step of a recurrent layer for one sample.
struct ReferenceCell {
  const ir::RecurrenceAttrs& attrs;
  const Array<double>&x, &wx, &bias, &wh;
  int64_t inputs = x.dims[2], cells = wh.dims[0], gates = attrs.gates();

  double from_x(int64_t row, int64_t gate, int64_t k) const {
    double sum = bias[gate * cells + k];
    for (int64_t i = 0; i < inputs; ++i) sum += x[row * inputs + i] * wx[(i * gates + gate) * cells + k];
    return sum;
  }
  double from_h(const double* h, int64_t gate, int64_t k) const {
    double sum = 0;
    for (int64_t i = 0; i < cells; ++i) sum += h[i] * wh[(i * gates + gate) * cells + k];
    return sum;
  }
  double sum(int64_t row, const double* h, int64_t gate, int64_t k) const {
    return from_x(row, gate, k) + from_h(h, gate, k);
  }

  double activated(double gate) const {
    if (attrs.hard_slope == 0) return gate_sigmoid(gate);
    return std::clamp(static_cast<double>(attrs.hard_slope) * gate + 0.5, 0.0, 1.0);
  }

  // Row `row` of x changes h, and the cell of an LSTM.
  void step(int64_t row, double* h, double* c) const {
    const std::vector<double> before(h, h + cells);
    std::vector<double> reset = before;
    for (int64_t k = 0; k < cells && attrs.cell == ir::RecurrentCell::kGruResetFirst; ++k) {
      reset[static_cast<size_t>(k)] *= activated(sum(row, before.data(), 1, k));
    }
    for (int64_t k = 0; k < cells; ++k) {
      const auto gate = [&](int64_t g) { return activated(sum(row, before.data(), g, k)); };
      switch (attrs.cell) {
        case ir::RecurrentCell::kPlain:
          h[k] = std::tanh(sum(row, before.data(), 0, k));
          break;
        case ir::RecurrentCell::kLstm:
          c[k] = gate(1) * c[k] + gate(0) * std::tanh(sum(row, before.data(), 2, k));
          h[k] = gate(3) * std::tanh(c[k]);
          break;
        case ir::RecurrentCell::kGru: {
          const double scaled = gate(1) * (from_h(before.data(), 2, k) + bias[3 * cells + k]);
          h[k] = gate(0) * h[k] + (1 - gate(0)) * std::tanh(from_x(row, 2, k) + scaled);
          break;
        }
        case ir::RecurrentCell::kGruResetFirst:
          h[k] = gate(0) * h[k] + (1 - gate(0)) * std::tanh(sum(row, reset.data(), 2, k));
          break;
      }
    }
  }
};

}  // namespace

Status run_recurrence(const Call& call) {
  const auto& attrs = call.node.get<ir::RecurrenceAttrs>();
  const Array<double> x = read<double>(call, 0), wx = read<double>(call, 1), bias = read<double>(call, 2),
                      wh = read<double>(call, 3);
  Array<double> h = read<double>(call, 4), c = attrs.states() == 2 ? read<double>(call, 5) : h;
  const std::vector<int64_t> mask =
      attrs.masked ? read_ints(call, 4 + static_cast<size_t>(attrs.states())) : std::vector<int64_t>();
  const ReferenceCell cell{attrs, x, wx, bias, wh};
  Array<double> all = make_array<double>(call.out_dims());
  for (int64_t row = 0; row < x.dims[0] * x.dims[1]; ++row) {
    double* of_sample = &h[row % x.dims[1] * cell.cells];
    if (!attrs.masked || mask[static_cast<size_t>(row)] != 0)
      cell.step(row, of_sample, &c[row % x.dims[1] * cell.cells]);
    std::copy_n(of_sample, cell.cells, &all[row * cell.cells]);
  }
  write(call, 0, all);
  write(call, 1, h);
  if (attrs.states() == 2) write(call, 2, c);
  return Status::ok_status();
}

}  // namespace blade::backends::reference
