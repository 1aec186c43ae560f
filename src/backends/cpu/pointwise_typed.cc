// Templates over element type and function; the compiler vectorizes the loops with unit strides.
#include "backends/cpu/pointwise_typed.h"

#include <algorithm>
#include <cmath>
#include <type_traits>

namespace blade::backends::cpu {
namespace {

using ir::PointwiseOp;

template <class T>
using Wrapping = std::make_unsigned_t<std::conditional_t<std::is_integral_v<T> && !std::is_same_v<T, bool>, T, int>>;

// Arithmetic wraps for integers.
template <class T, class Fn>
T wrap(T a, T b, Fn fn) {
  if constexpr (std::is_integral_v<T>) {
    // Widen before multiplying: small unsigned types would be promoted to int and overflow.
    using U = std::conditional_t<sizeof(T) < 4, uint32_t, Wrapping<T>>;
    return static_cast<T>(fn(static_cast<U>(a), static_cast<U>(b)));
  } else {
    return fn(a, b);
  }
}

struct Add {
  template <class T>
  static T apply(T a, T b) {
    return wrap(a, b, [](auto x, auto y) { return x + y; });
  }
};
struct Sub {
  template <class T>
  static T apply(T a, T b) {
    return wrap(a, b, [](auto x, auto y) { return x - y; });
  }
};
struct Mul {
  template <class T>
  static T apply(T a, T b) {
    return wrap(a, b, [](auto x, auto y) { return x * y; });
  }
};
struct SquaredDifference {
  template <class T>
  static T apply(T a, T b) {
    return Mul::apply<T>(Sub::apply<T>(a, b), Sub::apply<T>(a, b));
  }
};
struct Maximum {
  template <class T>
  static T apply(T a, T b) {
    return a > b || a != a ? a : b;
  }
};
struct Minimum {
  template <class T>
  static T apply(T a, T b) {
    return a < b || a != a ? a : b;
  }
};
struct Equal {
  template <class T>
  static uint8_t apply(T a, T b) {
    return a == b;
  }
};
struct NotEqual {
  template <class T>
  static uint8_t apply(T a, T b) {
    return a != b;
  }
};
struct Less {
  template <class T>
  static uint8_t apply(T a, T b) {
    return a < b;
  }
};
struct LessEqual {
  template <class T>
  static uint8_t apply(T a, T b) {
    return a <= b;
  }
};
struct Greater {
  template <class T>
  static uint8_t apply(T a, T b) {
    return a > b;
  }
};
struct GreaterEqual {
  template <class T>
  static uint8_t apply(T a, T b) {
    return a >= b;
  }
};
struct LogicalAnd {
  template <class T>
  static uint8_t apply(T a, T b) {
    return a != 0 && b != 0;
  }
};
struct LogicalOr {
  template <class T>
  static uint8_t apply(T a, T b) {
    return a != 0 || b != 0;
  }
};
struct BitwiseAnd {
  template <class T>
  static T apply(T a, T b) {
    return a & b;
  }
};
struct BitwiseOr {
  template <class T>
  static T apply(T a, T b) {
    return a | b;
  }
};
struct BitwiseXor {
  template <class T>
  static T apply(T a, T b) {
    return a ^ b;
  }
};
struct Div {
  template <class T>
  static T apply(T a, T b) {
    return a / b;
  }
};
struct Neg {
  template <class T>
  static T apply(T a) {
    return Sub::apply<T>(T(0), a);
  }
};
struct Abs {
  template <class T>
  static T apply(T a) {
    if constexpr (std::is_floating_point_v<T>) return std::fabs(a);
    return a < 0 ? Neg::apply<T>(a) : a;
  }
};
struct Square {
  template <class T>
  static T apply(T a) {
    return Mul::apply<T>(a, a);
  }
};
struct Sign {
  template <class T>
  static T apply(T a) {
    return a != a ? a : static_cast<T>((a > 0) - (a < 0));
  }
};
struct Relu {
  template <class T>
  static T apply(T a) {
    return a < 0 ? T(0) : a;
  }
};
struct LogicalNot {
  template <class T>
  static uint8_t apply(T a) {
    return a == 0;
  }
};

// Loops count in variables of their own: bytes that are written might be those of the row otherwise, and no compiler
// vectorizes that.
template <class T, class Fn>
TypedError binary(const TypedRow& row) {
  using Out = decltype(Fn::template apply<T>(T{}, T{}));
  const T *a = static_cast<const T*>(row.in[0]), *b = static_cast<const T*>(row.in[1]);
  Out* out = static_cast<Out*>(row.out);
  const int64_t count = row.count, b_stride = row.stride[1];
  if (row.stride[0] == 1 && b_stride == 1) {
    for (int64_t i = 0; i < count; ++i) out[i] = Fn::template apply<T>(a[i], b[i]);
  } else if (row.stride[0] == 1) {
    const T scalar = *b;
    for (int64_t i = 0; i < count; ++i) out[i] = Fn::template apply<T>(a[i], scalar);
  } else {
    const T scalar = *a;
    for (int64_t i = 0; i < count; ++i) out[i] = Fn::template apply<T>(scalar, b[i * b_stride]);
  }
  return TypedError::kNone;
}

template <class T, class Fn>
TypedError unary(const TypedRow& row) {
  using Out = decltype(Fn::template apply<T>(T{}));
  const T* a = static_cast<const T*>(row.in[0]);
  Out* out = static_cast<Out*>(row.out);
  const int64_t count = row.count, stride = row.stride[0];
  if (stride == 1) {
    for (int64_t i = 0; i < count; ++i) out[i] = Fn::template apply<T>(a[i]);
  } else {
    std::fill(out, out + count, Fn::template apply<T>(*a));
  }
  return TypedError::kNone;
}

template <class T, int kStrideB, int kStrideC>
void select_row(const uint8_t* mask, const T* b, const T* c, T* out, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    const T of_b = b[i * kStrideB], of_c = c[i * kStrideC];
    out[i] = mask[i] != 0 ? of_b : of_c;
  }
}

// Bytes move whatever they mean.
template <class T>
TypedError select(const TypedRow& row) {
  const auto* mask = static_cast<const uint8_t*>(row.in[0]);
  const T *b = static_cast<const T*>(row.in[1]), *c = static_cast<const T*>(row.in[2]);
  T* out = static_cast<T*>(row.out);
  if (row.stride[0] == 0) {
    const T* from = *mask != 0 ? b : c;
    const int64_t count = row.count, stride = *mask != 0 ? row.stride[1] : row.stride[2];
    for (int64_t i = 0; i < count; ++i) out[i] = from[i * stride];
  } else if (row.stride[1] != 0) {
    (row.stride[2] != 0 ? select_row<T, 1, 1> : select_row<T, 1, 0>)(mask, b, c, out, row.count);
  } else {
    (row.stride[2] != 0 ? select_row<T, 0, 1> : select_row<T, 0, 0>)(mask, b, c, out, row.count);
  }
  return TypedError::kNone;
}

template <class T>
T divide(PointwiseOp op, T a, T b) {
  if constexpr (std::is_signed_v<T>) {
    if (b == -1) return op == PointwiseOp::kFloorMod || op == PointwiseOp::kTruncMod ? T(0) : Neg::apply<T>(a);
  }
  const T mod = static_cast<T>(a % b);
  const bool signs_differ = mod != 0 && (mod < 0) != (b < 0);
  switch (op) {
    case PointwiseOp::kFloorDiv:
      return static_cast<T>(a / b - signs_differ);
    case PointwiseOp::kFloorMod:
      return static_cast<T>(signs_differ ? mod + b : mod);
    case PointwiseOp::kTruncMod:
      return mod;
    default:
      return static_cast<T>(a / b);
  }
}

template <class T, PointwiseOp kOp>
TypedError integer_divide(const TypedRow& row) {
  const T *a = static_cast<const T*>(row.in[0]), *b = static_cast<const T*>(row.in[1]);
  T* out = static_cast<T*>(row.out);
  TypedError error = TypedError::kNone;
  for (int64_t i = 0; i < row.count; ++i) {
    const T divisor = b[i * row.stride[1]];
    if (divisor == 0) error = TypedError::kDivisionByZero;
    out[i] = divisor == 0 ? T(0) : divide<T>(kOp, a[i * row.stride[0]], divisor);
  }
  return error;
}

template <class T>
TypedRowFunction common_function(PointwiseOp op) {
  switch (op) {
    case PointwiseOp::kAdd:
      return binary<T, Add>;
    case PointwiseOp::kSub:
      return binary<T, Sub>;
    case PointwiseOp::kMul:
      return binary<T, Mul>;
    case PointwiseOp::kSquaredDifference:
      return binary<T, SquaredDifference>;
    case PointwiseOp::kMaximum:
      return binary<T, Maximum>;
    case PointwiseOp::kMinimum:
      return binary<T, Minimum>;
    case PointwiseOp::kEqual:
      return binary<T, Equal>;
    case PointwiseOp::kNotEqual:
      return binary<T, NotEqual>;
    case PointwiseOp::kLess:
      return binary<T, Less>;
    case PointwiseOp::kLessEqual:
      return binary<T, LessEqual>;
    case PointwiseOp::kGreater:
      return binary<T, Greater>;
    case PointwiseOp::kGreaterEqual:
      return binary<T, GreaterEqual>;
    case PointwiseOp::kNeg:
      return unary<T, Neg>;
    case PointwiseOp::kAbs:
      return unary<T, Abs>;
    case PointwiseOp::kSquare:
      return unary<T, Square>;
    case PointwiseOp::kSign:
      return unary<T, Sign>;
    case PointwiseOp::kRelu:
      return unary<T, Relu>;
    default:
      return nullptr;
  }
}

template <class T>
TypedRowFunction integer_function(PointwiseOp op) {
  switch (op) {
    case PointwiseOp::kDiv:
    case PointwiseOp::kTruncDiv:
      return integer_divide<T, PointwiseOp::kTruncDiv>;
    case PointwiseOp::kFloorDiv:
      return integer_divide<T, PointwiseOp::kFloorDiv>;
    case PointwiseOp::kFloorMod:
      return integer_divide<T, PointwiseOp::kFloorMod>;
    case PointwiseOp::kTruncMod:
      return integer_divide<T, PointwiseOp::kTruncMod>;
    case PointwiseOp::kBitwiseAnd:
      return binary<T, BitwiseAnd>;
    case PointwiseOp::kBitwiseOr:
      return binary<T, BitwiseOr>;
    case PointwiseOp::kBitwiseXor:
      return binary<T, BitwiseXor>;
    default:
      return common_function<T>(op);
  }
}

TypedRowFunction bool_function(PointwiseOp op) {
  switch (op) {
    case PointwiseOp::kLogicalAnd:
      return binary<uint8_t, LogicalAnd>;
    case PointwiseOp::kLogicalOr:
      return binary<uint8_t, LogicalOr>;
    case PointwiseOp::kLogicalNot:
      return unary<uint8_t, LogicalNot>;
    case PointwiseOp::kEqual:
      return binary<uint8_t, Equal>;
    case PointwiseOp::kNotEqual:
      return binary<uint8_t, NotEqual>;
    default:
      return nullptr;
  }
}

TypedRowFunction select_function(ir::DType dtype) {
  switch (ir::dtype_size(dtype)) {
    case 1:
      return select<uint8_t>;
    case 2:
      return select<uint16_t>;
    case 4:
      return select<uint32_t>;
    case 8:
      return select<uint64_t>;
    default:
      return nullptr;
  }
}

}  // namespace

TypedRowFunction typed_row_function(PointwiseOp op, ir::DType operand) {
  if (op == PointwiseOp::kSelect) return select_function(operand);
  switch (operand) {
    case ir::DType::kInt32:
      return integer_function<int32_t>(op);
    case ir::DType::kInt64:
      return integer_function<int64_t>(op);
    case ir::DType::kUInt8:
      return integer_function<uint8_t>(op);
    case ir::DType::kInt8:
      return integer_function<int8_t>(op);
    case ir::DType::kInt16:
      return integer_function<int16_t>(op);
    case ir::DType::kUInt16:
      return integer_function<uint16_t>(op);
    case ir::DType::kUInt32:
      return integer_function<uint32_t>(op);
    case ir::DType::kUInt64:
      return integer_function<uint64_t>(op);
    case ir::DType::kFloat64:
      return op == PointwiseOp::kDiv ? binary<double, Div> : common_function<double>(op);
    case ir::DType::kBool:
      return bool_function(op);
    default:
      return nullptr;
  }
}

}  // namespace blade::backends::cpu
