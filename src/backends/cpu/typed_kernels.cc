// Matrix products, convolutions, pooling and reductions of the types that have no kernels of their own (float64 and
// integers): plain loops over contiguous channels that the compiler vectorizes.
#include <algorithm>
#include <array>
#include <limits>

#include "backends/cpu/broadcast.h"
#include "backends/cpu/epilogue.h"
#include "backends/cpu/kernel_families.h"
#include "backends/cpu/kernel_support.h"
#include "backends/cpu/typed_dispatch.h"
#include "backends/reference/common.h"

namespace blade::backends::cpu {
namespace {

using reference::Windows;

// Only float32 nodes have epilogues.
Support epilogue_support(const KernelRequest& request, const ir::PointwiseProgram& program, size_t first_operand) {
  if (program.empty()) return Support::yes();
  if (request.outputs[0].dtype != ir::DType::kFloat32) return Support::no("has an epilogue");
  return LoweredEpilogue::supports(request, program, first_operand);
}

// Null where there is none.
std::shared_ptr<const LoweredEpilogue> lower_epilogue(const KernelRequest& request, const ir::PointwiseProgram& program,
                                                      size_t first_operand) {
  if (program.empty()) return nullptr;
  return std::make_shared<const LoweredEpilogue>(request, program, first_operand);
}

template <class T>
void finish_row(const LoweredEpilogue* lowered, const EpilogueF32& e, T* row, int64_t pixel, int64_t channels) {
  if constexpr (std::is_same_v<T, float>) {
    if (lowered == nullptr) return;
    const float* residual = e.residual == nullptr ? nullptr : e.residual + pixel * e.residual_row_stride;
    for (int64_t c = 0; c < channels; ++c) {
      float x = row[c];
      if (e.bias != nullptr) x += e.bias[c];
      row[c] = finish_element(e, x, residual != nullptr && c < e.residual_channels ? residual[c] : 0.0f, c);
    }
    if (e.generic == nullptr) return;
    EpilogueTile tile;
    tile.data = row;
    tile.row_stride = tile.channels = channels;
    tile.first_pixel = pixel;
    tile.rows = 1;
    e.generic(e.context, tile);
  }
}

// --- matrix products ---

Support supports_matmul(const KernelRequest& request) {
  if (Support s = needs_plain_type(request); !s.ok) return s;
  if (request.inputs[0].dims.size() < 2 || request.inputs[1].dims.size() < 2) {
    return Support::no("an operand has fewer than two dims");
  }
  return epilogue_support(request, request.node->get<ir::MatMulAttrs>().epilogue, 2);
}

// out[n] += sum over k of a[k] * b[k][n], n innermost; a transposed b is read along k instead.
template <class T>
void multiply_row(const T* a, int64_t a_step, const T* b, int64_t k_count, int64_t n_count, bool transposed, T* out) {
  using A = Accumulator<T>;
  if (transposed) {
    for (int64_t n = 0; n < n_count; ++n) {
      A sum = 0;
      for (int64_t k = 0; k < k_count; ++k) sum += static_cast<A>(a[k * a_step]) * static_cast<A>(b[n * k_count + k]);
      out[n] = static_cast<T>(sum);
    }
    return;
  }
  std::fill_n(out, n_count, T(0));
  for (int64_t k = 0; k < k_count; ++k) {
    const A factor = static_cast<A>(a[k * a_step]);
    const T* row = b + k * n_count;
    for (int64_t n = 0; n < n_count; ++n) {
      out[n] = static_cast<T>(static_cast<A>(out[n]) + factor * static_cast<A>(row[n]));
    }
  }
}

Result<std::unique_ptr<Kernel>> create_matmul(const KernelRequest& request, PackCache&) {
  const auto& attrs = request.node->get<ir::MatMulAttrs>();
  const ir::Dims &a = request.inputs[0].dims, &b = request.inputs[1].dims, &out = request.outputs[0].dims;
  const int64_t m = out[out.size() - 2], n = out.back(), k = attrs.transpose_a ? a[a.size() - 2] : a.back();
  const bool transpose_a = attrs.transpose_a, transpose_b = attrs.transpose_b;
  const std::vector<int64_t> a_offsets = batch_offsets(a, out), b_offsets = batch_offsets(b, out);
  const auto epilogue = lower_epilogue(request, attrs.epilogue, 2);
  return with_plain_type(request.outputs[0].dtype, [&]<class T>(T) {
    return make_kernel([=](const KernelArgs& args) {
      LoweredEpilogue::Bound bound;
      if (epilogue != nullptr) epilogue->bind(args, bound);
      const auto rows = static_cast<int64_t>(a_offsets.size()) * m;
      parallel_ranges(args.pool, rows, static_cast<double>(k * n), [&](int64_t begin, int64_t end) {
        for (int64_t r = begin; r < end; ++r) {
          const auto item = static_cast<size_t>(r / m);
          const T* from = input<T>(args, 0) + a_offsets[item] + r % m * (transpose_a ? 1 : k);
          multiply_row(from, transpose_a ? m : 1, input<T>(args, 1) + b_offsets[item], k, n, transpose_b,
                       output<T>(args) + r * n);
          finish_row(epilogue.get(), bound.raw, output<T>(args) + r * n, r, n);
        }
      });
      return Status::ok_status();
    });
  });
}

// --- convolutions ---

Support supports_conv(const KernelRequest& request) {
  if (Support s = needs_plain_type(request); !s.ok) return s;
  return epilogue_support(request, request.node->get<ir::ConvAttrs>().epilogue, 2);
}

struct ConvPlan {
  Windows w;
  int64_t c_in = 1, c_out = 1, group_in = 1, group_out = 1;

