// ScaleAndTranslate of [n, h, w, c] images: rows are summed first, over long stretches, then pixels along the result.
#include "backends/cpu/kernel_families.h"
#include "backends/cpu/kernel_support.h"
#include "backends/cpu/row_functions.h"
#include "backends/reference/resize_weights.h"

namespace blade::backends::cpu {
namespace {

constexpr int kMaxSampledRows = 256;

struct Placement2d {
  float scale[2], translation[2];
};

Placement2d placement(const KernelRequest& request) {
  Placement2d placed;
  for (size_t i : {0, 1}) {
    placed.scale[i] = request.constants[2]->as<float>()[i];
    placed.translation[i] = request.constants[3]->as<float>()[i];
  }
  return placed;
}

ResizeAxis axis_of(const KernelRequest& request, size_t i) {
  const Placement2d placed = placement(request);
  return sampled_axis(request.node->get<ir::SampleAttrs>(), request.inputs[0].dims[i + 1],
                      request.outputs[0].dims[i + 1], placed.scale[i], placed.translation[i]);
}

Support supports_resample(const KernelRequest& request) {
  if (request.inputs[0].dtype != ir::DType::kFloat32) return Support::no("has images that are not float32");
  if (request.outputs[0].element_count() == 0) return Support::no("is empty");
  if (request.inputs[0].element_count() == 0) return Support::no("has images without pixels");
  for (size_t i : {2, 3}) {
    if (request.constants[i] == nullptr) return Support::no("its scale and translation are not known beforehand");
  }
  const Placement2d placed = placement(request);
  if (!(placed.scale[0] > 0 && placed.scale[1] > 0)) return Support::no("has a scale that is not positive");
  const float reach = 11 / std::min(placed.scale[0], 1.0f);  // of the widest kernel
  const int64_t rows = std::min(request.inputs[0].dims[1], static_cast<int64_t>(std::min(reach, 1e9f)));
  return rows <= kMaxSampledRows ? Support::yes() : Support::no("sums too many rows");
}

Result<std::unique_ptr<Kernel>> create_resample(const KernelRequest& request, PackCache&) {
  const ir::Dims in = request.inputs[0].dims, out = request.outputs[0].dims;
  const ResizeAxis rows = axis_of(request, 0), columns = axis_of(request, 1);
  const int64_t count = out[0] * out[1], channels = in[3], line = in[2] * channels;
  const double row_work = static_cast<double>(line * rows.taps + out[2] * channels * columns.taps);
  const size_t slot = align_up(static_cast<size_t>(line) * sizeof(float), size_t{64});
  return make_kernel(
      [=](const KernelArgs& args) {
        const int64_t worth = static_cast<int64_t>(row_work * static_cast<double>(count)) / kMinWorkPerTask;
        const auto tasks =
            static_cast<int>(std::clamp<int64_t>(worth, 1, std::min(count, int64_t{args.pool->num_threads()} * 4)));
        args.pool->parallel_for(tasks, [&](int task, int slot_index) {
          auto* sums = reinterpret_cast<float*>(args.scratch + static_cast<size_t>(slot_index) * slot);
          const float* pointers[kMaxSampledRows];
          for (int64_t row = count * task / tasks; row < count * (task + 1) / tasks; ++row) {
            const int64_t image = row / out[1], first = row % out[1] * rows.taps;
            for (int r = 0; r < rows.taps; ++r) {
              pointers[r] =
                  input<float>(args, 0) + (image * in[1] + rows.positions[static_cast<size_t>(first + r)]) * line;
            }
            fold_weighted(pointers, rows.weights.data() + first, rows.taps, sums, line);
            row_functions().pixels_weighted(sums, columns.positions.data(), columns.weights.data(), columns.taps,
                                            output<float>(args) + row * out[2] * channels, out[2], channels);
          }
        });
        return Status::ok_status();
      },
      0, slot * static_cast<size_t>(request.num_threads));
}

constexpr KernelEntry kResampleRows[] = {
    {"cpu.scale_and_translate.rows", ir::Op::kScaleAndTranslate, supports_resample, nullptr, create_resample},
};

}  // namespace

std::span<const KernelEntry> resample_rows() { return kResampleRows; }

}  // namespace blade::backends::cpu
