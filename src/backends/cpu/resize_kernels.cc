// Nearest, bilinear and bicubic resizing of [n, h, w, c] images.
#include <cstring>

#include "backends/cpu/kernel_families.h"
#include "backends/cpu/kernel_support.h"
#include "backends/cpu/row_functions.h"
#include "backends/reference/resize_weights.h"

namespace blade::backends::cpu {
namespace {

constexpr int kMaxAxisTaps = 16;  // along one axis

template <class In, class Out = float>
Support supports_resize(const KernelRequest& request) {
  if (request.inputs[0].element_count() == 0) return Support::no("has images without pixels");
  const bool nearest = request.node->get<ir::ResizeAttrs>().kind == ir::ResizeKind::kNearest;
  if (std::is_same_v<In, float> && nearest && request.inputs[0].dtype == request.outputs[0].dtype)
    return Support::yes();
  if (request.node->get<ir::ResizeAttrs>().kind == ir::ResizeKind::kArea) {
    for (size_t d : {1, 2}) {
      const int64_t in = request.inputs[0].dims[d], out = std::max<int64_t>(request.outputs[0].dims[d], 1);
      if (in / out + 2 > kMaxAxisTaps)
        return Support::no("averages over more than " + std::to_string(kMaxAxisTaps) + " rows");
    }
  }
  const ir::DType in = request.inputs[0].dtype, out = request.outputs[0].dtype;
  if (in == kElement<In> && out == kElement<Out>) return Support::yes();
  return Support::no(std::string("turns ") + ir::dtype_name(in) + " into " + ir::dtype_name(out) + ", needs " +
                     ir::dtype_name(kElement<In>) + " into " + ir::dtype_name(kElement<Out>));
}

double resize_us(const KernelRequest& request) {
  constexpr double kElementsPerUs = 2000;
  return 0.5 + static_cast<double>(request.outputs[0].element_count()) / kElementsPerUs;
}

struct ResizePlan {
  ir::Dims in, out;
  ResizeAxis rows, columns;
};

void resize_nearest_row(const ResizePlan& plan, const std::byte* in, std::byte* out, int64_t row, size_t pixel) {
  const int64_t n = row / plan.out[1], y = row % plan.out[1];
  const int64_t from = (n * plan.in[1] + plan.rows.positions[static_cast<size_t>(y)]) * plan.in[2];
  std::byte* to = out + static_cast<size_t>(row * plan.out[2]) * pixel;
  for (int64_t x = 0; x < plan.out[2]; ++x, to += pixel) {
    std::memcpy(to, in + static_cast<size_t>(from + plan.columns.positions[static_cast<size_t>(x)]) * pixel, pixel);
  }
}

// Rows first, over long stretches, then pixels along the result.
constexpr int64_t kResizeBufferFloats = 8192;
constexpr int64_t kMaxRows = 4;  // of bicubic interpolation; averages over areas may take more

template <class In, class Out>
void resize_weighted_row(const ResizePlan& plan, const In* in, Out* out, int64_t row) {
  alignas(64) float buffer[kResizeBufferFloats];
  const int taps = plan.rows.taps, across = plan.columns.taps;
  const int64_t n = row / plan.out[1], y = row % plan.out[1], channels = plan.in[3];
  Out* to = out + row * plan.out[2] * channels;
  const In* pointers[kMaxAxisTaps * kMaxAxisTaps];
  float weights[kMaxAxisTaps * kMaxAxisTaps];
  for (int64_t x = 0; x < plan.out[2]; ++x) {
    for (int r = 0; r < taps; ++r) {
      const auto from_row = static_cast<size_t>(y * taps + r);
      const In* line = in + (n * plan.in[1] + plan.rows.positions[from_row]) * plan.in[2] * channels;
      for (int c = 0; c < across; ++c) {
        const auto from_column = static_cast<size_t>(x * across + c);
        pointers[r * across + c] = line + plan.columns.positions[from_column] * channels;
        weights[r * across + c] = plan.rows.weights[from_row] * plan.columns.weights[from_column];
      }
    }
    for (int64_t some = 0, c = 0; c < channels; c += some, to += some) {
      some = std::min(kResizeBufferFloats, channels - c);
      store_folded(to, some, buffer,
                   [&](float* result) { fold_weighted(pointers, weights, taps * across, result, some); });
      for (int k = 0; k < taps * across; ++k) pointers[k] += some;
    }
  }
}

template <class In, class Out>
void resize_row_in_two_steps(const ResizePlan& plan, const In* in, Out* out, int64_t row) {
  const int64_t n = row / plan.out[1], y = row % plan.out[1], floats = plan.in[2] * plan.in[3];
  const In* pointers[kMaxRows];
  const auto first = static_cast<size_t>(y * plan.rows.taps);
  for (int r = 0; r < plan.rows.taps; ++r)
    pointers[r] = in + (n * plan.in[1] + plan.rows.positions[first + static_cast<size_t>(r)]) * floats;
  alignas(64) float buffer[kResizeBufferFloats], results[kResizeBufferFloats];
  fold_weighted(pointers, plan.rows.weights.data() + first, plan.rows.taps, buffer, floats);
  const int64_t channels = plan.in[3], taps = plan.columns.taps;
  const int64_t at_once = std::is_same_v<Out, float> ? plan.out[2] : kResizeBufferFloats / channels;
  Out* to = out + row * plan.out[2] * channels;
  for (int64_t x = 0; x < plan.out[2]; x += at_once) {
    const int64_t pixels = std::min(at_once, plan.out[2] - x);
    store_folded(to + x * channels, pixels * channels, results, [&](float* result) {
      row_functions().pixels_weighted(buffer, plan.columns.positions.data() + x * taps,
                                      plan.columns.weights.data() + x * taps, taps, result, pixels, channels);
    });
  }
}

template <class In, class Out = float>
Result<std::unique_ptr<Kernel>> create_resize(const KernelRequest& request, PackCache&) {
  const auto& attrs = request.node->get<ir::ResizeAttrs>();
  ResizePlan plan;
  plan.in = request.inputs[0].dims;
  plan.out = request.outputs[0].dims;
  const int64_t rows = request.outputs[0].element_count() == 0 ? 0 : plan.out[0] * plan.out[1];
  if (rows != 0) {
    plan.rows = resize_axis(attrs, plan.in[1], plan.out[1]);
    plan.columns = resize_axis(attrs, plan.in[2], plan.out[2]);
  }
  const double row_work = static_cast<double>(plan.out[2] * (plan.out[3] + 8));
  if (attrs.kind == ir::ResizeKind::kNearest) {
    const size_t pixel = static_cast<size_t>(plan.in[3]) * ir::dtype_size(request.inputs[0].dtype);
    return make_kernel([=](const KernelArgs& args) {
      parallel_ranges(args.pool, rows, row_work, [&](int64_t begin, int64_t end) {
        for (int64_t row = begin; row < end; ++row) resize_nearest_row(plan, input(args, 0), output(args), row, pixel);
      });
      return Status::ok_status();
    });
  }
  const double work = row_work * plan.rows.taps;
  const bool in_two_steps = plan.in[2] * plan.in[3] <= kResizeBufferFloats && plan.rows.taps <= kMaxRows;
  const auto function = in_two_steps ? resize_row_in_two_steps<In, Out> : resize_weighted_row<In, Out>;
  return make_kernel([=](const KernelArgs& args) {
    parallel_ranges(args.pool, rows, work, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) function(plan, input<In>(args, 0), output<Out>(args), row);
    });
    return Status::ok_status();
  });
}

