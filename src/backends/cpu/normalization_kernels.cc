// Softmax, batch, layer and local response normalization of float32 over the last axis, row by row.
#include <cmath>

#include "backends/cpu/cast_fusion.h"
#include "backends/cpu/kernel_families.h"
#include "backends/cpu/kernel_support.h"
#include "backends/cpu/matrix/convert.h"
#include "backends/cpu/row_functions.h"

namespace blade::backends::cpu {
namespace {

// Rows of the last dim.
struct Rows {
  int64_t count = 0, length = 0;
};

Rows rows_of(const KernelRequest& request) {
  const ir::Dims& dims = request.inputs[0].dims;
  const int64_t length = dims.empty() ? 1 : dims.back();
  return {length == 0 ? 0 : request.inputs[0].element_count() / length, length};
}

// Calls fn(row of the input, row of the output) for all rows.
template <class Out = float, class Fn>
void for_rows(const KernelArgs& args, const Rows& rows, double work, Fn&& fn) {
  parallel_ranges(args.pool, rows.count, work * static_cast<double>(rows.length), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r)
      fn(input<float>(args, 0) + r * rows.length, output<Out>(args) + r * rows.length);
  });
}

// Rows shorter than a vector: the exponentials of many are taken at once.
constexpr int64_t kShortSoftmax = 12, kSoftmaxBlock = 2048;  // of a row; of a block

void subtract_max(const float* x, float* out, int64_t length) {
  float max = x[0];
  for (int64_t i = 1; i < length; ++i) max = x[i] > max || x[i] != x[i] ? x[i] : max;
  for (int64_t i = 0; i < length; ++i) out[i] = x[i] - max;
}

void softmax_block(const RowFunctions& f, const float* x, float* out, int64_t rows, int64_t length, bool log) {
  float powers[kSoftmaxBlock];
  float* of_block = log ? powers : out;
  for (int64_t r = 0; r < rows; ++r) subtract_max(x + r * length, out + r * length, length);
  f.exp_sum(out, 0, of_block, rows * length);
  for (int64_t r = 0; r < rows; ++r, out += length) {
    const float* row = of_block + r * length;
    float sum = row[0];
    for (int64_t i = 1; i < length; ++i) sum += row[i];
    if (log) {
      const float log_sum = std::log(sum);
      for (int64_t i = 0; i < length; ++i) out[i] -= log_sum;
    } else {
      const float factor = 1 / sum;
      for (int64_t i = 0; i < length; ++i) out[i] *= factor;
    }
  }
}

// Calls fn(input, output, rows) for pieces of rows that together have about a block.
template <class Fn>
Result<std::unique_ptr<Kernel>> make_softmax_by_blocks(const Rows& rows, Fn fn) {
  const int64_t height = kSoftmaxBlock / rows.length, blocks = ceil_div(rows.count, height);
  return make_kernel(
      [=](const KernelArgs& args) {
        parallel_ranges(args.pool, blocks, 10.0 * static_cast<double>(kSoftmaxBlock), [&](int64_t begin, int64_t end) {
          for (int64_t first = begin * height; first < std::min(end * height, rows.count); first += height) {
            const int64_t at = first * rows.length;
            fn(input<float>(args, 0) + at, output<float>(args) + at, std::min(height, rows.count - first));
          }
        });
        return Status::ok_status();
      },
      1);
}

Result<std::unique_ptr<Kernel>> create_softmax(const KernelRequest& request, PackCache&) {
  const Rows rows = rows_of(request);
  const RowFunctions& f = row_functions();
  const bool log = request.node->get<ir::SoftmaxAttrs>().log;
  if (rows.length > 0 && rows.length <= kShortSoftmax) {
    return make_softmax_by_blocks(rows, [&f, log, length = rows.length](const float* x, float* out, int64_t count) {
      softmax_block(f, x, out, count, length, log);
    });
  }
  if (rows.length > 0 && rows.length <= f.softmax_length) {
    return make_softmax_by_blocks(rows, [&f, log, length = rows.length](const float* x, float* out, int64_t count) {
      f.softmax_rows(x, count, length, log, out);
    });
  }
  if (log) {
    // The exponentials go to the row's place in the scratch, because in place they would overwrite x.
    return make_kernel(
        [=, &f](const KernelArgs& args) {
          auto* scratch = reinterpret_cast<float*>(args.scratch);
          parallel_ranges(args.pool, rows.count, 10.0 * static_cast<double>(rows.length),
                          [&](int64_t begin, int64_t end) {
                            for (int64_t r = begin; r < end; ++r) {
                              const float* x = input<float>(args, 0) + r * rows.length;
                              const float max = f.max(x, rows.length);
                              const float sum = f.exp_sum(x, max, scratch + r * rows.length, rows.length);
                              const float log_sum = std::log(sum);
                              float* out = output<float>(args) + r * rows.length;
                              for (int64_t i = 0; i < rows.length; ++i) out[i] = x[i] - max - log_sum;
                            }
                          });
          return Status::ok_status();
        },
        1, static_cast<size_t>(rows.count * rows.length) * sizeof(float));
  }
  return make_kernel(
      [=, &f](const KernelArgs& args) {
        for_rows(args, rows, 10, [&](const float* x, float* out) {
          const float sum = f.exp_sum(x, f.max(x, rows.length), out, rows.length);
          f.affine(out, 1 / sum, 0, out, rows.length);
        });
        return Status::ok_status();
      },
      1);
}

