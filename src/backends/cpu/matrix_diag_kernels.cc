// Diagonals of matrices packed and unpacked, one strided copy a diagonal; any type of 1, 2, 4 or 8 bytes.
#include <algorithm>
#include <cstring>

#include "backends/cpu/kernel_families.h"
#include "backends/cpu/kernel_support.h"
#include "backends/reference/diagonals.h"

namespace blade::backends::cpu {
namespace {

// Calls fn(unsigned type of that size).
template <class Fn>
auto with_size(size_t size, Fn&& fn) {
  switch (size) {
    case 1:
      return fn(uint8_t{});
    case 2:
      return fn(uint16_t{});
    case 4:
      return fn(uint32_t{});
    default:
      return fn(uint64_t{});
  }
}

struct DiagPlan {
  Diagonals band;
  int64_t batch = 0;
};

DiagPlan plan_of(const KernelRequest& request, const ir::Dims& matrix, size_t k) {
  return {Diagonals(constant_ints(request, k), matrix[matrix.size() - 2], matrix.back(),
                    request.node->get<ir::DiagAttrs>()),
          product(matrix, 0, matrix.size() - 2)};
}

// Calls fn(packed element, matrix element, count) for each diagonal; steps are 1 and columns + 1.
template <class Fn>
void for_each_diagonal(const DiagPlan& plan, Fn&& fn) {
  for (int64_t b = 0; b < plan.batch; ++b) {
    for (int64_t d = 0; d < plan.band.count(); ++d) {
      if (plan.band.length(d) == 0) continue;
      const int64_t first = plan.band.first(d);
      fn((b * plan.band.count() + d) * plan.band.longest + first,
         b * plan.band.rows * plan.band.columns + plan.band.position(d, first), plan.band.length(d));
    }
  }
}

Support part_support(const KernelRequest& request) { return needs_constant_ints(request, 1, "k"); }
Support set_support(const KernelRequest& request) { return needs_constant_ints(request, 2, "k"); }

Result<std::unique_ptr<Kernel>> create_part(const KernelRequest& request, PackCache&) {
  const DiagPlan plan = plan_of(request, request.inputs[0].dims, 1);
  const int64_t count = request.outputs[0].element_count();
  return with_size(ir::dtype_size(request.outputs[0].dtype), [&]<class T>(T) {
    return make_kernel([plan, count](const KernelArgs& args) {
      std::fill_n(output<T>(args), count, *input<T>(args, 2));
      for_each_diagonal(plan, [&](int64_t packed, int64_t at, int64_t length) {
        const T* from = input<T>(args, 0) + at;
        for (int64_t i = 0; i < length; ++i) output<T>(args)[packed + i] = from[i * (plan.band.columns + 1)];
      });
      return Status::ok_status();
    });
  });
}

template <class T>
void place(const DiagPlan& plan, const T* diagonals, T* out) {
  for_each_diagonal(plan, [&](int64_t packed, int64_t at, int64_t length) {
    for (int64_t i = 0; i < length; ++i) out[at + i * (plan.band.columns + 1)] = diagonals[packed + i];
  });
}

Result<std::unique_ptr<Kernel>> create_diag(const KernelRequest& request, PackCache&) {
  const DiagPlan plan = plan_of(request, request.outputs[0].dims, 1);
  const int64_t count = request.outputs[0].element_count();
  return with_size(ir::dtype_size(request.outputs[0].dtype), [&]<class T>(T) {
    return make_kernel([plan, count](const KernelArgs& args) {
      std::fill_n(output<T>(args), count, *input<T>(args, 4));
      place(plan, input<T>(args, 0), output<T>(args));
      return Status::ok_status();
    });
  });
}

Result<std::unique_ptr<Kernel>> create_set(const KernelRequest& request, PackCache&) {
  const DiagPlan plan = plan_of(request, request.outputs[0].dims, 2);
  const int64_t count = request.outputs[0].element_count();
  return with_size(ir::dtype_size(request.outputs[0].dtype), [&]<class T>(T) {
    return make_kernel(
        [plan, count](const KernelArgs& args) {
          if (args.inputs[0] != args.outputs[0] && count > 0) {
            std::memcpy(args.outputs[0], args.inputs[0], static_cast<size_t>(count) * sizeof(T));
          }
          place(plan, input<T>(args, 1), output<T>(args));
          return Status::ok_status();
        },
        1);
  });
}

constexpr KernelEntry kMatrixDiagRows[] = {
    {"cpu.matrix_diag.copy", ir::Op::kMatrixDiag, part_support, nullptr, create_diag},
    {"cpu.matrix_diag_part.copy", ir::Op::kMatrixDiagPart, part_support, nullptr, create_part},
    {"cpu.matrix_set_diag.copy", ir::Op::kMatrixSetDiag, set_support, nullptr, create_set},
};

}  // namespace

std::span<const KernelEntry> matrix_diag_rows() { return kMatrixDiagRows; }

}  // namespace blade::backends::cpu
