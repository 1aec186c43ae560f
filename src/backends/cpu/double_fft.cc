// Decimation in time: numbers in bit-reversed order, then passes of butterflies whose inner loops run over neighbours.
#include "backends/cpu/double_fft.h"

#include <bit>
#include <cmath>
#include <numbers>
#include <utility>

namespace blade::backends::cpu {
namespace {

// The real and imaginary parts of exp(-2 pi i k / n), at the end of the lists.
void add_turn(int64_t k, int64_t n, std::vector<double>* cosines, std::vector<double>* sines) {
  const double angle = -2 * std::numbers::pi * static_cast<double>(k) / static_cast<double>(n);
  cosines->push_back(std::cos(angle));
  sines->push_back(std::sin(angle));
}

}  // namespace

DoubleFft::DoubleFft(int64_t n) : n_(n), reversed_(static_cast<size_t>(n)) {
  const auto bits = static_cast<int>(std::countr_zero(static_cast<uint64_t>(n)));
  for (int64_t i = 1; i < n; ++i) {
    const auto at = static_cast<size_t>(i);
    reversed_[at] = static_cast<int32_t>(reversed_[at / 2] / 2 + (i % 2 == 1 ? int64_t{1} << (bits - 1) : 0));
  }
  for (int64_t half = 1; half < n; half *= 2) {
    for (int64_t k = 0; k < half; ++k) add_turn(k, 2 * half, &cosines_, &sines_);
  }
}

void DoubleFft::run(double* re, double* im) const {
  for (int64_t i = 0; i < n_; ++i) {
    const int64_t j = reversed_[static_cast<size_t>(i)];
    if (i >= j) continue;
    std::swap(re[i], re[j]);
    std::swap(im[i], im[j]);
  }
  for (int64_t half = 1; half < n_; half *= 2) {
    const double *cosines = cosines_.data() + half - 1, *sines = sines_.data() + half - 1;
    for (int64_t first = 0; first < n_; first += 2 * half) {
      double *even_re = re + first, *even_im = im + first, *odd_re = even_re + half, *odd_im = even_im + half;
      for (int64_t k = 0; k < half; ++k) {
        const double turned_re = odd_re[k] * cosines[k] - odd_im[k] * sines[k];
        const double turned_im = odd_re[k] * sines[k] + odd_im[k] * cosines[k];
        odd_re[k] = even_re[k] - turned_re;
        odd_im[k] = even_im[k] - turned_im;
        even_re[k] += turned_re;
        even_im[k] += turned_im;
      }
    }
  }
}

DoubleRealFft::DoubleRealFft(int64_t n) : half_(n / 2) {
  for (int64_t k = 0; k <= n / 2; ++k) add_turn(k, n, &cosines_, &sines_);
}

// Of z[k] = x[2k] + i x[2k+1], whose transform Z gives that of x: E[k] + exp(-2 pi i k / n) O[k], where E and O are the
// transforms of the numbers at even and at odd places.
void DoubleRealFft::run(const double* x, double* re, double* im, double* scratch) const {
  const int64_t half = half_.n();
  double *z_re = scratch, *z_im = scratch + half;
  for (int64_t i = 0; i < half; ++i) {
    z_re[i] = x[2 * i];
    z_im[i] = x[2 * i + 1];
  }
  half_.run(z_re, z_im);
  for (int64_t k = 0; k <= half; ++k) {
    const int64_t a = k % half, b = (half - k) % half;
    const double even_re = (z_re[a] + z_re[b]) / 2, even_im = (z_im[a] - z_im[b]) / 2;
    const double odd_re = (z_im[a] + z_im[b]) / 2, odd_im = (z_re[b] - z_re[a]) / 2;
    const double c = cosines_[static_cast<size_t>(k)], s = sines_[static_cast<size_t>(k)];
    re[k] = even_re + odd_re * c - odd_im * s;
    im[k] = even_im + odd_re * s + odd_im * c;
  }
}

}  // namespace blade::backends::cpu