  std::array<int64_t, 3> in() const { return {w.dim[0].in, w.dim[1].in, w.dim[2].in}; }
  std::array<int64_t, 3> out() const { return {w.dim[0].out, w.dim[1].out, w.dim[2].out}; }
};

// `wide` and `strided`: the dims of the image that windows move over and of their places.
template <class Attrs>
ConvPlan conv_plan(const KernelRequest& request, const Attrs& attrs, const ir::Dims& wide, const ir::Dims& strided) {
  ConvPlan plan;
  plan.w = reference::make_windows(wide, strided, request.inputs[1].dims, attrs.strides, attrs.dilations, attrs.padding,
                                   attrs.explicit_pads);
  plan.c_in = request.inputs[0].dims.back();
  plan.c_out = request.outputs[0].dims.back();
  return plan;
}

template <class T>
void conv_position(const ConvPlan& plan, const T* image, const T* weights, const int64_t (&o)[3], T* out) {
  using A = Accumulator<T>;
  const Windows& w = plan.w;
  std::fill_n(out, plan.c_out, T(0));
  int64_t k[3];
  for (k[0] = 0; k[0] < w.dim[0].size; ++k[0]) {
    for (k[1] = 0; k[1] < w.dim[1].size; ++k[1]) {
      for (k[2] = 0; k[2] < w.dim[2].size; ++k[2]) {
        int64_t at = 0, tap = 0;
        bool inside = true;
        for (int i = 0; i < 3; ++i) {
          const int64_t p = o[i] * w.dim[i].stride + k[i] * w.dim[i].dilation - w.dim[i].pad_before;
          inside = inside && p >= 0 && p < w.dim[i].in;
          at = at * w.dim[i].in + p;
          tap = tap * w.dim[i].size + k[i];
        }
        if (!inside) continue;
        const T* x = image + at * plan.c_in;
        for (int64_t ci = 0; ci < plan.c_in; ++ci) {
          const int64_t group = ci / plan.group_in;
          const A factor = static_cast<A>(x[ci]);
          const T* row = weights + (tap * plan.group_in + ci % plan.group_in) * plan.c_out + group * plan.group_out;
          T* to = out + group * plan.group_out;
          for (int64_t co = 0; co < plan.group_out; ++co) {
            to[co] = static_cast<T>(static_cast<A>(to[co]) + factor * static_cast<A>(row[co]));
          }
        }
      }
    }
  }
}

// A kernel that finds each output position by `compute(plan, image, weights, position, out)`. Dims are (depth, height,
// width) of the output and of an image.
template <class Attrs, class Compute>
Result<std::unique_ptr<Kernel>> positions_kernel(const KernelRequest& request, const ConvPlan& plan, const Attrs& attrs,
                                                 const std::array<int64_t, 3>& in, const std::array<int64_t, 3>& out,
                                                 size_t first_operand, Compute compute) {
  const int64_t positions = request.outputs[0].element_count() == 0 ? 0 : out[0] * out[1] * out[2];
  const int64_t image = in[0] * in[1] * in[2] * plan.c_in;
  const double work = static_cast<double>(product(request.inputs[1].dims));
  const auto epilogue = lower_epilogue(request, attrs.epilogue, first_operand);
  return with_plain_type(request.outputs[0].dtype, [&]<class T>(T) {
    return make_kernel([=](const KernelArgs& args) {
      LoweredEpilogue::Bound bound;
      if (epilogue != nullptr) epilogue->bind(args, bound);
      parallel_ranges(args.pool, plan.w.batch * positions, work, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          const int64_t p = i % positions;
          const int64_t at[3] = {p / out[2] / out[1], p / out[2] % out[1], p % out[2]};
          T* to = output<T>(args) + i * plan.c_out;
          compute(plan, input<T>(args, 0) + i / positions * image, input<T>(args, 1), at, to);
          finish_row(epilogue.get(), bound.raw, to, i, plan.c_out);
        }
      });
      return Status::ok_status();
    });
  });
}

