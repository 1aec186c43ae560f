// The activation part of an epilogue on vectors, once for each Highway target.
#if defined(BLADE_MATRIX_EPILOGUE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef BLADE_MATRIX_EPILOGUE_INL_H_
#undef BLADE_MATRIX_EPILOGUE_INL_H_
#else
#define BLADE_MATRIX_EPILOGUE_INL_H_
#endif

#include "backends/cpu/matrix/activation_inl.h"
#include "backends/cpu/matrix/epilogue.h"
#include "backends/cpu/matrix/simd_inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace blade::backends::cpu {
namespace HWY_NAMESPACE {

// NaN stays: x86's instructions give the second operand where one is.
HWY_ATTR HWY_INLINE V clamped(V x, V lo, V hi) {
  const V y = hn::Min(hi, hn::Max(lo, x));
#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX2
  return y;
#else
  return hn::IfThenElse(hn::IsNaN(x), x, y);
#endif
}

struct GateVectors {
  V scale, shift, hi;
  const Gate* gate;
};
HWY_ATTR HWY_INLINE GateVectors gate_vectors(const Gate& gate) {
  const D d;
  return {hn::Set(d, gate.scale), hn::Set(d, gate.shift), hn::Set(d, gate.hi), &gate};
}
template <class Fn>
HWY_ATTR HWY_INLINE void map_block(Fn fn, float* x, int64_t count) {
  const D d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  for (int64_t i = 0; i < count; i += lanes) hn::Store(fn(hn::Load(d, x + i)), d, x + i);
}
#define BLADE_MAP(name) map_block([](V v) HWY_ATTR { return name(v); }, x, count)
// For many vectors at once: the code and its constants stay out of the kernels.
[[maybe_unused]] HWY_ATTR HWY_NOINLINE static void curve_block(const Gate& gate, float* x, int64_t count) {
#if HWY_TARGET == HWY_AVX3
  if (gate.coarse) {
    if (gate.curve == Curve::kSwish) return BLADE_MAP(coarse_swish_of);
    if (gate.curve == Curve::kGeluErf) return BLADE_MAP(coarse_gelu_erf_of);
    if (gate.curve == Curve::kGeluTanh) return BLADE_MAP(coarse_gelu_tanh_of);
    if (gate.curve == Curve::kSigmoid) return BLADE_MAP(coarse_sigmoid_of);
  }
#endif
  if (gate.curve == Curve::kSwish) BLADE_MAP(swish_of);
  if (gate.curve == Curve::kGeluErf) BLADE_MAP(gelu_erf_of);
  if (gate.curve == Curve::kGeluTanh) BLADE_MAP(gelu_tanh_of);
  if (gate.curve == Curve::kSigmoid) BLADE_MAP(sigmoid_of);
  if (gate.curve == Curve::kTanh) BLADE_MAP(tanh_of);
  if (gate.curve != Curve::kHardSigmoid) return;
  const V scale = constant(gate.scale), shift = constant(gate.shift), zero = constant(0), one = constant(1);
  map_block([=](V v) HWY_ATTR { return clamped(hn::MulAdd(v, scale, shift), zero, one); }, x, count);
}
#undef BLADE_MAP

HWY_ATTR HWY_INLINE V gated(const GateVectors& gate, V x) {
  if (gate.gate->curve != Curve::kNone) {
    HWY_ALIGN float lanes[HWY_MAX_BYTES / sizeof(float)];
    hn::Store(x, D(), lanes);
    curve_block(*gate.gate, lanes, static_cast<int64_t>(hn::Lanes(D())));
    return hn::Load(D(), lanes);
  }
  return hn::Mul(x, hn::Min(hn::Max(hn::MulAdd(x, gate.scale, gate.shift), hn::Zero(D())), gate.hi));
}

// The operands of an epilogue for channels c, c + 1, ... of kernels whose arguments A hold them; `left` channels.
template <class A>
struct EpilogueVectors {
  const A& a;
  V lo, hi, slope, scale, shift;
  GateVectors gate;

  HWY_ATTR HWY_INLINE EpilogueVectors(const A& args, int64_t c, int64_t left) : a(args) {
    const D d;
    lo = hn::Set(d, a.lo);
    hi = hn::Set(d, a.hi);
    slope = a.slope != nullptr ? load_some(d, a.slope + c, left) : hn::Zero(d);
    scale = a.scale != nullptr ? load_some(d, a.scale + c, left) : hn::Zero(d);
    shift = a.scale != nullptr ? load_some(d, a.shift + c, left) : hn::Zero(d);
    gate = gate_vectors(a.gate);
  }
  // finish_element() of epilogue.h; `residual`: zeros where there is none.
  HWY_ATTR HWY_INLINE V finish(V x, V residual) const {
    if (!a.residual_last) x = hn::Add(x, residual);
    if (a.slope != nullptr) x = hn::IfThenElse(hn::Gt(x, hn::Zero(D())), x, hn::Mul(x, slope));
    x = clamped(x, lo, hi);
    if (a.gate.used()) x = gated(gate, x);
    if (a.scale != nullptr) x = hn::MulAdd(x, scale, shift);
    return a.residual_last ? hn::Add(x, residual) : x;
  }
};

}  // namespace HWY_NAMESPACE
}  // namespace blade::backends::cpu
HWY_AFTER_NAMESPACE();

#endif  // include guard per target
