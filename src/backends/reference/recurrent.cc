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

Status run_lstm(const Call& call) {
  const Array<double> sums = read<double>(call, 0), w = read<double>(call, 1);
  Array<double> h = read<double>(call, 2), cs = read<double>(call, 3);
  Array<double> all = make_array<double>(call.out_dims());
  const int64_t steps = sums.dims[0], batch = sums.dims[1], cells = cs.dims[1];
  for (int64_t t = 0; t < steps; ++t) {
    const Array<double> before = h;
    for (int64_t n = 0; n < batch; ++n) {
      for (int64_t k = 0; k < cells; ++k) {
        const auto gate = [&](int64_t g) {
          double sum = sums[((t * batch + n) * 4 + g) * cells + k];
          for (int64_t i = 0; i < cells; ++i) sum += before[n * cells + i] * w[(i * 4 + g) * cells + k];
          return sum;
        };
        double& cell = cs[n * cells + k];
        cell = gate_sigmoid(gate(1)) * cell + gate_sigmoid(gate(0)) * std::tanh(gate(2));
        h[n * cells + k] = gate_sigmoid(gate(3)) * std::tanh(cell);
        all[(t * batch + n) * cells + k] = h[n * cells + k];
      }
    }
  }
  write(call, 0, all);
  write(call, 1, h);
  write(call, 2, cs);
  return Status::ok_status();
}

}  // namespace blade::backends::reference
