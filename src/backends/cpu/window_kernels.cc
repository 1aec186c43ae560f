// Ops over sliding windows beside convolution and pooling: patches, morphological dilation, max pooling with positions;
// and crops of images, whose windows are boxes.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "backends/cpu/kernel_families.h"
#include "backends/cpu/kernel_support.h"
#include "backends/cpu/row_functions.h"
#include "backends/cpu/typed_dispatch.h"
#include "backends/reference/common.h"

namespace blade::backends::cpu {
namespace {

using reference::Windows;

struct WindowPlan {
  Windows w;
  int64_t channels = 1, positions = 0, image = 0, taps = 1;  // positions of one image; its elements; of a window

  WindowPlan(const KernelRequest& request, std::span<const int64_t> window, const std::vector<int64_t>& strides,
             const std::vector<int64_t>& dilations, ir::Padding padding, const std::vector<int64_t>& pads)
      : w(reference::make_windows(request.inputs[0].dims, request.outputs[0].dims, window, strides, dilations, padding,
                                  pads)) {
    channels = request.inputs[0].dims.back();
    positions = request.outputs[0].element_count() == 0 ? 0 : w.dim[0].out * w.dim[1].out * w.dim[2].out;
    image = w.dim[0].in * w.dim[1].in * w.dim[2].in * channels;
    taps = w.dim[0].size * w.dim[1].size * w.dim[2].size;
  }

  // Calls fn(tap, position in the image, or -1 outside it) for all taps of output position p.
  template <class Fn>
  void for_each_tap(int64_t p, Fn&& fn) const {
    const int64_t o[3] = {p / w.dim[2].out / w.dim[1].out, p / w.dim[2].out % w.dim[1].out, p % w.dim[2].out};
    int64_t k[3], tap = 0;
    for (k[0] = 0; k[0] < w.dim[0].size; ++k[0]) {
      for (k[1] = 0; k[1] < w.dim[1].size; ++k[1]) {
        for (k[2] = 0; k[2] < w.dim[2].size; ++k[2], ++tap) {
          int64_t at = 0;
          bool inside = true;
          for (int i = 0; i < 3; ++i) {
            const int64_t x = o[i] * w.dim[i].stride + k[i] * w.dim[i].dilation - w.dim[i].pad_before;
            inside = inside && x >= 0 && x < w.dim[i].in;
            at = at * w.dim[i].in + x;
          }
          fn(tap, inside ? at : int64_t{-1});
        }
      }
    }
  }

  // Calls fn(first tap, position in the image, or -1 outside it, taps) for runs of taps that are neighbours there, too.
  template <class Fn>
  void for_each_run(int64_t p, Fn&& fn) const {
    if (w.dim[2].dilation != 1) return for_each_tap(p, [&](int64_t tap, int64_t at) { fn(tap, at, int64_t{1}); });
    const int64_t o[2] = {p / w.dim[2].out / w.dim[1].out, p / w.dim[2].out % w.dim[1].out};
    const int64_t size = w.dim[2].size, x = p % w.dim[2].out * w.dim[2].stride - w.dim[2].pad_before;
    const int64_t begin = std::clamp<int64_t>(-x, 0, size), end = std::clamp(w.dim[2].in - x, begin, size);
    int64_t k[2], tap = 0;
    for (k[0] = 0; k[0] < w.dim[0].size; ++k[0]) {
      for (k[1] = 0; k[1] < w.dim[1].size; ++k[1], tap += size) {
        int64_t row = 0;
        bool inside = end > begin;
        for (int i = 0; i < 2; ++i) {
          const int64_t y = o[i] * w.dim[i].stride + k[i] * w.dim[i].dilation - w.dim[i].pad_before;
          inside = inside && y >= 0 && y < w.dim[i].in;
          row = row * w.dim[i].in + y;
        }
        if (!inside) {
          fn(tap, int64_t{-1}, size);
          continue;
        }
        if (begin > 0) fn(tap, int64_t{-1}, begin);
        fn(tap + begin, row * w.dim[2].in + x + begin, end - begin);
        if (end < size) fn(tap + end, int64_t{-1}, size - end);
      }
    }
  }

  // Calls fn(image, output position within it, output position) for all positions, in parallel.
  template <class Fn>
  void run(ThreadPool* pool, Fn&& fn) const {
    parallel_ranges(pool, w.batch * positions, static_cast<double>(taps * channels), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) fn(i / positions, i % positions, i);
    });
  }
};

