// Digamma by recurrence and its asymptotic series (Abramowitz and Stegun 6.3.5, 6.3.18); the normal quantile by
// bisection of its monotone distribution function in a bracket, then Newton steps.
#include "backends/reference/special_functions.h"

#include <cmath>
#include <limits>

namespace blade::backends {
namespace {

constexpr double kPi = 3.14159265358979323846;
constexpr double kSqrtHalf = 0.70710678118654752440;
constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

double lower_tail(double x) { return 0.5 * std::erfc(-x * kSqrtHalf); }

// For p in (0, 0.5]: the tail keeps its relative precision.
double quantile_below_half(double p) {
  double low = -40, high = 0;
  for (int i = 0; i < 30; ++i) {
    const double middle = 0.5 * (low + high);
    (lower_tail(middle) < p ? low : high) = middle;
  }
  double x = 0.5 * (low + high);
  for (int i = 0; i < 3; ++i) {
    const double density = std::exp(-0.5 * x * x) / std::sqrt(2 * kPi);
    if (density == 0) break;
    x -= (lower_tail(x) - p) / density;
  }
  return x;
}

}  // namespace

double digamma(double x) {
  if (x <= 0 && x == std::floor(x)) return x == 0 ? -kInfinity : kNan;
  if (x < 0) return digamma(1 - x) - kPi / std::tan(kPi * x);
  double sum = 0;
  for (; x < 10; ++x) sum -= 1 / x;
  const double z = 1 / (x * x);
  const double series =
      z * (1.0 / 12 - z * (1.0 / 120 - z * (1.0 / 252 - z * (1.0 / 240 - z * (1.0 / 132 - z * (691.0 / 32760))))));
  return sum + std::log(x) - 0.5 / x - series;
}

double normal_quantile(double p) {
  if (std::isnan(p) || p < 0 || p > 1) return kNan;
  if (p == 0) return -kInfinity;
  if (p == 1) return kInfinity;
  return p <= 0.5 ? quantile_below_half(p) : -quantile_below_half(1 - p);
}

double erf_inverse(double y) {
  if (std::isnan(y) || y < -1 || y > 1) return kNan;
  if (y == 1 || y == -1) return y * kInfinity;
  if (y < 0) return -erf_inverse(-y);
  double x = -normal_quantile(0.5 * (1 - y)) * kSqrtHalf;
  if (y < 0.9) x -= (std::erf(x) - y) * 0.5 * std::sqrt(kPi) * std::exp(x * x);
  return x;
}

}  // namespace blade::backends
