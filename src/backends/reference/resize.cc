// Image resizing as a separable weighted sum of the taps that resize_weights.h names.
#include "backends/reference/common.h"
#include "backends/reference/resize_weights.h"

namespace blade::backends::reference {
namespace {

void weigh(const Call& call, const ResizeAxis& rows, const ResizeAxis& columns) {
  const ir::Dims &in = call.in_dims(0), &out = call.out_dims();
  const ir::Dims strides = row_major_strides(in);
  const Array<double> x = read<double>(call, 0);
  Array<double> y = make_array<double>(out);
  for_each_index(out, [&](int64_t offset, const ir::Dims& i) {
    double sum = 0;
    for (int r = 0; r < rows.taps; ++r) {
      for (int c = 0; c < columns.taps; ++c) {
        const int64_t row = i[1] * rows.taps + r, column = i[2] * columns.taps + c;
        const double weight = static_cast<double>(rows.weights[row]) * static_cast<double>(columns.weights[column]);
        sum += weight * x[offset_of({i[0], rows.positions[row], columns.positions[column], i[3]}, strides)];
      }
    }
    y[offset] = sum;
  });
  write(call, 0, y);
}

// There is nothing to sum otherwise: TensorFlow refuses such images, too.
Status check_has_pixels(const Call& call) {
  for (size_t i : {1, 2}) {
    if (call.in_dims(0)[i] > 0) continue;
    return invalid_argument(call.where() + "the " + (i == 1 ? "height" : "width") +
                            " of the images is 0, expected at least 1.");
  }
  return Status::ok_status();
}

}  // namespace

Status run_resize(const Call& call) {
  const auto& attrs = call.node.get<ir::ResizeAttrs>();
  const ir::Dims &in = call.in_dims(0), &out = call.out_dims();
  if (count_of(out) == 0) return Status::ok_status();
  BLADE_RETURN_IF_ERROR(check_has_pixels(call));
  const ir::Dims strides = row_major_strides(in);
  const ResizeAxis rows = resize_axis(attrs, in[1], out[1]), columns = resize_axis(attrs, in[2], out[2]);
  if (attrs.kind == ir::ResizeKind::kNearest && call.in_dtype(0) == call.out_dtype()) {
    for_each_index(out, [&](int64_t offset, const ir::Dims& i) {
      copy_element(call, 0, offset_of({i[0], rows.positions[i[1]], columns.positions[i[2]], i[3]}, strides), 0, offset);
    });
    return Status::ok_status();
  }
  weigh(call, rows, columns);
  return Status::ok_status();
}

// Scales must be more than 0, as in TensorFlow.
Status run_scale_and_translate(const Call& call) {
  const auto& attrs = call.node.get<ir::SampleAttrs>();
  const ir::Dims &in = call.in_dims(0), &out = call.out_dims();
  const Array<double> scale = read<double>(call, 2), translation = read<double>(call, 3);
  for (int64_t i : {0, 1}) {
    if (scale[i] > 0) continue;
    return invalid_argument(call.where() + "the scale is " + std::to_string(scale[i]) + ", expected more than 0.");
  }
  if (count_of(out) == 0) return Status::ok_status();
  BLADE_RETURN_IF_ERROR(check_has_pixels(call));
  const auto axis = [&](int64_t i) {
    return sampled_axis(attrs, in[static_cast<size_t>(i + 1)], out[static_cast<size_t>(i + 1)],
                        static_cast<float>(scale[i]), static_cast<float>(translation[i]));
  };
  weigh(call, axis(0), axis(1));
  return Status::ok_status();
}

}  // namespace blade::backends::reference
