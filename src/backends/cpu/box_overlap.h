// Overlap of one box with many, as non-maximum suppression asks for it.
#pragma once

#include <algorithm>
#include <cstdint>

namespace blade::backends::cpu {

struct Box {
  float low_y, low_x, high_y, high_x, area;
};

// From [y1, x1, y2, x2], corners in any order.
inline Box make_box(const float* corners) {
  Box box = {std::min(corners[0], corners[2]), std::min(corners[1], corners[3]), std::max(corners[0], corners[2]),
             std::max(corners[1], corners[3]), 0};
  box.area = (box.high_y - box.low_y) * (box.high_x - box.low_x);
  return box;
}

// Boxes by coordinate, so that a vector holds the same coordinate of neighbouring boxes.
struct BoxColumns {
  float *low_y, *low_x, *high_y, *high_x, *area;
  static constexpr int64_t kColumns = 5;

  // `memory`: kColumns * capacity floats.
  static BoxColumns at(float* memory, int64_t capacity) {
    return {memory, memory + capacity, memory + 2 * capacity, memory + 3 * capacity, memory + 4 * capacity};
  }
  void set(int64_t i, const Box& box) const {
    low_y[i] = box.low_y;
    low_x[i] = box.low_x;
    high_y[i] = box.high_y;
    high_x[i] = box.high_x;
    area[i] = box.area;
  }
  Box get(int64_t i) const { return {low_y[i], low_x[i], high_y[i], high_x[i], area[i]}; }
};

// Intersection over union; 0 where a box has no area.
float overlap_of(const Box& a, const Box& b);

// True where the intersection over union of `box` with any of the first `count` boxes is above `threshold`; it is 0 for
// boxes without area. The latest boxes are looked at first.
bool overlaps_any(const Box& box, const BoxColumns& boxes, int64_t count, float threshold);

}  // namespace blade::backends::cpu
