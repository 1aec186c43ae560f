// One axis of a transposed convolution: the outputs whose coordinates agree modulo the stride see the same taps.
#pragma once

#include <cstdint>

#include "base/checked_math.h"

namespace blade::backends::cpu {

// One axis of a phase: outputs first, first + stride, ... see taps tap, tap + stride, ...
struct PhaseAxis {
  int64_t first, outputs, tap, taps;
  int64_t pad;  // of the equivalent convolution

  PhaseAxis(int64_t phase, int64_t kernel, int64_t out, int64_t stride, int64_t padding)
      : first(phase),
        outputs(out > phase ? ceil_div(out - phase, stride) : 0),
        tap((((phase + padding) % stride) + stride) % stride),
        taps(kernel > tap ? ceil_div(kernel - tap, stride) : 0),
        pad(taps - 1 - (phase + padding - tap) / stride) {}
};

}  // namespace blade::backends::cpu