Result<std::unique_ptr<Kernel>> create_conv(const KernelRequest& request, PackCache&) {
  const auto& attrs = request.node->get<ir::ConvAttrs>();
  ConvPlan plan = conv_plan(request, attrs, request.inputs[0].dims, request.outputs[0].dims);
  plan.group_in = std::max<int64_t>(1, plan.c_in / attrs.groups);
  plan.group_out = plan.c_out / attrs.groups;
  return positions_kernel(request, plan, attrs, plan.in(), plan.out(), 2,
                          [](const auto&... args) { conv_position(args...); });
}

// --- transposed convolutions: each output position gathers what the taps that reach it carry ---

Support supports_conv_transpose(const KernelRequest& request) {
  if (Support s = needs_plain_type(request); !s.ok) return s;
  return epilogue_support(request, request.node->get<ir::ConvTransposeAttrs>().epilogue, 3);
}

template <class T>
void transpose_position(const ConvPlan& plan, const T* image, const T* weights, const int64_t (&at)[3], T* out) {
  using A = Accumulator<T>;
  const Windows& w = plan.w;  // of the forward convolution, which reads what this one writes
  std::fill_n(out, plan.c_out, T(0));
  int64_t k[3];
  for (k[0] = 0; k[0] < w.dim[0].size; ++k[0]) {
    for (k[1] = 0; k[1] < w.dim[1].size; ++k[1]) {
      for (k[2] = 0; k[2] < w.dim[2].size; ++k[2]) {
        int64_t from = 0, tap = 0;
        bool meets = true;
        for (int i = 0; i < 3; ++i) {
          const int64_t scaled = at[i] + w.dim[i].pad_before - k[i] * w.dim[i].dilation;
          meets = meets && scaled >= 0 && scaled % w.dim[i].stride == 0 && scaled / w.dim[i].stride < w.dim[i].out;
          from = from * w.dim[i].out + scaled / w.dim[i].stride;
          tap = tap * w.dim[i].size + k[i];
        }
        if (!meets) continue;
        const T* x = image + from * plan.c_in;
        for (int64_t co = 0; co < plan.c_out; ++co) {
          const T* row = weights + (tap * plan.c_out + co) * plan.c_in;
          A sum = 0;
          for (int64_t ci = 0; ci < plan.c_in; ++ci) sum += static_cast<A>(x[ci]) * static_cast<A>(row[ci]);
          out[co] = static_cast<T>(static_cast<A>(out[co]) + sum);
        }
      }
    }
  }
}

Result<std::unique_ptr<Kernel>> create_conv_transpose(const KernelRequest& request, PackCache&) {
  const auto& attrs = request.node->get<ir::ConvTransposeAttrs>();
  const ConvPlan plan = conv_plan(request, attrs, request.outputs[0].dims, request.inputs[0].dims);
  return positions_kernel(request, plan, attrs, plan.out(), plan.in(), 3,
                          [](const auto&... args) { transpose_position(args...); });
}