Result<std::unique_ptr<Kernel>> create_patches(const KernelRequest& request, PackCache&) {
  const auto& attrs = request.node->get<ir::ExtractPatchesAttrs>();
  const WindowPlan plan(request, attrs.window, attrs.strides, attrs.dilations, attrs.padding, {});
  const size_t size = ir::dtype_size(request.outputs[0].dtype), pixel = static_cast<size_t>(plan.channels) * size;
  return make_kernel([plan, size, pixel](const KernelArgs& args) {
    plan.run(args.pool, [&](int64_t n, int64_t p, int64_t i) {
      const std::byte* image = input(args, 0) + static_cast<size_t>(n * plan.image) * size;
      std::byte* to = output(args) + static_cast<size_t>(i * plan.taps) * pixel;
      plan.for_each_run(p, [&](int64_t tap, int64_t at, int64_t taps) {
        std::byte* slot = to + static_cast<size_t>(tap) * pixel;
        const size_t bytes = static_cast<size_t>(taps) * pixel;
        if (at < 0) {
          std::memset(slot, 0, bytes);
        } else {
          std::memcpy(slot, image + static_cast<size_t>(at) * pixel, bytes);
        }
      });
    });
    return Status::ok_status();
  });
}

Result<std::unique_ptr<Kernel>> create_dilation(const KernelRequest& request, PackCache&) {
  const auto& attrs = request.node->get<ir::DilationAttrs>();
  const ir::Dims& filter = request.inputs[1].dims;
  const WindowPlan plan(request, std::span(filter).first(2), attrs.strides, attrs.dilations, attrs.padding, {});
  return with_plain_type(request.outputs[0].dtype, [&]<class T>(T) {
    return make_kernel([plan](const KernelArgs& args) {
      plan.run(args.pool, [&](int64_t n, int64_t p, int64_t i) {
        const T *image = input<T>(args, 0) + n * plan.image, *taps = input<T>(args, 1);
        T* to = output<T>(args) + i * plan.channels;
        std::fill_n(to, plan.channels, std::numeric_limits<T>::lowest());
        plan.for_each_tap(p, [&](int64_t tap, int64_t at) {
          if (at < 0) return;
          const T *x = image + at * plan.channels, *f = taps + tap * plan.channels;
          for (int64_t c = 0; c < plan.channels; ++c) {
            using A = Accumulator<T>;
            to[c] = std::max(to[c], static_cast<T>(static_cast<A>(x[c]) + static_cast<A>(f[c])));
          }
        });
      });
      return Status::ok_status();
    });
  });
}

Support supports_argmax(const KernelRequest& request) {
  const ir::DType index = request.outputs[1].dtype;
  if (index != ir::DType::kInt32 && index != ir::DType::kInt64)
    return Support::no("indices are neither int32 nor int64");
  return needs_plain_type(request);
}

template <class T, class I>
void pool_argmax(const WindowPlan& plan, const KernelArgs& args, bool include_batch) {
  plan.run(args.pool, [&](int64_t n, int64_t p, int64_t i) {
    const T* image = input<T>(args, 0) + n * plan.image;
    T* to = output<T>(args) + i * plan.channels;
    I* where = output<I>(args, 1) + i * plan.channels;
    std::fill_n(where, plan.channels, I(-1));
    std::fill_n(to, plan.channels, T(0));
    const int64_t first = include_batch ? n * plan.image : 0;
    plan.for_each_tap(p, [&](int64_t, int64_t at) {
      if (at < 0) return;
      const T* x = image + at * plan.channels;
      for (int64_t c = 0; c < plan.channels; ++c) {
        if (where[c] != I(-1) && !(x[c] > to[c])) continue;
        to[c] = x[c];
        where[c] = static_cast<I>(first + at * plan.channels + c);
      }
    });
  });
}

Result<std::unique_ptr<Kernel>> create_argmax(const KernelRequest& request, PackCache&) {
  const auto& attrs = request.node->get<ir::MaxPoolArgmaxAttrs>();
  const WindowPlan plan(request, attrs.window, attrs.strides, {}, attrs.padding, attrs.explicit_pads);
  const bool include_batch = attrs.include_batch, wide = request.outputs[1].dtype == ir::DType::kInt64;
  return with_plain_type(request.outputs[0].dtype, [&]<class T>(T) {
    return make_kernel([=](const KernelArgs& args) {
      if (wide) {
        pool_argmax<T, int64_t>(plan, args, include_batch);
      } else {
        pool_argmax<T, int32_t>(plan, args, include_batch);
      }
      return Status::ok_status();
    });
  });
}