// --- the cast of the result to bfloat16 included ---

Support supports_resize_to_bf16(const KernelRequest& request) {
  if (request.producer == nullptr || request.producer->node->op != ir::Op::kResize)
    return Support::no("reads no resize");
  KernelRequest both = *request.producer;
  both.outputs = request.outputs;
  return supports_resize<BFloat16, BFloat16>(both);
}

double resize_to_bf16_us(const KernelRequest& request) { return resize_us(*request.producer); }

Result<std::unique_ptr<Kernel>> create_resize_to_bf16(const KernelRequest& request, PackCache& packs) {
  KernelRequest both = *request.producer;
  both.outputs = request.outputs;
  return create_resize<BFloat16, BFloat16>(both, packs);
}

constexpr KernelEntry kResizeRows[] = {
    {"cpu.resize.rows", ir::Op::kResize, supports_resize<float>, resize_us, create_resize<float>},
    {"cpu.resize.rows_bf16", ir::Op::kResize, supports_resize<BFloat16>, resize_us, create_resize<BFloat16>},
};

constexpr KernelEntry kResizeToBf16Rows[] = {
    {"cpu.resize.rows_bf16_to_bf16", ir::Op::kCast, supports_resize_to_bf16, resize_to_bf16_us, create_resize_to_bf16},
};

}  // namespace

std::span<const KernelEntry> resize_rows() { return kResizeRows; }
std::span<const KernelEntry> resize_to_bf16_rows() { return kResizeToBf16Rows; }

}  // namespace blade::backends::cpu