// "no" unless operands 1 to `last` are float32 vectors of the last dim.
Support vectors_f32(const KernelRequest& request, size_t last) {
  if (Support s = needs_float32(request); !s.ok) return s;
  for (size_t i = 1; i <= last; ++i) {
    if (request.inputs[i].dtype != ir::DType::kFloat32 ||
        request.inputs[i].element_count() != rows_of(request).length) {
      return Support::no("operand " + std::to_string(i) + " is not a float32 vector of the last dim");
    }
  }
  return Support::yes();
}
Support supports_layer_norm(const KernelRequest& request) { return vectors_f32(request, 2); }
Support supports_batch_norm(const KernelRequest& request) { return vectors_f32(request, 4); }

// (x - mean) * factor * scale + offset
struct NormalizedRow {
  const RowFunctions& f;
  const float *scale, *offset;
  int64_t length;

  void write(const float* x, float mean, float factor, float* out) const {
    f.normalize(x, mean, factor, scale, offset, out, length);
  }
  void write(const float* x, float mean, float factor, BFloat16* out) const {
    constexpr int64_t kBlock = 256;
    float block[kBlock];
    for (int64_t i = 0; i < length; i += kBlock) {
      const int64_t count = std::min(kBlock, length - i);
      f.normalize(x + i, mean, factor, scale + i, offset + i, block, count);
      narrow(block, out + i, count);
    }
  }
};

template <class Out>
Result<std::unique_ptr<Kernel>> create_layer_norm(const KernelRequest& request, PackCache&) {
  const Rows rows = rows_of(request);
  const float epsilon = request.node->get<ir::LayerNormAttrs>().epsilon;
  const RowFunctions& f = row_functions();
  const bool in_place = sizeof(Out) == sizeof(float);
  return make_kernel(
      [=, &f](const KernelArgs& args) {
        const NormalizedRow row = {f, input<float>(args, 1), input<float>(args, 2), rows.length};
        for_rows<Out>(args, rows, 2, [&](const float* x, Out* out) {
          const auto length = static_cast<float>(rows.length);
          const float mean = f.sum(x, rows.length) / length;
          const float variance = f.sum_squared_deviations(x, mean, rows.length) / length;
          row.write(x, mean, 1 / std::sqrt(variance + epsilon), out);
        });
        return Status::ok_status();
      },
      in_place ? 1 : 0);
}

double layer_norm_us(const KernelRequest& request) {
  constexpr double kBytesPerUs = 20e3;
  return 0.5 + 2 * static_cast<double>(request.inputs[0].bytes()) / kBytesPerUs;
}

Result<std::unique_ptr<Kernel>> create_batch_norm(const KernelRequest& request, PackCache&) {
  const Rows rows = rows_of(request);
  const float epsilon = request.node->get<ir::BatchNormAttrs>().epsilon;
  const RowFunctions& f = row_functions();
  return make_kernel(
      [=, &f](const KernelArgs& args) {
        auto* scale = reinterpret_cast<float*>(args.scratch);
        float* shift = scale + rows.length;
        for (int64_t c = 0; c < rows.length; ++c) {
          scale[c] = input<float>(args, 1)[c] / std::sqrt(input<float>(args, 4)[c] + epsilon);
          shift[c] = input<float>(args, 2)[c] - input<float>(args, 3)[c] * scale[c];
        }
        for_rows(args, rows, 1, [&](const float* x, float* out) { f.affine_rows(x, scale, shift, out, rows.length); });
        return Status::ok_status();
      },
      1, static_cast<size_t>(2 * rows.length) * sizeof(float));
}

Support supports_lrn(const KernelRequest& request) {
  if (request.node->get<ir::LrnAttrs>().depth_radius > kMostLrnRadius) return Support::no("its windows are too wide");
  return needs_float32(request);
}

Result<std::unique_ptr<Kernel>> create_lrn(const KernelRequest& request, PackCache&) {
  const Rows rows = rows_of(request);
  const auto& attrs = request.node->get<ir::LrnAttrs>();
  const LrnRow lrn{attrs.depth_radius, attrs.bias, attrs.alpha, attrs.beta};
  const RowFunctions& f = row_functions();
  return make_kernel([=, &f](const KernelArgs& args) {
    const double work = 2 + static_cast<double>(lrn.radius) / 4;
    for_rows(args, rows, work, [&](const float* x, float* out) { f.lrn(x, lrn, out, rows.length); });
    return Status::ok_status();
  });
}

constexpr KernelEntry kNormalizationRows[] = {
    {"cpu.softmax.rows_f32", ir::Op::kSoftmax, needs_float32, nullptr, create_softmax},
    {"cpu.layer_norm.rows_f32", ir::Op::kLayerNorm, supports_layer_norm, layer_norm_us, create_layer_norm<float>},
    {"cpu.batch_norm.rows_f32", ir::Op::kBatchNorm, supports_batch_norm, nullptr, create_batch_norm},
    {"cpu.lrn.rows_f32", ir::Op::kLrn, supports_lrn, nullptr, create_lrn},
};

constexpr KernelEntry kNormalizationToBf16Rows[] = {
    {"cpu.layer_norm.rows_to_bf16", ir::Op::kCast, supports_to_bf16<ir::Op::kLayerNorm, supports_layer_norm>,
     us_with_cast<layer_norm_us>, create_with_cast<create_layer_norm<BFloat16>>},
};

}  // namespace

std::span<const KernelEntry> normalization_rows() { return kNormalizationRows; }
std::span<const KernelEntry> normalization_to_bf16_rows() { return kNormalizationToBf16Rows; }

}  // namespace blade::backends::cpu
