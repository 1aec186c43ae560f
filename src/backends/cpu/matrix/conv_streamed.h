// Convolutions of few pixels on the tile registers of AMX, whose weights are most of the work: each core reads its own
// once, in the order in which they lie, while pixels wait in L1, a piece of the channels at a time.
#pragma once

#include <cstddef>
#include <cstdint>

#include "backends/cpu/matrix/conv2d.h"

namespace blade::backends::cpu {

// How a shape is cut, for a number of threads.
struct StreamedConv {
  Conv2DShape shape;
  int64_t channels = 0;     // of a piece, whose pixels stay in L1
  int64_t panel_parts = 0;  // of the output channels

  StreamedConv(const Conv2DShape& shape, int threads);
  int64_t tasks() const { return shape.n * panel_parts; }
  // By how much all of them are faster than one thread: parts are whole pairs of panels of one image.
  double busy_threads() const;
};

// nullptr, or why the shape is left to others.
const char* streamed_conv_refusal(const Conv2DShape& shape, int threads);
size_t packed_streamed_bytes(const Conv2DShape& shape);
// From HWIO to [pieces of channels][panels of 16 output channels][taps][pairs of channels][16][2].
void pack_streamed_weights(const StreamedConv& conv, const BFloat16* weights, void* to);
size_t streamed_conv_scratch_bytes(const StreamedConv& conv, int threads);
// The epilogue has bias, residual (of all channels) and clamp alone. Out: BFloat16 or float.
template <class Out>
void streamed_conv(const StreamedConv& conv, const BFloat16* in, const void* packed, Out* out,
                   const Epilogue<BFloat16>& epilogue, ThreadPool& pool, std::byte* scratch);

}  // namespace blade::backends::cpu
