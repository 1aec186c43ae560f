// Programs on integers, and casts between all types: what elements are loaded as, computed in and stored as.
#pragma once

#include "backends/cuda/kernels/device_math.cuh"

namespace blade::backends::cuda {

static __device__ int64_t load_whole(const void* data, int64_t i, ElementType type) {
  switch (type) {
    case ElementType::kInt32:
      return static_cast<const int32_t*>(data)[i];
    case ElementType::kInt64:
      return static_cast<const int64_t*>(data)[i];
    case ElementType::kInt8:
      return static_cast<const int8_t*>(data)[i];
    case ElementType::kInt16:
      return static_cast<const int16_t*>(data)[i];
    case ElementType::kUInt8:
      return static_cast<const uint8_t*>(data)[i];
    case ElementType::kUInt16:
      return static_cast<const uint16_t*>(data)[i];
    case ElementType::kUInt32:
      return static_cast<const uint32_t*>(data)[i];
    default:
      return static_cast<const uint8_t*>(data)[i] != 0;
  }
}
static __device__ void store_whole(void* data, int64_t i, ElementType type, int64_t value) {
  switch (type) {
    case ElementType::kInt32:
    case ElementType::kUInt32:
      static_cast<uint32_t*>(data)[i] = static_cast<uint32_t>(value);
      break;
    case ElementType::kInt64:
      static_cast<int64_t*>(data)[i] = value;
      break;
    case ElementType::kInt8:
    case ElementType::kUInt8:
      static_cast<uint8_t*>(data)[i] = static_cast<uint8_t>(value);
      break;
    case ElementType::kInt16:
    case ElementType::kUInt16:
      static_cast<uint16_t*>(data)[i] = static_cast<uint16_t>(value);
      break;
    default:
      static_cast<uint8_t*>(data)[i] = value != 0;
  }
}
static __device__ int64_t wrapped_to(ElementType type, int64_t value) {
  switch (type) {
    case ElementType::kInt32:
      return static_cast<int32_t>(value);
    case ElementType::kInt8:
      return static_cast<int8_t>(value);
    case ElementType::kInt16:
      return static_cast<int16_t>(value);
    case ElementType::kUInt8:
      return static_cast<uint8_t>(value);
    case ElementType::kUInt16:
      return static_cast<uint16_t>(value);
    case ElementType::kUInt32:
      return static_cast<uint32_t>(value);
    default:
      return value;
  }
}
static __device__ int bits_of(ElementType type) {
  switch (type) {
    case ElementType::kInt32:
    case ElementType::kUInt32:
      return 32;
    case ElementType::kInt16:
    case ElementType::kUInt16:
      return 16;
    case ElementType::kInt64:
      return 64;
    default:
      return 8;
  }
}

// Division by zero gives zero: the host side sends none but DivNoNan's.
static __device__ int64_t divided(ir::PointwiseOp op, int64_t a, int64_t b) {
  using ir::PointwiseOp;
  if (b == 0) return 0;
  // Where the smallest integer is divided by -1, the hardware's answer is of no use.
  const int64_t quotient = b == -1 ? static_cast<int64_t>(0 - static_cast<uint64_t>(a)) : a / b;
  const int64_t rest = b == -1 ? 0 : a - quotient * b;
  const bool signs_differ = rest != 0 && (rest < 0) != (b < 0);
  switch (op) {
    case PointwiseOp::kFloorDiv:
      return quotient - signs_differ;
    case PointwiseOp::kFloorMod:
      return signs_differ ? rest + b : rest;
    case PointwiseOp::kTruncMod:
      return rest;
    default:
      return quotient;
  }
}

static __device__ int64_t integer_power(int64_t base, int64_t exponent) {
  uint64_t result = 1, square = static_cast<uint64_t>(base);
  for (; exponent > 0; exponent >>= 1) {
    if ((exponent & 1) != 0) result *= square;
    square *= square;
  }
  return static_cast<int64_t>(result);
}

// Counts are clamped to the type's width.
static __device__ int64_t shifted(ir::PointwiseOp op, int64_t a, int64_t b, int bits) {
  const int64_t count = b < 0 ? 0 : b > bits - 1 ? bits - 1 : b;
  return op == ir::PointwiseOp::kRightShift ? a >> count : static_cast<int64_t>(static_cast<uint64_t>(a) << count);
}

// One instruction on integers; the host side sends no others (takes_integers() there).
static __device__ int64_t integer_value(ir::PointwiseOp op, int64_t a, int64_t b, int64_t c, ElementType type) {
  using ir::PointwiseOp;
  const auto wrapped = [](uint64_t value) { return static_cast<int64_t>(value); };
  const auto ua = static_cast<uint64_t>(a), ub = static_cast<uint64_t>(b);
  switch (op) {
    case PointwiseOp::kNeg:
      return wrapped(0 - ua);
    case PointwiseOp::kAbs:
      return a < 0 ? wrapped(0 - ua) : a;
    case PointwiseOp::kSquare:
      return wrapped(ua * ua);
    case PointwiseOp::kSign:
      return (a > 0) - (a < 0);
    case PointwiseOp::kRelu:
      return a > 0 ? a : 0;
    case PointwiseOp::kRelu6:
      return a < 0 ? 0 : a > 6 ? 6 : a;
    case PointwiseOp::kFloor:
    case PointwiseOp::kCeil:
    case PointwiseOp::kRint:
      return a;
    case PointwiseOp::kIsFinite:
      return 1;
    case PointwiseOp::kIsNan:
    case PointwiseOp::kIsInf:
      return 0;
    case PointwiseOp::kLogicalNot:
      return a == 0;
    case PointwiseOp::kBitwiseNot:
      return ~a;
    case PointwiseOp::kPopulationCount:
      return __popcll(ua << (64 - bits_of(type)));
    case PointwiseOp::kAdd:
      return wrapped(ua + ub);
    case PointwiseOp::kSub:
      return wrapped(ua - ub);
    case PointwiseOp::kMul:
      return wrapped(ua * ub);
    case PointwiseOp::kSquaredDifference:
      return wrapped((ua - ub) * (ua - ub));
    case PointwiseOp::kDiv:
    case PointwiseOp::kDivNoNan:
    case PointwiseOp::kFloorDiv:
    case PointwiseOp::kTruncDiv:
    case PointwiseOp::kFloorMod:
    case PointwiseOp::kTruncMod:
      return divided(op, a, b);
    case PointwiseOp::kPow:
      return integer_power(a, b);
    case PointwiseOp::kBitwiseAnd:
      return a & b;
    case PointwiseOp::kBitwiseOr:
      return a | b;
    case PointwiseOp::kBitwiseXor:
      return a ^ b;
    case PointwiseOp::kLeftShift:
    case PointwiseOp::kRightShift:
      return shifted(op, a, b, bits_of(type));
    case PointwiseOp::kMaximum:
      return a > b ? a : b;
    case PointwiseOp::kMinimum:
      return a < b ? a : b;
    case PointwiseOp::kEqual:
      return a == b;
    case PointwiseOp::kNotEqual:
      return a != b;
    case PointwiseOp::kLess:
      return a < b;
    case PointwiseOp::kLessEqual:
      return a <= b;
    case PointwiseOp::kGreater:
      return a > b;
    case PointwiseOp::kGreaterEqual:
      return a >= b;
    case PointwiseOp::kLogicalAnd:
      return a != 0 && b != 0;
    case PointwiseOp::kLogicalOr:
      return a != 0 || b != 0;
    default:
      return a != 0 ? b : c;  // kSelect
  }
}

// values[0, num_inputs) are set; results wrap to `whole`.
static __device__ int64_t run_integers(const ProgramInstr* code, int num_code, int num_inputs, ElementType whole,
                                       int64_t* values) {
  int64_t result = 0;
  for (int i = 0; i < num_code; ++i) {
    const ProgramInstr& instr = code[i];
    result = integer_value(static_cast<ir::PointwiseOp>(instr.op), values[instr.a], instr.b >= 0 ? values[instr.b] : 0,
                           instr.c >= 0 ? values[instr.c] : 0, whole);
    result = wrapped_to(whole, result);
    values[num_inputs + i] = result;
  }
  return result;
}

// The numbers of ir::DType that casts know.
enum CastType { kF32 = 1, kF64, kF16, kBF16, kI8, kI16, kI32, kI64, kU8, kU16, kU32, kU64, kBool };

static __device__ bool is_float_type(int type) { return type <= kBF16; }

static __device__ double load_double(const void* data, int64_t i, int type) {
  switch (type) {
    case kF32:
      return static_cast<const float*>(data)[i];
    case kF64:
      return static_cast<const double*>(data)[i];
    case kF16:
      return __half2float(static_cast<const __half*>(data)[i]);
    default:
      return __bfloat162float(static_cast<const __nv_bfloat16*>(data)[i]);
  }
}
static __device__ int64_t load_integer(const void* data, int64_t i, int type) {
  switch (type) {
    case kI8:
      return static_cast<const int8_t*>(data)[i];
    case kI16:
      return static_cast<const int16_t*>(data)[i];
    case kI32:
      return static_cast<const int32_t*>(data)[i];
    case kI64:
    case kU64:
      return static_cast<const int64_t*>(data)[i];
    case kU16:
      return static_cast<const uint16_t*>(data)[i];
    case kU32:
      return static_cast<const uint32_t*>(data)[i];
    default:
      return static_cast<const uint8_t*>(data)[i];
  }
}
static __device__ void store_float(void* data, int64_t i, int type, double value) {
  switch (type) {
    case kF32:
      static_cast<float*>(data)[i] = static_cast<float>(value);
      break;
    case kF64:
      static_cast<double*>(data)[i] = value;
      break;
    case kF16:
      static_cast<__half*>(data)[i] = __float2half_rn(static_cast<float>(value));
      break;
    default:
      static_cast<__nv_bfloat16*>(data)[i] = __float2bfloat16_rn(static_cast<float>(value));
  }
}
static __device__ void store_integer(void* data, int64_t i, int type, int64_t value) {
  switch (type) {
    case kI8:
    case kU8:
      static_cast<uint8_t*>(data)[i] = static_cast<uint8_t>(value);
      break;
    case kI16:
    case kU16:
      static_cast<uint16_t*>(data)[i] = static_cast<uint16_t>(value);
      break;
    case kI32:
    case kU32:
      static_cast<uint32_t*>(data)[i] = static_cast<uint32_t>(value);
      break;
    case kBool:
      static_cast<uint8_t*>(data)[i] = value != 0;
      break;
    default:
      static_cast<int64_t*>(data)[i] = value;
  }
}

// As x86 converts: out of range gives the smallest integer, whose low bits narrower types take.
static __device__ int64_t to_integer(double value, int type) {
  constexpr int64_t kSmallest = -0x7fffffffffffffffll - 1;
  if (type == kBool) return value != 0;
  if (type == kU64 && value >= 0x1p63) {
    return value < 0x1p64 ? static_cast<int64_t>(static_cast<uint64_t>(value)) : kSmallest;
  }
  const bool narrow = type != kI64 && type != kU64 && type != kU32;
  if (narrow && !(value > -2147483649.0 && value < 2147483648.0)) return -0x7fffffff - 1;
  if (!(value >= -0x1p63 && value < 0x1p63)) return kSmallest;
  return static_cast<int64_t>(value);
}

static __device__ void cast_element(const void* from, int64_t i, int from_type, void* to, int64_t j, int to_type) {
  if (from_type == kF32 && to_type == kF16) {
    static_cast<__half*>(to)[j] = __float2half_rn(static_cast<const float*>(from)[i]);
  } else if (is_float_type(from_type)) {
    const double value = load_double(from, i, from_type);
    if (is_float_type(to_type)) {
      store_float(to, j, to_type, value);
    } else {
      store_integer(to, j, to_type, to_integer(value, to_type));
    }
  } else {
    const int64_t value = load_integer(from, i, from_type);
    if (is_float_type(to_type)) {
      store_float(to, j, to_type,
                  from_type == kU64 ? static_cast<double>(static_cast<uint64_t>(value)) : static_cast<double>(value));
    } else {
      store_integer(to, j, to_type, value);
    }
  }
}

}  // namespace blade::backends::cuda
