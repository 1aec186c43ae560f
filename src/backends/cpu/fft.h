// Discrete Fourier transforms of many rows of floats at once: a vector lane a row, so that no shuffle is ever needed.
#pragma once

#include <cstdint>
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
};

// The largest prime factor: a pass of radix p takes time proportional to p * p.
int64_t largest_factor(int64_t n);

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
  // Transforms `count` (up to lanes()) rows. `have`: numbers in a row of the input. `scratch`: 4 * (inner + 1) *
  // lanes() floats, aligned as vectors.
  void (*run)(const FftPlan& plan, const FftInput& in, int64_t have, const FftOutput& out, int64_t count,
              float* scratch);
};
const FftFunctions& fft_functions();

}  // namespace blade::backends::cpu