// --- pooling ---

Support supports_typed_pool(const KernelRequest& request) { return needs_plain_type(request); }

template <class T>
void pool_position(const Windows& w, ir::PoolKind kind, int64_t channels, const T* image, const int64_t (&o)[3],
                   T* out) {
  const bool max = kind == ir::PoolKind::kMax;
  constexpr bool kReal = std::is_floating_point_v<T>;
  const T least = kReal ? -std::numeric_limits<T>::infinity() : std::numeric_limits<T>::lowest();
  std::fill_n(out, channels, max ? least : T(0));
  int64_t first[3], last[3], count = 0;
  for (int i = 0; i < 3; ++i) {
    const int64_t start = o[i] * w.dim[i].stride - w.dim[i].pad_before;
    first[i] = std::max<int64_t>(0, start);
    last[i] = std::min(w.dim[i].in, start + w.dim[i].size);
  }
  for (int64_t z = first[0]; z < last[0]; ++z) {
    for (int64_t y = first[1]; y < last[1]; ++y) {
      for (int64_t x = first[2]; x < last[2]; ++x, ++count) {
        const T* from = image + ((z * w.dim[1].in + y) * w.dim[2].in + x) * channels;
        if (max) {
          for (int64_t c = 0; c < channels; ++c) out[c] = from[c] > out[c] || from[c] != from[c] ? from[c] : out[c];
        } else {
          for (int64_t c = 0; c < channels; ++c) out[c] = static_cast<T>(out[c] + from[c]);
        }
      }
    }
  }
  if (max || count == 0) return;
  for (int64_t c = 0; c < channels; ++c) out[c] = static_cast<T>(out[c] / static_cast<T>(count));
}

Result<std::unique_ptr<Kernel>> create_typed_pool(const KernelRequest& request, PackCache&) {
  const auto& attrs = request.node->get<ir::PoolAttrs>();
  const Windows w = reference::make_windows(request.inputs[0].dims, request.outputs[0].dims, attrs.window,
                                            attrs.strides, {}, attrs.padding, attrs.explicit_pads);
  const int64_t channels = request.inputs[0].dims.back();
  const ir::PoolKind kind = attrs.kind;
  const int64_t positions = request.outputs[0].element_count() == 0 ? 0 : w.dim[0].out * w.dim[1].out * w.dim[2].out;
  const int64_t image = w.dim[0].in * w.dim[1].in * w.dim[2].in * channels;
  const double work = static_cast<double>(channels * product(attrs.window));
  return with_plain_type(request.outputs[0].dtype, [&]<class T>(T) {
    return make_kernel([=](const KernelArgs& args) {
      parallel_ranges(args.pool, w.batch * positions, work, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          const int64_t p = i % positions, columns = w.dim[2].out, rows = w.dim[1].out;
          const int64_t o[3] = {p / columns / rows, p / columns % rows, p % columns};
          pool_position(w, kind, channels, input<T>(args, 0) + i / positions * image, o,
                        output<T>(args) + i * channels);
        }
      });
      return Status::ok_status();
    });
  });
}

// Starts at once, then takes product by product: the fastest for matrices of a few elements.
double typed_matmul_us(const KernelRequest& request) {
  const ir::Dims& a = request.inputs[0].dims;
  const auto k = static_cast<double>(request.node->get<ir::MatMulAttrs>().transpose_a ? a[a.size() - 2] : a.back());
  return 0.6 + 2e-3 * k * static_cast<double>(request.outputs[0].element_count());
}

constexpr KernelEntry kTypedRows[] = {
    {"cpu.matmul.typed", ir::Op::kMatMul, supports_matmul, typed_matmul_us, create_matmul},
    {"cpu.conv.typed", ir::Op::kConv, supports_conv, nullptr, create_conv},
    {"cpu.conv_transpose.typed", ir::Op::kConvTranspose, supports_conv_transpose, nullptr, create_conv_transpose},
    {"cpu.pool.typed", ir::Op::kPool, supports_typed_pool, nullptr, create_typed_pool, nullptr, any_rows},
};

}  // namespace

std::span<const KernelEntry> typed_rows() { return kTypedRows; }

}  // namespace blade::backends::cpu
