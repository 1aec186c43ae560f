// A convolution, the depthwise convolution that alone reads it and, where there is one, the 1x1 convolution behind
// that, strip by strip: what is between them never leaves the caches of a core.
#pragma once

#include <cstddef>
#include <cstdint>

#include "backends/cpu/matrix/conv2d.h"
#include "backends/cpu/matrix/depthwise.h"

namespace blade::backends::cpu {

// T: float or BFloat16, what the input, the results and the weights are stored as. Where `first` is to_half,
// what is between it and the depthwise convolution is float16; if that may overflow, a part of the image goes on in
// bfloat16 from the strip on in which a sum is not finite.
struct BottleneckShape {
  Conv2DShape first;         // conv2d_rows_refusal() must be null
  DepthwiseShape depthwise;  // reads what `first` makes; multiplier 1
  int64_t oc = 0;            // output channels of the 1x1; 0: there is none
  bool may_overflow = false;
};

// Weights of `first` as packed by pack_conv_weights(), of the depthwise convolution as depthwise_conv2d() takes them
// (pack_depthwise_half() for float16, alone or, where that may overflow, beside the others), of the 1x1 as packed by
// pack_runs() as one run (null without one).
struct BottleneckWeights {
  const void* first = nullptr;
  DepthwiseWeights depthwise;
  const void* last = nullptr;
};

template <class T>
struct BottleneckEpilogues {
  const Epilogue<T>&first, &depthwise, &last;
};

// Rows of the depthwise convolution that are made at a time, and into how many parts all of them are cut.
template <class T>
int64_t bottleneck_strip_rows(const BottleneckShape& shape);
// The next strip's where `left` are left of an image: strips are about as high as each other and, where `pairs` of rows
// are made at once, even, unless that leaves a single row.
int64_t next_strip_rows(int64_t left, int64_t strip_rows, bool pairs);
template <class T>
int64_t bottleneck_tasks(const BottleneckShape& shape, int threads);
template <class T>
size_t bottleneck_scratch_bytes(const BottleneckShape& shape, int threads);
// In: as for conv2d().
template <class T, class In>
void bottleneck_conv2d(const BottleneckShape& shape, const In* in, const BottleneckWeights& weights, T* out,
                       const BottleneckEpilogues<T>& epilogues, ThreadPool& pool, std::byte* scratch);

}  // namespace blade::backends::cpu
