// What the reference kernels share: one operand access for all dtypes, plain index arithmetic, and the kernel object.
// Clarity decides here; speed does not.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <type_traits>
#include <vector>

#include "backends/kernel.h"
#include "backends/plain_type.h"
#include "backends/strides.h"
#include "base/half.h"

namespace blade::backends::reference {

// One run of one node.
struct Call {
  const ir::Node& node;
  std::span<const TensorDesc> inputs, outputs;
  std::span<const void* const> in;
  std::span<void* const> out;
  OutputAllocator* allocator = nullptr;

  int num_inputs() const { return static_cast<int>(inputs.size()); }
  const ir::Dims& in_dims(int i) const { return inputs[i].dims; }
  const ir::Dims& out_dims(int i = 0) const { return outputs[i].dims; }
  ir::DType in_dtype(int i) const { return inputs[i].dtype; }
  ir::DType out_dtype(int i = 0) const { return outputs[i].dtype; }
  // "node 'conv1' (Conv): ", to open an error's sentence.
  std::string where() const;
};

// Elements are computed in one of three wide types: double, int64_t (also for bool) or uint64_t.
enum class Wide : uint8_t { kFloat, kSigned, kUnsigned };
Wide wide_of(ir::DType dtype);

// Calls fn with a value of the C++ storage type of `dtype` (bool as uint8_t).
template <class Fn>
auto with_storage(ir::DType dtype, Fn&& fn) {
  if (dtype == ir::DType::kFloat16) return fn(Float16{});
  if (dtype == ir::DType::kBFloat16) return fn(BFloat16{});
  return with_plain_type(dtype, fn);
}

// A float as an integer, the way x86 compilers convert: out of range gives the smallest int64_t, whose low bits
// narrower types then take (int32_t is checked against its own range).
int64_t float_to_int(double value, ir::DType to);

template <class T, class W>
W widen(T value) {
  if constexpr (std::is_same_v<T, Float16> || std::is_same_v<T, BFloat16>) {
    return static_cast<W>(static_cast<float>(value));
  } else {
    return static_cast<W>(value);
  }
}

template <class T, class W>
T narrow(W value, ir::DType dtype) {
  if (dtype == ir::DType::kBool) return static_cast<T>(static_cast<float>(value != W(0)));
  if constexpr (std::is_same_v<T, Float16> || std::is_same_v<T, BFloat16>) {
    return T(static_cast<float>(value));
  } else if constexpr (std::is_floating_point_v<W> && std::is_integral_v<T>) {
    return static_cast<T>(float_to_int(value, dtype));
  } else {
    return static_cast<T>(value);
  }
}

// Integer sums and products wrap around.
template <class W>
W wrapping_add(W a, W b) {
  if constexpr (std::is_integral_v<W>)
    return static_cast<W>(static_cast<uint64_t>(a) + static_cast<uint64_t>(b));
  else
    return a + b;
}
template <class W>
W wrapping_mul(W a, W b) {
  if constexpr (std::is_integral_v<W>)
    return static_cast<W>(static_cast<uint64_t>(a) * static_cast<uint64_t>(b));
  else
    return a * b;
}

// The smallest value: what a maximum starts from.
template <class W>
W lowest() {
  return std::numeric_limits<W>::has_infinity ? -std::numeric_limits<W>::infinity() : std::numeric_limits<W>::lowest();
}

// A dense tensor of wide elements.
template <class W>
struct Array {
  ir::Dims dims;
  std::vector<W> values;
  W& operator[](int64_t i) { return values[static_cast<size_t>(i)]; }
  const W& operator[](int64_t i) const { return values[static_cast<size_t>(i)]; }
};

int64_t count_of(const ir::Dims& dims);
ir::Dims permuted(const ir::Dims& values, const std::vector<int64_t>& perm);  // element i is values[perm[i]]

template <class W>
Array<W> make_array(ir::Dims dims) {
  const int64_t count = count_of(dims);
  return {std::move(dims), std::vector<W>(static_cast<size_t>(count))};
}

template <class W>
Array<W> read(const Call& call, int i) {
  Array<W> array = make_array<W>(call.in_dims(i));
  with_storage(call.in_dtype(i), [&]<class T>(T) {
    const T* data = static_cast<const T*>(call.in[i]);
    for (size_t k = 0; k < array.values.size(); ++k) array.values[k] = widen<T, W>(data[k]);
  });
  return array;
}

template <class W>
void write(const Call& call, int i, const Array<W>& array) {
  with_storage(call.out_dtype(i), [&]<class T>(T) {
    T* data = static_cast<T*>(call.out[i]);
    for (size_t k = 0; k < array.values.size(); ++k) data[k] = narrow<T, W>(array.values[k], call.out_dtype(i));
  });
}

// The same for an output whose dims the kernel finds: asks for its memory first. Dims known beforehand must agree.
template <class W>
Status write_found(const Call& call, int i, const Array<W>& array) {
  if (call.outputs[i].is_static()) {
    write(call, i, array);
    return Status();
  }
  void* data = call.allocator->allocate(i, array.dims);
  if (data == nullptr && !array.values.empty()) return resource_exhausted(call.where() + "no memory for its result.");
  with_storage(call.out_dtype(i), [&]<class T>(T) {
    for (size_t k = 0; k < array.values.size(); ++k) {
      static_cast<T*>(data)[k] = narrow<T, W>(array.values[k], call.out_dtype(i));
    }
  });
  return Status();
}

// `value` as it would be after being stored as `dtype`.
template <class W>
W rounded(W value, ir::DType dtype) {
  return with_storage(dtype, [&]<class T>(T) { return widen<T, W>(narrow<T, W>(value, dtype)); });
}

std::vector<int64_t> read_ints(const Call& call, int i);

// Calls fn(W{}) with the wide type of `dtype`.
template <class Fn>
Status with_wide(ir::DType dtype, Fn&& fn) {
  switch (wide_of(dtype)) {
    case Wide::kFloat:
      return fn(double{});
    case Wide::kSigned:
      return fn(int64_t{});
    default:
      return fn(uint64_t{});
  }
}

// Steps `index` through all positions of `dims` in row-major order; false after the last.
bool next_index(ir::Dims& index, const ir::Dims& dims);
int64_t offset_of(const ir::Dims& index, const ir::Dims& strides);
// The strides of dims that may repeat: 0 for those of one element, but for the last.
ir::Dims repeating(const ir::Dims& dims, ir::Dims strides);

// For all positions of `out` calls fn(output offset, index).
template <class Fn>
void for_each_index(const ir::Dims& out, Fn&& fn) {
  if (count_of(out) == 0) return;
  ir::Dims index(out.size(), 0);
  int64_t offset = 0;
  do {
    fn(offset++, index);
  } while (next_index(index, out));
}

// Copies element `from` of input `i` to element `to` of output `o`, whatever the dtype.
void copy_element(const Call& call, int i, int64_t from, int o, int64_t to);

// Padding before and the output size of one spatial dim, for convolution and pooling.
struct Window {
  int64_t in = 1, out = 1, size = 1, stride = 1, dilation = 1, pad_before = 0;
};
// Spatial dims as three (missing leading ones have size 1). `in` and `out` are whole dims [n, spatial..., c].
struct Windows {
  int64_t batch = 1;
  Window dim[3];
};
Windows make_windows(const ir::Dims& in, const ir::Dims& out, std::span<const int64_t> window,
                     std::span<const int64_t> strides, std::span<const int64_t> dilations, ir::Padding padding,
                     std::span<const int64_t> explicit_pads);

// Applies a fused program to `result` (program input 0); operand k >= 1 is node input first_input + k - 1.
template <class W>
Status apply_epilogue(const Call& call, const ir::PointwiseProgram& program, int first_input, Array<W>& result);

// The kernel object around a function; copies the node, since plans outlive graphs.
using RunFn = Status (*)(const Call&);
Result<std::unique_ptr<Kernel>> make_reference_kernel(const KernelRequest& request, RunFn run);

template <RunFn kRun>
Result<std::unique_ptr<Kernel>> create(const KernelRequest& request, PackCache&) {
  return make_reference_kernel(request, kRun);
}

// One function an op, each in the file of its family.
Status run_pointwise(const Call&);
Status run_cast(const Call&);
Status run_conv(const Call&);
Status run_conv_transpose(const Call&);
Status run_matmul(const Call&);
Status run_einsum(const Call&);
Status run_batch_norm(const Call&);
Status run_attention(const Call&);
Status run_layer_norm(const Call&);
Status run_moments(const Call&);
Status run_lrn(const Call&);
Status run_softmax(const Call&);
Status run_pool(const Call&);
Status run_reduce(const Call&);
Status run_arg_reduce(const Call&);
Status run_cumulative(const Call&);
Status run_top_k(const Call&);
Status run_copy(const Call&);  // ops that keep the order of elements
Status run_shape_of(const Call&);
Status run_fill(const Call&);
Status run_range(const Call&);
Status run_transpose(const Call&);
Status run_concat(const Call&);
Status run_split(const Call&);
Status run_slice(const Call&);
Status run_strided_slice(const Call&);
Status run_pack(const Call&);
Status run_unpack(const Call&);
Status run_pad(const Call&);
Status run_tile(const Call&);
Status run_broadcast_to(const Call&);
Status run_reverse(const Call&);
Status run_depth_to_space(const Call&);
Status run_space_to_depth(const Call&);
Status run_space_to_batch(const Call&);
Status run_batch_to_space(const Call&);
Status run_matrix_band_part(const Call&);
Status run_gather(const Call&);
Status run_gather_nd(const Call&);
Status run_scatter_nd(const Call&);
Status run_one_hot(const Call&);
Status run_resize(const Call&);
Status run_scale_and_translate(const Call&);
Status run_max_pool_argmax(const Call&);
Status run_extract_patches(const Call&);
Status run_dilation(const Call&);
Status run_segment_reduce(const Call&);
Status run_search_sorted(const Call&);
Status run_sparse_reshape(const Call&);
Status run_fft(const Call&);
Status run_ctc_greedy_decoder(const Call&);
Status run_tensor_scatter(const Call&);
Status run_matrix_diag(const Call&);
Status run_matrix_diag_part(const Call&);
Status run_matrix_set_diag(const Call&);
Status run_crop_and_resize(const Call&);
Status run_combined_non_max_suppression(const Call&);
Status run_block_lstm(const Call&);
Status run_recurrence(const Call&);
Status run_non_max_suppression(const Call&);
Status run_where(const Call&);
Status run_unique(const Call&);
Status run_list_diff(const Call&);
Status run_fill_empty_rows(const Call&);
Status run_dynamic_partition(const Call&);
Status run_set_rows(const Call&);
Status run_append_row(const Call&);

}  // namespace blade::backends::reference
