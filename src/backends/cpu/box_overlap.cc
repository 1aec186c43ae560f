// Compiled without contraction to FMA: the ratio is compared with a threshold and must be TensorFlow's to the last bit.
#include "backends/cpu/box_overlap.h"

#include <algorithm>

#include "backends/cpu/matrix/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backends/cpu/box_overlap.cc"
#include "hwy/foreach_target.h"
// After foreach_target, which decides what highway.h compiles for.
#include "backends/cpu/matrix/simd_inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace blade::backends::cpu {
namespace HWY_NAMESPACE {

HWY_ATTR bool overlaps_any_for_target(const Box& box, const BoxColumns& boxes, int64_t count, float threshold) {
  const D d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  const V zero = hn::Zero(d), limit = hn::Set(d, threshold), area = hn::Set(d, box.area);
  const V low_y = hn::Set(d, box.low_y), low_x = hn::Set(d, box.low_x);
  const V high_y = hn::Set(d, box.high_y), high_x = hn::Set(d, box.high_x);
  const auto has_area = hn::Gt(area, zero);
  for (int64_t last = count; last > 0; last -= lanes) {
    const int64_t first = std::max<int64_t>(0, last - lanes), some = last - first;
    const auto column = [&](const float* from) HWY_ATTR { return load_some(d, from + first, some); };
    const V other = column(boxes.area);
    const V height = hn::Max(zero, hn::Sub(hn::Min(high_y, column(boxes.high_y)), hn::Max(low_y, column(boxes.low_y))));
    const V width = hn::Max(zero, hn::Sub(hn::Min(high_x, column(boxes.high_x)), hn::Max(low_x, column(boxes.low_x))));
    const V both = hn::Mul(height, width);
    const V ratio = hn::Div(both, hn::Sub(hn::Add(area, other), both));
    const V iou = hn::IfThenElseZero(hn::And(has_area, hn::Gt(other, zero)), ratio);
    const auto above = hn::And(hn::Gt(iou, limit), hn::FirstN(d, static_cast<size_t>(some)));
    if (!hn::AllFalse(d, above)) return true;
  }
  return false;
}

}  // namespace HWY_NAMESPACE
}  // namespace blade::backends::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace blade::backends::cpu {
namespace {
HWY_EXPORT(overlaps_any_for_target);
}  // namespace

float overlap_of(const Box& a, const Box& b) {
  if (!(a.area > 0 && b.area > 0)) return 0;
  const float height = std::max(0.0f, std::min(a.high_y, b.high_y) - std::max(a.low_y, b.low_y));
  const float width = std::max(0.0f, std::min(a.high_x, b.high_x) - std::max(a.low_x, b.low_x));
  const float both = height * width;
  return both / (a.area + b.area - both);
}

bool overlaps_any(const Box& box, const BoxColumns& boxes, int64_t count, float threshold) {
  return HWY_DYNAMIC_DISPATCH(overlaps_any_for_target)(box, boxes, count, threshold);
}

}  // namespace blade::backends::cpu
#endif  // HWY_ONCE
