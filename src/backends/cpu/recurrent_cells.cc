// Cells of recurrent layers for each instruction set.
#include "backends/cpu/recurrent_cells.h"

#include "backends/cpu/matrix/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backends/cpu/recurrent_cells.cc"
#include "hwy/foreach_target.h"
// After foreach_target, which decides what highway.h compiles for.
#include "backends/cpu/matrix/simd_inl.h"
#include "backends/cpu/pointwise_math_inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace blade::backends::cpu {
namespace HWY_NAMESPACE {
namespace {

HWY_ATTR HWY_INLINE V gate_sum(const Gates& a, const Gates& b, int gate, int64_t at, int64_t count) {
  return hn::Add(load_some(D(), a.gate(gate) + at, count), load_some(D(), b.gate(gate) + at, count));
}

// A sigmoid, or what stands for one.
HWY_ATTR HWY_INLINE V gate_of(const Gates& a, const Gates& b, int gate, int64_t at, int64_t count) {
  const D d;
  const V sum = gate_sum(a, b, gate, at, count);
  if (a.hard_slope == 0) return sigmoid_of(sum);
  const V line = hn::MulAdd(sum, hn::Set(d, a.hard_slope), hn::Set(d, 0.5F));
  return hn::Min(hn::Max(line, hn::Zero(d)), hn::Set(d, 1.0F));
}

HWY_ATTR void plain_cells(const Gates& from_inputs, const Gates& from_state, float* h, int64_t n) {
  const D d;
  for (int64_t k = 0; k < n; k += static_cast<int64_t>(hn::Lanes(d))) {
    store_some(tanh_of(gate_sum(from_inputs, from_state, 0, k, n - k)), d, h + k, n - k);
  }
}

HWY_ATTR void lstm_cells(const Gates& from_inputs, const Gates& from_state, float* cs, float* h, int64_t n) {
  const D d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  for (int64_t k = 0; k < n; k += lanes) {
    const int64_t count = n - k;
    const V i = gate_of(from_inputs, from_state, 0, k, count);
    const V f = gate_of(from_inputs, from_state, 1, k, count);
    const V c = tanh_of(gate_sum(from_inputs, from_state, 2, k, count));
    const V o = gate_of(from_inputs, from_state, 3, k, count);
    const V cell = hn::MulAdd(i, c, hn::Mul(f, load_some(d, cs + k, count)));
    store_some(cell, d, cs + k, count);
    store_some(hn::Mul(o, tanh_of(cell)), d, h + k, count);
  }
}

// z * h + (1 - z) * g
HWY_ATTR HWY_INLINE void store_mixed(V z, V g, const float* h, float* next, int64_t count) {
  const D d;
  store_some(hn::MulAdd(z, hn::Sub(load_some(d, h, count), g), g), d, next, count);
}

HWY_ATTR void gru_cells(const Gates& from_inputs, const Gates& from_state, const float* bias, const float* h,
                        float* next, int64_t n) {
  const D d;
  for (int64_t k = 0; k < n; k += static_cast<int64_t>(hn::Lanes(d))) {
    const int64_t count = n - k;
    const V z = gate_of(from_inputs, from_state, 0, k, count);
    const V r = gate_of(from_inputs, from_state, 1, k, count);
    const V state = hn::Add(load_some(d, from_state.gate(2) + k, count), load_some(d, bias + k, count));
    const V g = tanh_of(hn::MulAdd(r, state, load_some(d, from_inputs.gate(2) + k, count)));
    store_mixed(z, g, h + k, next + k, count);
  }
}

HWY_ATTR void reset_cells(const Gates& from_inputs, const Gates& from_state, const float* h, float* scaled, int64_t n) {
  const D d;
  for (int64_t k = 0; k < n; k += static_cast<int64_t>(hn::Lanes(d))) {
    const V r = gate_of(from_inputs, from_state, 1, k, n - k);
    store_some(hn::Mul(r, load_some(d, h + k, n - k)), d, scaled + k, n - k);
  }
}

HWY_ATTR void gru_after_reset_cells(const Gates& from_inputs, const Gates& from_state, const float* h, float* next,
                                    int64_t n) {
  const D d;
  for (int64_t k = 0; k < n; k += static_cast<int64_t>(hn::Lanes(d))) {
    const V z = gate_of(from_inputs, from_state, 0, k, n - k);
    const V g = tanh_of(gate_sum(from_inputs, from_state, 2, k, n - k));
    store_mixed(z, g, h + k, next + k, n - k);
  }
}

}  // namespace

const RecurrentCells& get_recurrent_cells() {
  static const RecurrentCells cells = {plain_cells, lstm_cells, gru_cells, reset_cells, gru_after_reset_cells};
  return cells;
}

}  // namespace HWY_NAMESPACE
}  // namespace blade::backends::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace blade::backends::cpu {
HWY_EXPORT(get_recurrent_cells);
const RecurrentCells& recurrent_cells() { return HWY_DYNAMIC_DISPATCH(get_recurrent_cells)(); }
}  // namespace blade::backends::cpu
#endif
