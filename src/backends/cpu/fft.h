// Discrete Fourier transforms of many rows of floats at once: a vector lane a row, so that no shuffle is ever needed.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <vector>

#include "ir/ops/attrs.h"

namespace blade::backends::cpu {

// One pass of a mixed-radix transform: `groups` butterflies of `radix` numbers for each of `stride` neighbours.
struct FftPass {
  int64_t radix, groups, stride;
  size_t turns;  // where its factors begin: (radix - 1) complex numbers a group
};

// A transform of length `n`; those of real numbers of even length go through one of half the length.
struct FftPlan {
  FftPlan(ir::FftKind kind, int64_t n);
  ir::FftKind kind;
  int64_t n;
  bool halved;    // a real transform of even length
  int64_t inner;  // length of the complex transform
  std::vector<FftPass> passes;
  std::vector<float> turns;  // factors of all passes, real and imaginary parts
  std::vector<float> ends;   // halved: exp(-2 pi i k / n) for k in [0, n / 2]

  // Large prime factors, after Bluestein: the transform is a convolution with a chirp, which transforms of length
  // `wide` compute. chirp[k] = exp(-pi i k * k / inner); its conjugate's transform divided by `wide`.
  int64_t wide = 0;  // 0: the passes are of length `inner`
  std::vector<float> chirp, chirp_spectrum;

  // Numbers in one of the two buffers of a transform.
  int64_t entries() const { return std::max(inner, wide) + 1; }

 private:
  void make_passes(int64_t length);
  void make_chirp();
};

// One row at a time, where there are too few to fill the lanes: inner = columns.inner * rows.inner, transforms of all
// columns of a matrix, factors, then transforms of all its rows.
struct SplitFft {
  // Nothing where the length does not split into multiples of `lanes`.
  static std::optional<SplitFft> make(const FftPlan& plan, int64_t lanes);
  FftPlan columns, rows;
  std::vector<float> turns_re, turns_im;  // [columns.inner, rows.inner]: exp(-2 pi i j k / inner)
  size_t scratch_floats(int64_t lanes) const;
};

// Floats of scratch that a thread needs, found without making a plan: for one row where the length splits, for `lanes`
// rows otherwise.
int64_t fft_scratch_floats(ir::FftKind kind, int64_t n, int64_t lanes);

// Rows of real and of imaginary parts, `row` floats apart; `im` null: there are none.
struct FftInput {
  const float *re, *im;
  int64_t row;
};
struct FftOutput {
  float *re, *im;
  int64_t row;
};

// Functions for the best instruction set at hand.
struct FftFunctions {
  int64_t (*lanes)();  // rows that are transformed together
  // Transforms `count` (up to lanes()) rows. `have`: numbers in a row of the input. `scratch`: 4 * entries() *
  // lanes() floats, aligned as vectors.
  void (*run)(const FftPlan& plan, const FftInput& in, int64_t have, const FftOutput& out, int64_t count,
              float* scratch);
  // One row; `scratch`: split.scratch_floats(lanes()) floats, aligned as vectors.
  void (*run_split)(const FftPlan& plan, const SplitFft& split, const FftInput& in, int64_t have, const FftOutput& out,
                    float* scratch);
};
const FftFunctions& fft_functions();

}  // namespace blade::backends::cpu
