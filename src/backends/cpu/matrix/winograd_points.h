// The interpolation points of Winograd's convolution along one axis, and what the transforms F(m, r) follow from them.
//
// With points a_x (the last one is infinity) m outputs of r taps are A^T (G g * B^T d): row x of B^T holds the
// coefficients of the product of all (z - a_i), i != x; G[x][k] = a_x^k / product of all (a_x - a_i); A[x][j] = a_x^j
// (Toom and Cook; Lavin and Gray, arXiv:1509.09308). The points are 0, pairs of opposite numbers, and infinity, in this
// order, so that the two of a pair share their sums.
#pragma once

#include <array>

namespace blade::backends::cpu {

inline constexpr int kMaxAxisPoints = 10;

template <int kPoints>
inline constexpr int kWinogradPairs = (kPoints - 2) / 2;

// The positive numbers of the pairs. Of ten points these have the smallest errors among those tried: reciprocal, and
// none far from 1. `rounded`: what is transformed is rounded to bfloat16, whose errors matter more than a few
// multiplications do; of six points these amplify them half as much as 1 and 2.
constexpr double winograd_pair(int points, int pair, bool rounded) {
  constexpr double kSmall[] = {1, 2, 0.5};
  constexpr double kRoundedSix[] = {0.75, 1.5};
  constexpr double kTen[] = {0.4, 0.8, 1.25, 2.5};
  if (points == 6 && rounded) return kRoundedSix[pair];
  return points == 10 ? kTen[pair] : kSmall[pair];
}

// Coefficients of powers of z^2 in the product of all (z^2 - a^2) but that of pair `skip` (-1: of all); the leading one
// is 1.
template <int kPoints>
constexpr std::array<double, kWinogradPairs<kPoints> + 1> winograd_polynomial(int skip, bool rounded) {
  std::array<double, kWinogradPairs<kPoints> + 1> c = {1};
  int degree = 0;
  for (int p = 0; p < kWinogradPairs<kPoints>; ++p) {
    if (p == skip) continue;
    const double a = winograd_pair(kPoints, p, rounded), square = a * a;
    ++degree;
    for (int k = degree; k >= 0; --k) {
      const double below = k > 0 ? c[static_cast<size_t>(k - 1)] : 0;
      c[static_cast<size_t>(k)] = below - square * c[static_cast<size_t>(k)];
    }
  }
  return c;
}

constexpr double winograd_power(double a, int exponent) {
  double power = 1;
  for (int i = 0; i < exponent; ++i) power *= a;
  return power;
}

// G[point][tap] for `taps` taps and `points` points; an axis with one tap has one point and is left as it is.
constexpr double winograd_weight_factor(int points, int taps, int point, int tap, bool rounded) {
  if (points == 1) return 1;
  if (point == points - 1) return tap == taps - 1 ? 1 : 0;
  auto value = [&](int x) {
    if (x == 0) return 0.0;
    return (x % 2 != 0 ? 1 : -1) * winograd_pair(points, (x - 1) / 2, rounded);
  };
  double product = 1;
  for (int x = 0; x < points - 1; ++x) {
    if (x != point) product *= value(point) - value(x);
  }
  return winograd_power(value(point), tap) / product;
}

}  // namespace blade::backends::cpu
