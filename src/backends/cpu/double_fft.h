// Fourier transforms of float64, of lengths that are powers of two.
#pragma once

#include <cstdint>
#include <vector>

namespace blade::backends::cpu {

// The transform of a row of complex numbers, with its factors made beforehand.
class DoubleFft {
 public:
  explicit DoubleFft(int64_t n);  // a power of two
  int64_t n() const { return n_; }
  void run(double* re, double* im) const;

 private:
  int64_t n_;
  std::vector<int32_t> reversed_;        // where the number at each place goes first
  std::vector<double> cosines_, sines_;  // of the factors of each pass, one pass behind the other
};

// The transform of n real numbers, through one of n / 2 complex ones.
class DoubleRealFft {
 public:
  explicit DoubleRealFft(int64_t n);  // a power of two, 2 or more
  int64_t n() const { return 2 * half_.n(); }
  // x and scratch: n numbers; re and im: n / 2 + 1.
  void run(const double* x, double* re, double* im, double* scratch) const;

 private:
  DoubleFft half_;
  std::vector<double> cosines_, sines_;  // exp(-2 pi i k / n) for k in [0, n / 2]
};

}  // namespace blade::backends::cpu
