// Batch and layer normalization, local response normalization and softmax, each over the last axis, and moments over
// any axes, in double.
#include <algorithm>

#include "backends/reference/common.h"

namespace blade::backends::reference {
namespace {

// Splits `x` into rows of its last dim.
struct Rows {
  explicit Rows(const ir::Dims& dims)
      : length(dims.empty() ? 1 : dims.back()), count(length == 0 ? 0 : count_of(dims) / length) {}
  int64_t length, count;
};

double at_or_scalar(const Array<double>& a, int64_t i) { return a.values.size() == 1 ? a[0] : a[i]; }

}  // namespace

Status run_batch_norm(const Call& call) {
  const double epsilon = call.node.get<ir::BatchNormAttrs>().epsilon;
  Array<double> x = read<double>(call, 0);
  const Array<double> scale = read<double>(call, 1), offset = read<double>(call, 2);
  const Array<double> mean = read<double>(call, 3), variance = read<double>(call, 4);
  const Rows rows(x.dims);
  for (int64_t r = 0; r < rows.count; ++r) {
    for (int64_t c = 0; c < rows.length; ++c) {
      double& value = x[r * rows.length + c];
      const double factor = at_or_scalar(scale, c) / std::sqrt(at_or_scalar(variance, c) + epsilon);
      value = (value - at_or_scalar(mean, c)) * factor + at_or_scalar(offset, c);
    }
  }
  write(call, 0, x);
  return Status::ok_status();
}

Status run_layer_norm(const Call& call) {
  const double epsilon = call.node.get<ir::LayerNormAttrs>().epsilon;
  Array<double> x = read<double>(call, 0);
  const Array<double> scale = read<double>(call, 1), offset = read<double>(call, 2);
  const Rows rows(x.dims);
  const auto length = static_cast<double>(rows.length);
  for (int64_t r = 0; r < rows.count; ++r) {
    double* row = &x[r * rows.length];
    double mean = 0, variance = 0;
    for (int64_t c = 0; c < rows.length; ++c) mean += row[c] / length;
    for (int64_t c = 0; c < rows.length; ++c) variance += (row[c] - mean) * (row[c] - mean) / length;
    for (int64_t c = 0; c < rows.length; ++c) {
      row[c] = (row[c] - mean) / std::sqrt(variance + epsilon) * at_or_scalar(scale, c) + at_or_scalar(offset, c);
    }
  }
  write(call, 0, x);
  return Status::ok_status();
}

Status run_moments(const Call& call) {
  const Array<double> x = read<double>(call, 0);
  Array<double> mean = make_array<double>(call.out_dims(0)), variance = make_array<double>(call.out_dims(0));
  const double count = static_cast<double>(count_of(x.dims)) / static_cast<double>(count_of(mean.dims));
  const auto for_each = [&](auto&& fn) {
    const ir::Dims strides = row_major_strides(mean.dims);
    for_each_index(x.dims, [&](int64_t offset, const ir::Dims& index) {
      ir::Dims kept = index;
      for (int64_t axis : call.node.get<ir::AxesAttrs>().axes) kept[axis] = 0;
      fn(offset, offset_of(kept, strides));
    });
  };
  for_each([&](int64_t from, int64_t to) { mean[to] += x[from] / count; });
  for_each([&](int64_t from, int64_t to) { variance[to] += (x[from] - mean[to]) * (x[from] - mean[to]) / count; });
  write(call, 0, mean);
  write(call, 1, variance);
  return Status::ok_status();
}

Status run_lrn(const Call& call) {
  const auto& attrs = call.node.get<ir::LrnAttrs>();
  const Array<double> x = read<double>(call, 0);
  Array<double> y = make_array<double>(x.dims);
  const Rows rows(x.dims);
  for (int64_t r = 0; r < rows.count; ++r) {
    for (int64_t c = 0; c < rows.length; ++c) {
      double squares = 0;
      const int64_t last = std::min(rows.length - 1, c + attrs.depth_radius);
      for (int64_t k = std::max<int64_t>(0, c - attrs.depth_radius); k <= last; ++k) {
        squares += x[r * rows.length + k] * x[r * rows.length + k];
      }
      const double base = static_cast<double>(attrs.bias) + static_cast<double>(attrs.alpha) * squares;
      y[r * rows.length + c] = x[r * rows.length + c] / std::pow(base, static_cast<double>(attrs.beta));
    }
  }
  write(call, 0, y);
  return Status::ok_status();
}

Status run_softmax(const Call& call) {
  const bool log = call.node.get<ir::SoftmaxAttrs>().log;
  Array<double> x = read<double>(call, 0);
  const Rows rows(x.dims);
  for (int64_t r = 0; r < rows.count; ++r) {
    double* row = &x[r * rows.length];
    const double max = *std::max_element(row, row + rows.length);
    double sum = 0;
    for (int64_t c = 0; c < rows.length; ++c) sum += std::exp(row[c] - max);
    for (int64_t c = 0; c < rows.length; ++c) {
      row[c] = log ? row[c] - max - std::log(sum) : std::exp(row[c] - max) / sum;
    }
  }
  write(call, 0, x);
  return Status::ok_status();
}

}  // namespace blade::backends::reference
