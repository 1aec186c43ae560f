// Overlap of one box with many, as non-maximum suppression asks for it.
#pragma once

#include <cstdint>

namespace blade::backends::cpu {

struct Box {
  float low_y, low_x, high_y, high_x, area;
};

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
};

// True where the intersection over union of `box` with any of the first `count` boxes is above `threshold`; it is 0 for
// boxes without area. The latest boxes are looked at first.
bool overlaps_any(const Box& box, const BoxColumns& boxes, int64_t count, float threshold);

}  // namespace blade::backends::cpu
