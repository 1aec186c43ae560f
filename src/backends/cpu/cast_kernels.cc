// Conversions between all element types.
#include "backends/cpu/kernel_families.h"
#include "backends/cpu/kernel_support.h"
#include "backends/cpu/matrix/convert.h"
#include "backends/reference/common.h"

namespace blade::backends::cpu {
namespace {

using CastFunction = void (*)(const void* from, void* to, int64_t begin, int64_t end, ir::DType dtype);

// float and the wide types convert directly: double rounding must not happen, and range checks depend on the target.
template <class From, class To>
void cast_range(const void* from, void* to, int64_t begin, int64_t end, ir::DType dtype) {
  const From* in = static_cast<const From*>(from);
  To* out = static_cast<To*>(to);
  constexpr bool kIntegers = std::is_integral_v<From> && std::is_integral_v<To>;
  constexpr bool kToFloat = std::is_arithmetic_v<From> && std::is_floating_point_v<To>;
  if (dtype != ir::DType::kBool) {
    if constexpr (kIntegers || kToFloat) {
      for (int64_t i = begin; i < end; ++i) out[i] = static_cast<To>(in[i]);
      return;
    }
    if constexpr (std::is_same_v<From, float> && std::is_same_v<To, int32_t>) {
      for (int64_t i = begin; i < end; ++i) {
        const bool inside = in[i] >= -2147483648.0f && in[i] < 2147483648.0f;
        out[i] = inside ? static_cast<int32_t>(in[i]) : std::numeric_limits<int32_t>::min();
      }
      return;
    }
  }
  using Wide = std::conditional_t<std::is_integral_v<From>,
                                  std::conditional_t<std::is_signed_v<From>, int64_t, uint64_t>, double>;
  for (int64_t i = begin; i < end; ++i) {
    out[i] = reference::narrow<To, Wide>(reference::widen<From, Wide>(in[i]), dtype);
  }
}

// Between float32 and the 16-bit floats: what networks in mixed precision are full of.
void widen_range(const void* from, void* to, int64_t begin, int64_t end, ir::DType) {
  widen(static_cast<const BFloat16*>(from) + begin, static_cast<float*>(to) + begin, end - begin);
}
void narrow_range(const void* from, void* to, int64_t begin, int64_t end, ir::DType) {
  narrow(static_cast<const float*>(from) + begin, static_cast<BFloat16*>(to) + begin, end - begin);
}

void widen_float16_range(const void* from, void* to, int64_t begin, int64_t end, ir::DType) {
  float16_to_floats(static_cast<const uint16_t*>(from) + begin, static_cast<float*>(to) + begin,
                    static_cast<size_t>(end - begin));
}
void narrow_float16_range(const void* from, void* to, int64_t begin, int64_t end, ir::DType) {
  floats_to_float16(static_cast<const float*>(from) + begin, static_cast<uint16_t*>(to) + begin,
                    static_cast<size_t>(end - begin));
}

CastFunction cast_function(ir::DType from, ir::DType to) {
  if (from == ir::DType::kFloat16 && to == ir::DType::kFloat32) return widen_float16_range;
  if (from == ir::DType::kFloat32 && to == ir::DType::kFloat16) return narrow_float16_range;
  if (from == ir::DType::kBFloat16 && to == ir::DType::kFloat32) return widen_range;
  if (from == ir::DType::kFloat32 && to == ir::DType::kBFloat16) return narrow_range;
  return reference::with_storage(from, [to]<class From>(From) -> CastFunction {
    return reference::with_storage(to, []<class To>(To) -> CastFunction { return cast_range<From, To>; });
  });
}

double cast_us(const KernelRequest& request) {
  constexpr double kBytesPerUs = 10e3;
  return 0.5 + static_cast<double>(request.inputs[0].bytes() + request.outputs[0].bytes()) / kBytesPerUs;
}

Result<std::unique_ptr<Kernel>> create_cast(const KernelRequest& request, PackCache&) {
  const ir::DType from = request.inputs[0].dtype, to = request.outputs[0].dtype;
  const CastFunction function = cast_function(from, to);
  const int64_t count = request.outputs[0].element_count();
  // In place where sizes agree: elements are read before they are overwritten.
  const uint32_t in_place = ir::dtype_size(from) == ir::dtype_size(to) ? 1 : 0;
  return make_kernel(
      [=](const KernelArgs& args) {
        parallel_ranges(args.pool, count, 2,
                        [&](int64_t begin, int64_t end) { function(args.inputs[0], args.outputs[0], begin, end, to); });
        return Status::ok_status();
      },
      in_place);
}

constexpr KernelEntry kCastRows[] = {
    {"cpu.cast.loop", ir::Op::kCast, yes, cast_us, create_cast, nullptr, any_rows},
};

}  // namespace

std::span<const KernelEntry> cast_rows() { return kCastRows; }

}  // namespace blade::backends::cpu
