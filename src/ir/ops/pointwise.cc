// Types, shapes and integer contents through elementwise programs and casts.
#include <algorithm>
#include <limits>

#include "ir/ops/infer_support.h"

namespace blade::ir {
namespace {

using P = PointwiseOp;

// An operand or intermediate result of a program.
struct Operand {
  DType dtype = DType::kInvalid;
  Shape shape;
  std::optional<std::vector<Dim>> content;
};

bool fits(int64_t v, DType dtype) {
  switch (dtype) {
    case DType::kInt8:
      return v >= -128 && v <= 127;
    case DType::kInt16:
      return v >= -32768 && v <= 32767;
    case DType::kInt32:
      return v >= std::numeric_limits<int32_t>::min() && v <= std::numeric_limits<int32_t>::max();
    case DType::kInt64:
      return true;
    case DType::kUInt8:
      return v >= 0 && v <= 255;
    case DType::kUInt16:
      return v >= 0 && v <= 65535;
    case DType::kUInt32:
      return v >= 0 && v <= std::numeric_limits<uint32_t>::max();
    case DType::kUInt64:
      return v >= 0;
    case DType::kBool:
      return v == 0 || v == 1;
    default:
      return false;
  }
}

std::optional<Dim> compare(SymbolTable& s, P op, Dim a, Dim b) {
  const auto difference = s.constant(s.sub(a, b));
  if (!difference) return std::nullopt;
  const int64_t d = *difference;
  switch (op) {
    case P::kEqual:
      return Dim(d == 0);
    case P::kNotEqual:
      return Dim(d != 0);
    case P::kLess:
      return Dim(d < 0);
    case P::kLessEqual:
      return Dim(d <= 0);
    case P::kGreater:
      return Dim(d > 0);
    case P::kGreaterEqual:
      return Dim(d >= 0);
    default:
      return std::nullopt;
  }
}

std::optional<Dim> unary_element(SymbolTable& s, P op, Dim a) {
  const auto v = s.constant(a);
  switch (op) {
    case P::kNeg:
      return s.sub(0, a);
    case P::kSquare:
      return s.mul(a, a);
    case P::kRelu:
      return s.max(a, 0);
    case P::kAbs:
      if (s.is_nonnegative(a)) return a;
      return v ? std::optional(s.sub(0, a)) : std::nullopt;
    case P::kSign:
      return v ? std::optional(s.number((*v > 0) - (*v < 0))) : std::nullopt;
    case P::kLogicalNot:
      return v ? std::optional(Dim(*v == 0)) : std::nullopt;
    default:
      return std::nullopt;
  }
}

// Division by a number that is zero stays unknown: it fails when it runs.
std::optional<Dim> divide_elements(SymbolTable& s, P op, Dim a, Dim b) {
  if (s.constant(b) == 0) return std::nullopt;
  if (op == P::kFloorDiv) return s.floor_div(a, b);
  if (op == P::kFloorMod) return s.mod(a, b);
  const auto va = s.constant(a), vb = s.constant(b);
  if (va && vb && !(*va == std::numeric_limits<int64_t>::min() && *vb == -1)) {
    return s.number(op == P::kTruncDiv ? *va / *vb : *va % *vb);
  }
  if (!s.is_nonnegative(a) || !s.is_nonnegative(b)) return std::nullopt;
  return op == P::kTruncDiv ? s.floor_div(a, b) : s.mod(a, b);
}

std::optional<Dim> binary_element(SymbolTable& s, P op, Dim a, Dim b) {
  const auto va = s.constant(a), vb = s.constant(b);
  switch (op) {
    case P::kAdd:
      return s.add(a, b);
    case P::kSub:
      return s.sub(a, b);
    case P::kMul:
      return s.mul(a, b);
    case P::kMaximum:
      return s.max(a, b);
    case P::kMinimum:
      return s.min(a, b);
    case P::kSquaredDifference:
      return s.mul(s.sub(a, b), s.sub(a, b));
    case P::kFloorDiv:
    case P::kTruncDiv:
    case P::kFloorMod:
    case P::kTruncMod:
      return divide_elements(s, op, a, b);
    case P::kLogicalAnd:
      return va && vb ? std::optional(Dim(*va && *vb)) : std::nullopt;
    case P::kLogicalOr:
      return va && vb ? std::optional(Dim(*va || *vb)) : std::nullopt;
    default:
      return compare(s, op, a, b);
  }
}

// Element i of the broadcast result as an index into an operand.
size_t broadcast_index(const Dims& operand, const Dims& out, int64_t i) {
  size_t index = 0, stride = 1;
  for (size_t k = 0; k < out.size(); ++k) {
    const int64_t coordinate = i % out[out.size() - 1 - k];
    i /= out[out.size() - 1 - k];
    if (k >= operand.size()) continue;
    const int64_t extent = operand[operand.size() - 1 - k];
    if (extent != 1) index += static_cast<size_t>(coordinate) * stride;
    stride *= static_cast<size_t>(extent);
  }
  return index;
}

std::optional<Dim> element(SymbolTable& s, P op, const Dim* e, DType result) {
  std::optional<Dim> out;
  if (op == P::kSelect) {
    const auto condition = s.constant(e[0]);
    out = condition ? std::optional(*condition ? e[1] : e[2])
                    : (e[1] == e[2] ? std::optional(e[1]) : std::optional<Dim>());
  } else {
    out = pointwise_arity(op) == 1 ? unary_element(s, op, e[0]) : binary_element(s, op, e[0], e[1]);
  }
  if (!out) return std::nullopt;
  const auto v = s.constant(*out);
  return v && !fits(*v, result) ? std::nullopt : out;  // it would wrap around
}

std::optional<std::vector<Dim>> compute_content(InferContext& c, P op, const std::vector<const Operand*>& operands,
                                                const Operand& result) {
  if (!is_integer(result.dtype) && result.dtype != DType::kBool) return std::nullopt;
  const auto out_dims = result.shape.static_dims();
  const auto count = result.shape.element_count();
  if (!out_dims || !count || *count > 1024) return std::nullopt;
  std::vector<Dims> dims;
  for (const Operand* o : operands) {
    auto d = o->shape.static_dims();
    if (!o->content || !d) return std::nullopt;
    dims.push_back(std::move(*d));
  }
  std::vector<Dim> out;
  bool any = *count == 0;
  for (int64_t i = 0; i < *count; ++i) {
    Dim e[3];
    for (size_t k = 0; k < operands.size(); ++k) e[k] = (*operands[k]->content)[broadcast_index(dims[k], *out_dims, i)];
    const auto computed = element(c.symbols(), op, e, result.dtype);
    any |= computed.has_value();
    out.push_back(computed ? *computed : c.fresh_element("element"));
  }
  return any ? std::optional(std::move(out)) : std::nullopt;
}

Status check_operand_types(InferContext& c, P op, const std::vector<const Operand*>& operands) {
  const size_t first = op == P::kSelect ? 1 : 0;
  if (op == P::kSelect && operands[0]->dtype != DType::kBool && operands[0]->dtype != DType::kInvalid) {
    return infer_error(c, "selects by a condition of type ", dtype_name(operands[0]->dtype), ", expected bool");
  }
  DType seen = DType::kInvalid;
  for (size_t i = first; i < operands.size(); ++i) {
    const DType dtype = operands[i]->dtype;
    if (dtype == DType::kInvalid) continue;
    if (seen != DType::kInvalid && dtype != seen) {
      return infer_error(c, "gives ", pointwise_name(op), " operands of types ", dtype_name(seen), " and ",
                         dtype_name(dtype), ", expected the same type");
    }
    seen = dtype;
  }
  const bool logical = op == P::kLogicalAnd || op == P::kLogicalOr || op == P::kLogicalNot;
  if (logical && seen != DType::kBool && seen != DType::kInvalid) {
    return infer_error(c, "gives ", pointwise_name(op), " operands of type ", dtype_name(seen), ", expected bool");
  }
  return Status();
}

Result<Operand> apply(InferContext& c, const PointwiseInstr& instr, const std::vector<Operand>& all) {
  std::vector<const Operand*> operands;
  const int16_t ids[] = {instr.a, instr.b, instr.c};
  for (int k = 0; k < pointwise_arity(instr.op); ++k) operands.push_back(&all[ids[k]]);
  BLADE_RETURN_IF_ERROR(check_operand_types(c, instr.op, operands));
  Operand out;
  DType operand_dtype = DType::kInvalid;
  for (size_t k = instr.op == P::kSelect ? 1 : 0; k < operands.size(); ++k) {
    if (operand_dtype == DType::kInvalid) operand_dtype = operands[k]->dtype;
  }
  out.dtype = pointwise_result_dtype(instr.op, operand_dtype);
  out.shape = operands[0]->shape;
  for (size_t k = 1; k < operands.size(); ++k) {
    BLADE_ASSIGN_OR_RETURN(out.shape, broadcast_shapes(c, out.shape, operands[k]->shape));
  }
  out.content = compute_content(c, instr.op, operands, out);
  return out;
}

}  // namespace

Status infer_pointwise(InferContext& c) {
  const PointwiseProgram& program = c.node().get<PointwiseAttrs>().program;
  if (program.empty()) return infer_error(c, "has no instructions, expected at least one");
  if (const Status status = verify(program); !status.ok()) return infer_error(c, "is malformed: ", status.message());
  BLADE_RETURN_IF_ERROR(check_arity(c, program.num_inputs, program.num_inputs));
  std::vector<Operand> operands(c.num_inputs());
  for (int i = 0; i < c.num_inputs(); ++i) {
    operands[i].dtype = c.input_dtype(i);
    operands[i].shape = c.input_shape(i);
    if (const auto* content = c.input_content(i)) operands[i].content = *content;
  }
  for (const PointwiseInstr& instr : program.code) {
    BLADE_ASSIGN_OR_RETURN(Operand result, apply(c, instr, operands));
    operands.push_back(std::move(result));
  }
  Operand& last = operands.back();
  c.set_output(0, last.dtype, std::move(last.shape));
  if (last.content) c.set_output_content(0, std::move(*last.content));
  return Status();
}

Status infer_cast(InferContext& c) {
  BLADE_RETURN_IF_ERROR(check_arity(c, 1, 1));
  const DType to = c.node().get<CastAttrs>().to;
  if (dtype_size(to) == 0) return infer_error(c, "casts to ", dtype_name(to), ", expected a number type or bool");
  c.set_output(0, to, c.input_shape(0));
  const auto* content = c.input_content(0);
  if (content == nullptr) return Status();
  std::vector<Dim> out;
  for (Dim d : *content) {
    const auto v = c.symbols().constant(d);
    if (to == DType::kBool) {
      if (!v) return Status();
      out.push_back(*v != 0);
    } else {
      if (v && !fits(*v, to)) return Status();
      out.push_back(d);
    }
  }
  c.set_output_content(0, std::move(out));
  return Status();
}

}  // namespace blade::ir
