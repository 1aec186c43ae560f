// Places in a ring of stages that copies fill and products empty.
#pragma once

#include <cstdint>

namespace blade::backends::cuda {

// A slot of the ring and the parity of its barriers.
struct RingPlace {
  int slot = 0;
  uint32_t parity = 0;
  __device__ __forceinline__ void next(int stages) {
    if (++slot == stages) {
      slot = 0;
      parity ^= 1;
    }
  }
  // `turns` whole turns and `rest` places on.
  __device__ __forceinline__ void skip(int stages, int turns, int rest) {
    slot += rest;
    parity ^= turns & 1;
    if (slot >= stages) {
      slot -= stages;
      parity ^= 1;
    }
  }
};

}  // namespace blade::backends::cuda
