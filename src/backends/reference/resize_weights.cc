// The three coordinate conventions (legacy, align_corners, half_pixel_centers) and the bicubic table.
#include "backends/reference/resize_weights.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

namespace blade::backends {
namespace {

constexpr int64_t kCubicSteps = 1024;

float axis_scale(const ir::ResizeAttrs& attrs, int64_t in, int64_t out) {
  if (attrs.align_corners && out > 1) return static_cast<float>(in - 1) / static_cast<float>(out - 1);
  return static_cast<float>(in) / static_cast<float>(out);
}

void push_tap(ResizeAxis& axis, int64_t position, int64_t in, float weight) {
  axis.positions.push_back(std::clamp<int64_t>(position, 0, std::max<int64_t>(in - 1, 0)));
  axis.weights.push_back(weight);
}

void push_nearest(ResizeAxis& axis, const ir::ResizeAttrs& attrs, int64_t in, float scale, int64_t o) {
  const float at = attrs.half_pixel_centers ? (static_cast<float>(o) + 0.5f) * scale : static_cast<float>(o) * scale;
  push_tap(axis, static_cast<int64_t>(attrs.align_corners ? std::round(at) : std::floor(at)), in, 1);
}

void push_bilinear(ResizeAxis& axis, const ir::ResizeAttrs& attrs, int64_t in, float scale, int64_t o) {
  const float at =
      attrs.half_pixel_centers ? (static_cast<float>(o) + 0.5f) * scale - 0.5f : static_cast<float>(o) * scale;
  const float below = std::floor(at), fraction = at - below;
  const auto first = static_cast<int64_t>(below);
  push_tap(axis, first, in, 1 - fraction);
  push_tap(axis, first + 1, in, fraction);
}

// Keys' kernel at distance i / kCubicSteps (near) or 1 + i / kCubicSteps (far).
float cubic_near(double a, int64_t i) {
  const double x = static_cast<double>(i) / kCubicSteps;
  return static_cast<float>(((a + 2) * x - (a + 3)) * x * x + 1);
}

float cubic_far(double a, int64_t i) {
  const double x = static_cast<double>(i) / kCubicSteps + 1;
  return static_cast<float>(((a * x - 5 * a) * x + 8 * a) * x - 4 * a);
}

void push_bicubic(ResizeAxis& axis, const ir::ResizeAttrs& attrs, int64_t in, float scale, int64_t o) {
  const bool half = attrs.half_pixel_centers;
  const double a = half ? -0.5 : -0.75;
  const float at = half ? (static_cast<float>(o) + 0.5f) * scale - 0.5f : static_cast<float>(o) * scale;
  const float below = std::floor(at);
  const auto base = static_cast<int64_t>(below);
  const int64_t step = std::lrint((at - below) * static_cast<float>(kCubicSteps));
  float weights[4] = {cubic_far(a, step), cubic_near(a, step), cubic_near(a, kCubicSteps - step),
                      cubic_far(a, kCubicSteps - step)};
  if (half) {  // taps outside are left out and the others grow to sum to 1
    float sum = 0;
    for (int k = 0; k < 4; ++k) {
      if (base - 1 + k < 0 || base - 1 + k >= in) weights[k] = 0;
      sum += weights[k];
    }
    if (std::fabs(sum) >= 1000 * std::numeric_limits<float>::min()) {
      for (float& w : weights) w *= 1 / sum;
    }
  }
  for (int k = 0; k < 4; ++k) push_tap(axis, base - 1 + k, in, weights[k]);
}

// How many inputs the widest output covers.
int area_taps(float scale, int64_t out) {
  int64_t most = 1;
  for (int64_t o = 0; o < out; ++o) {
    const float from = static_cast<float>(o) * scale, to = static_cast<float>(o + 1) * scale;
    most = std::max(most, static_cast<int64_t>(std::ceil(to)) - static_cast<int64_t>(std::floor(from)));
  }
  return static_cast<int>(most);
}

// Each input counts as much as the output covers of it.
void push_area(ResizeAxis& axis, int64_t in, float scale, int64_t o) {
  const float from = static_cast<float>(o) * scale, to = static_cast<float>(o + 1) * scale;
  const auto first = static_cast<int64_t>(std::floor(from)), last = static_cast<int64_t>(std::ceil(to));
  for (int k = 0; k < axis.taps; ++k) {
    const int64_t v = first + k;
    const auto at = static_cast<float>(v);
    float covered = 0;
    if (scale == 0) {  // all outputs are at the first input
      push_tap(axis, v, in, k == 0 ? 1.0f : 0.0f);
      continue;
    }
    if (v < last) {
      covered = at < from ? (at + 1 > to ? scale : at + 1 - from) : (at + 1 > to ? to - at : 1.0f);
    }
    push_tap(axis, v, in, covered / scale);
  }
}

// How far from its centre a kernel reaches, and its value at distance x.
float kernel_radius(ir::SampleKind kind) {
  switch (kind) {
    case ir::SampleKind::kLanczos3:
      return 3;
    case ir::SampleKind::kLanczos5:
      return 5;
    case ir::SampleKind::kGaussian:
      return 1.5f;
    case ir::SampleKind::kKeysCubic:
    case ir::SampleKind::kMitchellCubic:
      return 2;
    default:
      return 1;
  }
}

float lanczos(float x, float radius) {
  constexpr float kPi = std::numbers::pi_v<float>;
  if (x > radius) return 0;
  if (x <= 1e-3f) return 1;  // where the quotient is less exact
  return radius * std::sin(kPi * x) * std::sin(kPi * x / radius) / (kPi * kPi * x * x);
}

float kernel_value(ir::SampleKind kind, float x) {
  const float radius = kernel_radius(kind), deviation = radius / 3;
  switch (kind) {
    case ir::SampleKind::kGaussian:
      return x >= radius ? 0 : std::exp(-x * x / (2 * deviation * deviation));
    case ir::SampleKind::kBox:
      return x < 0.5f ? 1 : x == 0.5f ? 0.5f : 0;
    case ir::SampleKind::kTriangle:
      return x < 1 ? 1 - x : 0;
    case ir::SampleKind::kKeysCubic:
      if (x >= 2) return 0;
      return x >= 1 ? ((-0.5f * x + 2.5f) * x - 4) * x + 2 : ((1.5f * x - 2.5f) * x) * x + 1;
    case ir::SampleKind::kMitchellCubic:
      if (x >= 2) return 0;
      return x >= 1 ? (((-7.0f / 18) * x + 2) * x - 10.0f / 3) * x + 16.0f / 9
                    : (((7.0f / 6) * x - 2) * x) * x + 8.0f / 9;
    default:
      return lanczos(x, radius);
  }
}

// The weights sum to 1, unless there is next to nothing to sum.
void push_sampled(ResizeAxis& axis, ir::SampleKind kind, int64_t in, float at, float kernel_scale) {
  const size_t first_tap = axis.weights.size();
  const float reach = kernel_radius(kind) * kernel_scale;
  const bool inside = at >= 0 && at <= static_cast<float>(in);
  const float last_place = static_cast<float>(std::max<int64_t>(in - 1, 0));
  const auto place = [&](float v) { return static_cast<int64_t>(std::clamp(v, 0.0f, last_place)); };
  const int64_t first = inside ? place(std::ceil(at - reach - 0.5f)) : 0;
  const int64_t last = inside ? place(std::floor(at + reach - 0.5f)) : -1;
  float sum = 0;
  for (int64_t k = 0; k < axis.taps; ++k) {
    const float distance = std::fabs((static_cast<float>(first + k) + 0.5f - at) / kernel_scale);
    push_tap(axis, first + k, in, first + k <= last ? kernel_value(kind, distance) : 0);
    sum += axis.weights.back();
  }
  const float factor = std::fabs(sum) >= 1000 * std::numeric_limits<float>::min() ? 1 / sum : 0;
  for (size_t k = first_tap; k < axis.weights.size(); ++k) axis.weights[k] *= factor;
}

}  // namespace

ResizeAxis sampled_axis(const ir::SampleAttrs& attrs, int64_t in, int64_t out, float scale, float translation) {
  const float inverse = 1 / scale, offset = -inverse * translation;
  const float kernel_scale = attrs.antialias ? std::max(inverse, 1.0f) : 1.0f;
  ResizeAxis axis;
  const float reach = std::ceil(kernel_radius(attrs.kind) * kernel_scale);
  axis.taps = static_cast<int>(std::min<int64_t>(2 * static_cast<int64_t>(std::min(reach, 1e9f)) + 1, in));
  for (int64_t o = 0; o < out; ++o) {
    push_sampled(axis, attrs.kind, in, (static_cast<float>(o) + 0.5f) * inverse + offset, kernel_scale);
  }
  return axis;
}

ResizeAxis resize_axis(const ir::ResizeAttrs& attrs, int64_t in, int64_t out) {
  const float scale = axis_scale(attrs, in, out);
  ResizeAxis axis;
  axis.taps = attrs.kind == ir::ResizeKind::kNearest ? 1 : attrs.kind == ir::ResizeKind::kBilinear ? 2 : 4;
  if (attrs.kind == ir::ResizeKind::kArea) axis.taps = area_taps(scale, out);
  for (int64_t o = 0; o < out; ++o) {
    switch (attrs.kind) {
      case ir::ResizeKind::kNearest:
        push_nearest(axis, attrs, in, scale, o);
        break;
      case ir::ResizeKind::kBilinear:
        push_bilinear(axis, attrs, in, scale, o);
        break;
      case ir::ResizeKind::kBicubic:
        push_bicubic(axis, attrs, in, scale, o);
        break;
      case ir::ResizeKind::kArea:
        push_area(axis, in, scale, o);
        break;
    }
  }
  return axis;
}

}  // namespace blade::backends
