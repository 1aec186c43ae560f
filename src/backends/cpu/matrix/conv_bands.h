// Direct convolution of few channels: a kernel row is one run of kw * c elements, read from bands, copies of a few rows
// of the input with its padding written out.
#pragma once

#include <cstddef>

#include "backends/cpu/matrix/conv2d.h"

namespace blade::backends::cpu {

bool reads_bands(const Conv2DShape& shape);
// The runs of K in a band, and elements of each.
int64_t band_runs(const Conv2DShape& shape);
int64_t band_run_length(const Conv2DShape& shape);

// Whether bands in bfloat16, whose results are that too, meet all panels of `b` in one call.
bool bands_go_at_once(const Conv2DShape& shape, const PackedB& b, const Epilogue<BFloat16>& epilogue);

template <class T>
struct BandPlan {
  int64_t width = 0;       // pixels of a padded row
  int64_t rows_out = 0;    // output rows of a band, at most
  int64_t rows_in = 0;     // input rows of a band
  int64_t bands = 0;       // of one image
  int64_t row_length = 0;  // elements
  int64_t row_step = 0;    // the same, from what an output row reads to what the next does
  int64_t elements_behind = 0;
  int64_t unwoven_length = 0;  // elements of a row in bfloat16 before it is woven with others, and what is read past it
  int64_t unwoven_rows = 0;

  explicit BandPlan(const Conv2DShape& shape);
  int64_t elements() const { return rows_in * row_length + elements_behind; }
  size_t bytes() const { return static_cast<size_t>(elements() + unwoven_rows * unwoven_length) * sizeof(T); }
};

// A thread's own; `stays`: results, in its cache.
template <class T>
size_t band_slot_bytes(const Conv2DShape& shape, const BandPlan<T>& plan, const PackedB& b, bool stays);

// At most plan.rows_out output rows from row `first` of all images on; they lie in one image. `offsets`: of the runs.
// What the `next_rows` rows behind them read, which this thread most likely computes next, is fetched meanwhile.
template <class T, class In, class Out>
void run_band(const Conv2DShape& shape, const BandPlan<T>& plan, const PackedB& b, const In* in, Out* out,
              const Epilogue<T>& epilogue, int64_t first, int64_t rows, int64_t next_rows, const int64_t* offsets,
              bool stays, std::byte* slot);
// All rows. `slots`: a thread's each.
template <class T, class In, class Out>
void conv_by_bands(const Conv2DShape& shape, const In* in, const PackedB& b, Out* out, const Epilogue<T>& epilogue,
                   ThreadPool& pool, const int64_t* offsets, std::byte* slots);

// Weights for woven rows: the taps of a column behind one another.
template <class T>
void pack_woven_weights(const Conv2DShape& shape, const T* weights, void* to);

}  // namespace blade::backends::cpu
