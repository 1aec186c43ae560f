// Convolution and transposed convolution by their definitions, over up to three spatial dims, groups and dilations.
#include "backends/reference/common.h"

namespace blade::backends::reference {
namespace {

// Calls fn(input position, tap) for all kernel taps of output position `out` that fall inside the input.
template <class Fn>
void for_each_tap(const Windows& w, const int64_t (&out)[3], Fn&& fn) {
  int64_t k[3];
  for (k[0] = 0; k[0] < w.dim[0].size; ++k[0]) {
    for (k[1] = 0; k[1] < w.dim[1].size; ++k[1]) {
      for (k[2] = 0; k[2] < w.dim[2].size; ++k[2]) {
        int64_t position = 0, tap = 0;
        bool inside = true;
        for (int i = 0; i < 3; ++i) {
          const int64_t at = out[i] * w.dim[i].stride + k[i] * w.dim[i].dilation - w.dim[i].pad_before;
          inside = inside && at >= 0 && at < w.dim[i].in;
          position = position * w.dim[i].in + at;
          tap = tap * w.dim[i].size + k[i];
        }
        if (inside) fn(position, tap);
      }
    }
  }
}

// Calls fn(image, position in the image, spatial index) for all output positions.
template <class Fn>
void for_each_output(const Windows& w, Fn&& fn) {
  int64_t o[3];
  for (int64_t n = 0; n < w.batch; ++n) {
    int64_t position = 0;
    for (o[0] = 0; o[0] < w.dim[0].out; ++o[0]) {
      for (o[1] = 0; o[1] < w.dim[1].out; ++o[1]) {
        for (o[2] = 0; o[2] < w.dim[2].out; ++o[2]) fn(n, position++, o);
      }
    }
  }
}

int64_t input_positions(const Windows& w) { return w.dim[0].in * w.dim[1].in * w.dim[2].in; }
int64_t output_positions(const Windows& w) { return w.dim[0].out * w.dim[1].out * w.dim[2].out; }

template <class W>
Status run_conv_as(const Call& call) {
  const auto& attrs = call.node.get<ir::ConvAttrs>();
  const Array<W> x = read<W>(call, 0), weights = read<W>(call, 1);
  Array<W> y = make_array<W>(call.out_dims());
  const Windows w =
      make_windows(x.dims, y.dims, weights.dims, attrs.strides, attrs.dilations, attrs.padding, attrs.explicit_pads);
  const int64_t c_in = x.dims.back(), c_out = y.dims.back();
  const int64_t group_in = c_in / attrs.groups, group_out = c_out / attrs.groups;
  for_each_output(w, [&](int64_t n, int64_t position, const int64_t(&o)[3]) {
    for (int64_t co = 0; co < c_out; ++co) {
      const int64_t first_in = co / group_out * group_in;
      W sum = 0;
      for_each_tap(w, o, [&](int64_t at, int64_t tap) {
        for (int64_t ci = 0; ci < group_in; ++ci) {
          sum += x[(n * input_positions(w) + at) * c_in + first_in + ci] * weights[(tap * group_in + ci) * c_out + co];
        }
      });
      y[(n * output_positions(w) + position) * c_out + co] = sum;
    }
  });
  BLADE_RETURN_IF_ERROR(apply_epilogue(call, attrs.epilogue, 2, y));
  write(call, 0, y);
  return Status::ok_status();
}

template <class W>
Status run_conv_transpose_as(const Call& call) {
  const auto& attrs = call.node.get<ir::ConvTransposeAttrs>();
  const Array<W> x = read<W>(call, 0), weights = read<W>(call, 1);
  Array<W> y = make_array<W>(call.out_dims());
  // The forward convolution whose gradient this is reads y and makes x.
  const Windows w =
      make_windows(y.dims, x.dims, weights.dims, attrs.strides, attrs.dilations, attrs.padding, attrs.explicit_pads);
  const int64_t c_in = x.dims.back(), c_out = y.dims.back();
  for_each_output(w, [&](int64_t n, int64_t position, const int64_t(&o)[3]) {
    for_each_tap(w, o, [&](int64_t at, int64_t tap) {
      for (int64_t co = 0; co < c_out; ++co) {
        for (int64_t ci = 0; ci < c_in; ++ci) {
          y[(n * input_positions(w) + at) * c_out + co] +=
              x[(n * output_positions(w) + position) * c_in + ci] * weights[(tap * c_out + co) * c_in + ci];
        }
      }
    });
  });
  BLADE_RETURN_IF_ERROR(apply_epilogue(call, attrs.epilogue, 3, y));
  write(call, 0, y);
  return Status::ok_status();
}

}  // namespace

Status run_conv(const Call& call) {
  return with_wide(call.in_dtype(0), [&]<class W>(W) { return run_conv_as<W>(call); });
}

Status run_conv_transpose(const Call& call) {
  return with_wide(call.in_dtype(0), [&]<class W>(W) { return run_conv_transpose_as<W>(call); });
}

}  // namespace blade::backends::reference
