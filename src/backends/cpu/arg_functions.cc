// The functions for each instruction set: the best number first, then the first element that equals it.
#include "backends/cpu/arg_functions.h"

#include <algorithm>
#include <limits>

#include "backends/cpu/matrix/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backends/cpu/arg_functions.cc"
#include "hwy/foreach_target.h"
// After foreach_target, which decides what highway.h compiles for.
#include "backends/cpu/matrix/simd_inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace blade::backends::cpu {
namespace HWY_NAMESPACE {
namespace {

constexpr int64_t kArgVectors = 4;  // a row that is held in registers has at most so many

HWY_ATTR int64_t arg_lanes() { return static_cast<int64_t>(hn::Lanes(D())); }

struct Largest {
  static constexpr float kWorst = std::numeric_limits<float>::lowest();
  static HWY_ATTR HWY_INLINE auto wins(V x, V over) { return hn::Gt(x, over); }
  static HWY_ATTR HWY_INLINE V of_lanes(V v) { return hn::Set(D(), hn::GetLane(hn::MaxOfLanes(D(), v))); }
};
struct Smallest {
  static constexpr float kWorst = std::numeric_limits<float>::max();
  static HWY_ATTR HWY_INLINE auto wins(V x, V over) { return hn::Lt(x, over); }
  static HWY_ATTR HWY_INLINE V of_lanes(V v) { return hn::Set(D(), hn::GetLane(hn::MinOfLanes(D(), v))); }
};

template <class Order>
HWY_ATTR HWY_INLINE V worst() {
  return hn::Set(D(), Order::kWorst);
}
// NaN never wins.
template <class Order>
HWY_ATTR HWY_INLINE V better(V best, V x) {
  return hn::IfThenElse(Order::wins(x, best), x, best);
}
// What elements must equal to be the answer: nothing does where none won.
template <class Order>
HWY_ATTR HWY_INLINE V wanted(V best) {
  const D d;
  return hn::IfThenElse(Order::wins(best, worst<Order>()), best, hn::Set(d, std::numeric_limits<float>::quiet_NaN()));
}

// In all lanes. Four accumulators hide the latency.
template <class Order>
HWY_ATTR V best_of(const float* x, int64_t n) {
  const D d;
  const int64_t step = arg_lanes();
  V best[4];
#pragma GCC unroll 4
  for (V& part : best) part = worst<Order>();
  int64_t i = 0;
  for (; i + 4 * step <= n; i += 4 * step) {
#pragma GCC unroll 4
    for (int v = 0; v < 4; ++v) best[v] = better<Order>(best[v], hn::LoadU(d, x + i + v * step));
  }
  for (; i + step <= n; i += step) best[0] = better<Order>(best[0], hn::LoadU(d, x + i));
  if (i < n) {
    const auto there = hn::FirstN(d, static_cast<size_t>(n - i));
    best[1] = better<Order>(best[1], hn::IfThenElse(there, load_some(d, x + i, n - i), worst<Order>()));
  }
  const V first = better<Order>(best[0], best[1]), last = better<Order>(best[2], best[3]);
  return wanted<Order>(Order::of_lanes(better<Order>(first, last)));
}

// The first element of a row that equals `value`, the same in all lanes; 0 where none does.
HWY_ATTR int64_t first_equal(const float* x, V value, int64_t n) {
  const D d;
  for (int64_t i = 0; i < n; i += arg_lanes()) {
    auto found = hn::Eq(load_some(d, x + i, n - i), value);
    if (n - i < arg_lanes()) found = hn::And(found, hn::FirstN(d, static_cast<size_t>(n - i)));
    if (!hn::AllFalse(d, found)) return i + hn::FindFirstTrue(d, found);
  }
  return 0;
}

// Rows that fit into kVectors registers, without branches.
template <class Order, int kVectors>
HWY_ATTR void arg_in_registers(const float* x, int64_t rows, int64_t length, int32_t* out) {
  const D d;
  const int64_t last = (kVectors - 1) * arg_lanes(), tail = length - last;
  const auto of_tail = hn::FirstN(d, static_cast<size_t>(tail));
  for (int64_t r = 0; r < rows; ++r, x += length) {
    V v[kVectors];
#pragma GCC unroll 4
    for (int i = 0; i < kVectors - 1; ++i) v[i] = hn::LoadU(d, x + i * arg_lanes());
    v[kVectors - 1] = hn::IfThenElse(of_tail, load_some(d, x + last, tail), worst<Order>());
    V best = worst<Order>();
#pragma GCC unroll 4
    for (int i = 0; i < kVectors; ++i) best = better<Order>(best, v[i]);
    best = wanted<Order>(Order::of_lanes(best));
    intptr_t at = hn::FindFirstTrue(d, hn::And(hn::Eq(v[kVectors - 1], best), of_tail));
    at = at < 0 ? 0 : at + last;
#pragma GCC unroll 4
    for (int i = kVectors - 2; i >= 0; --i) {
      const intptr_t first = hn::FindFirstTrue(d, hn::Eq(v[i], best));
      at = first < 0 ? at : first + i * arg_lanes();
    }
    out[r] = static_cast<int32_t>(at);
  }
}

// Rows of 2 to 4 elements, one a lane; returns how many there were of whole vectors.
template <class Order>
HWY_ATTR int64_t arg_of_woven_rows(const float* x, int64_t rows, int64_t length, int32_t* out) {
  const D d;
  const hn::RebindToSigned<D> di;
  int64_t r = 0;
  for (; r + arg_lanes() <= rows; r += arg_lanes(), x += arg_lanes() * length) {
    V v[4];
    if (length == 2) hn::LoadInterleaved2(d, x, v[0], v[1]);
    if (length == 3) hn::LoadInterleaved3(d, x, v[0], v[1], v[2]);
    if (length == 4) hn::LoadInterleaved4(d, x, v[0], v[1], v[2], v[3]);
    V best = worst<Order>();
    for (int64_t k = 0; k < length; ++k) best = better<Order>(best, v[k]);
    best = wanted<Order>(best);
    auto at = hn::Zero(di);
    for (int64_t k = length; k-- > 0;) {
      const auto equal = hn::RebindMask(di, hn::Eq(v[k], best));
      at = hn::IfThenElse(equal, hn::Set(di, static_cast<int32_t>(k)), at);
    }
    hn::StoreU(at, di, out + r);
  }
  return r;
}

template <class Order>
HWY_ATTR void arg_of_rows(const float* x, int64_t rows, int64_t length, int32_t* out) {
  using Arg = void (*)(const float*, int64_t, int64_t, int32_t*);
  static constexpr Arg kByVectors[kArgVectors] = {arg_in_registers<Order, 1>, arg_in_registers<Order, 2>,
                                                  arg_in_registers<Order, 3>, arg_in_registers<Order, 4>};
  const int64_t woven = length >= 2 && length <= 4 ? arg_of_woven_rows<Order>(x, rows, length, out) : 0;
  x += woven * length, rows -= woven, out += woven;
  if (length <= kArgVectors * arg_lanes()) return kByVectors[(length - 1) / arg_lanes()](x, rows, length, out);
  for (int64_t r = 0; r < rows; ++r, x += length) {
    out[r] = static_cast<int32_t>(first_equal(x, best_of<Order>(x, length), length));
  }
}

template <class Order>
HWY_ATTR void arg_of_columns(const float* x, int64_t pitch, int64_t length, int32_t* out, int64_t columns) {
  const D d;
  const hn::RebindToSigned<D> di;
  for (int64_t c = 0; c < columns; c += arg_lanes()) {
    const int64_t count = std::min(arg_lanes(), columns - c);
    V best = worst<Order>();
    for (int64_t k = 0; k < length; ++k) best = better<Order>(best, load_some(d, x + k * pitch + c, count));
    best = wanted<Order>(best);
    auto at = hn::Zero(di);
    for (int64_t k = length; k-- > 0;) {
      const auto equal = hn::RebindMask(di, hn::Eq(load_some(d, x + k * pitch + c, count), best));
      at = hn::IfThenElse(equal, hn::Set(di, static_cast<int32_t>(k)), at);
    }
    HWY_ALIGN int32_t lane[HWY_MAX_BYTES / sizeof(int32_t)];
    hn::Store(at, di, lane);
    std::copy_n(lane, count, out + c);
  }
}

HWY_ATTR void arg_rows(const float* x, int64_t rows, int64_t length, bool largest, int32_t* out) {
  largest ? arg_of_rows<Largest>(x, rows, length, out) : arg_of_rows<Smallest>(x, rows, length, out);
}
HWY_ATTR void arg_columns(const float* x, int64_t pitch, int64_t length, bool largest, int32_t* out, int64_t columns) {
  largest ? arg_of_columns<Largest>(x, pitch, length, out, columns)
          : arg_of_columns<Smallest>(x, pitch, length, out, columns);
}

}  // namespace

const ArgFunctions& arg_functions_of_target() {
  static constexpr ArgFunctions kFunctions = {arg_rows, arg_columns};
  return kFunctions;
}

}  // namespace HWY_NAMESPACE
}  // namespace blade::backends::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace blade::backends::cpu {
namespace {
HWY_EXPORT(arg_functions_of_target);
}  // namespace

const ArgFunctions& arg_functions() { return HWY_DYNAMIC_DISPATCH(arg_functions_of_target)(); }

}  // namespace blade::backends::cpu
#endif  // HWY_ONCE