// --- crops ---

Support supports_crop(const KernelRequest& request) {
  if (request.inputs[2].dtype != ir::DType::kInt32) return Support::no("box indices are not int32");
  return needs_float32(request);
}

struct CropPlan {
  ir::Dims image, out;
  ir::CropAndResizeAttrs attrs;
};

// Where crop position i samples, in float as TensorFlow computes it.
float crop_position(float from, float to, int64_t in, int64_t crop, int64_t i) {
  const auto reach = static_cast<float>(in - 1);
  if (crop <= 1) return 0.5f * (from + to) * reach;
  return from * reach + static_cast<float>(i) * ((to - from) * reach / static_cast<float>(crop - 1));
}

void crop_pixel(const CropPlan& plan, const float* image, float y, float x, float* to) {
  const int64_t channels = plan.image[3], width = plan.image[2];
  const auto at = [&](float row, float column) {
    return image + (static_cast<int64_t>(row) * width + static_cast<int64_t>(column)) * channels;
  };
  if (plan.attrs.nearest) {
    std::copy_n(at(std::round(y), std::round(x)), channels, to);
    return;
  }
  const float top = std::floor(y), bottom = std::ceil(y), left = std::floor(x), right = std::ceil(x);
  const float fy = y - top, fx = x - left;
  const float *tl = at(top, left), *tr = at(top, right), *bl = at(bottom, left), *br = at(bottom, right);
  for (int64_t c = 0; c < channels; ++c) {
    const float above = tl[c] + (tr[c] - tl[c]) * fx, below = bl[c] + (br[c] - bl[c]) * fx;
    to[c] = above + (below - above) * fy;
  }
}

void crop_row(const CropPlan& plan, const float* image, const float* box, int64_t row, float* to) {
  const int64_t channels = plan.image[3];
  const float y = crop_position(box[0], box[2], plan.image[1], plan.out[1], row);
  const bool row_inside = y >= 0 && y <= static_cast<float>(plan.image[1] - 1);
  for (int64_t i = 0; i < plan.out[2]; ++i, to += channels) {
    const float x = crop_position(box[1], box[3], plan.image[2], plan.out[2], i);
    if (row_inside && x >= 0 && x <= static_cast<float>(plan.image[2] - 1)) {
      crop_pixel(plan, image, y, x, to);
    } else {
      std::fill_n(to, channels, plan.attrs.extrapolation);
    }
  }
}

Result<std::unique_ptr<Kernel>> create_crop(const KernelRequest& request, PackCache&) {
  const CropPlan plan{request.inputs[0].dims, request.outputs[0].dims, request.node->get<ir::CropAndResizeAttrs>()};
  const std::string label = node_label(request);
  const int64_t image = product(plan.image, 1, 4);
  return make_kernel([=](const KernelArgs& args) {
    const auto* from = input<int32_t>(args, 2);
    for (int64_t b = 0; b < plan.out[0]; ++b) {
      if (from[b] >= 0 && from[b] < plan.image[0]) continue;
      return invalid_argument(label + "box index " + std::to_string(from[b]) + " is not in [0, " +
                              std::to_string(plan.image[0]) + ").");
    }
    const int64_t rows = plan.out[1], length = plan.out[2] * plan.out[3];
    parallel_ranges(args.pool, plan.out[0] * rows, static_cast<double>(6 * length), [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        crop_row(plan, input<float>(args, 0) + from[r / rows] * image, input<float>(args, 1) + r / rows * 4, r % rows,
                 output<float>(args) + r * length);
      }
    });
    return Status::ok_status();
  });
}

constexpr KernelEntry kWindowRows[] = {
    {"cpu.extract_patches.copy", ir::Op::kExtractPatches, yes, nullptr, create_patches},
    {"cpu.dilation.typed", ir::Op::kDilation, needs_plain_type, nullptr, create_dilation},
    {"cpu.max_pool_argmax.typed", ir::Op::kMaxPoolArgmax, supports_argmax, nullptr, create_argmax},
    {"cpu.crop_and_resize.rows_f32", ir::Op::kCropAndResize, supports_crop, nullptr, create_crop},
};

}  // namespace

std::span<const KernelEntry> window_rows() { return kWindowRows; }

}  // namespace blade::backends::cpu
