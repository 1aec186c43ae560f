// Source positions and weights of TensorFlow's resizes along one axis, computed in float as TensorFlow does; shared by
// all backends.
#pragma once

#include <cstdint>
#include <vector>

#include "ir/ops/attrs.h"

namespace blade::backends {

// An output position reads `taps` input positions: nearest 1, bilinear 2, bicubic 4, area as many as it covers.
struct ResizeAxis {
  int taps = 1;
  std::vector<int64_t> positions;  // [out, taps], each inside the input
  std::vector<float> weights;      // [out, taps]
};

ResizeAxis resize_axis(const ir::ResizeAttrs& attrs, int64_t in, int64_t out);
// Of ScaleAndTranslate: output o shows what is at (o - translation) / scale. Outputs off the image have weights of 0.
ResizeAxis sampled_axis(const ir::SampleAttrs& attrs, int64_t in, int64_t out, float scale, float translation);

}  // namespace blade::backends
