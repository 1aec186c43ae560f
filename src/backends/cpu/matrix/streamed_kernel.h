// One thread's part of a convolution whose weights stream past pixels in L1 (conv_streamed.h).
#pragma once

#include <cstddef>
#include <cstdint>

#include "backends/cpu/matrix/epilogue.h"
#include "base/half.h"
#include "base/thread_pool.h"

namespace blade::backends::cpu {

inline constexpr int64_t kStreamedColumns = 16;      // of a panel
inline constexpr int64_t kMostStreamedPlaces = 128;  // of a part

struct StreamedPart {
  const BFloat16* planes = nullptr;  // of a piece of channels, `channels` elements from a place to the next
  int64_t pieces = 0, channels = 0;
  const int64_t* taps = nullptr;  // from a place to what each tap reads, in elements
  int64_t num_taps = 0;
  int64_t units = 0, unit_places = 0;  // tile registers of sums, and what each has of places: all alike, at most 16
  int64_t results = 0;
  const uint8_t* result_places = nullptr;  // ascending
  const std::byte* weights = nullptr;      // of this part's first panel
  int64_t piece_bytes = 0;                 // from a piece to the next
  int64_t pairs = 0;                       // of panels
  float* sums = nullptr;                   // [pairs][units * unit_places][32]
  BFloat16* out = nullptr;                 // of the first pair
  float* wide_out = nullptr;               // instead of `out`
  int64_t out_stride = 0;
  const Epilogue<BFloat16>* epilogue = nullptr;  // of the first pair

  int64_t panel_bytes() const { return num_taps * channels * kStreamedColumns * int64_t{sizeof(BFloat16)}; }
};

// Whether the instruction set that Highway chose has the kernel; AMX itself is not asked for here.
bool has_streamed_kernel();
// `fill` makes the planes of a piece of channels. Needs an AmxScope of 16 pairs and as many rows as
// `unit_places`.
void run_streamed_part(const StreamedPart& part, FunctionRef<void(int64_t piece)> fill);

}  // namespace blade::backends::cpu
