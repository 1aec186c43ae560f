// Pointwise programs with numpy broadcasting, casts, and the epilogues of other reference kernels.
#include "backends/reference/pointwise_math.h"

namespace blade::backends::reference {
namespace {

Wide wide_of_operands(const Call& call, int count) {
  Wide wide = Wide::kSigned;
  for (int i = 0; i < count; ++i) {
    const Wide own = wide_of(call.in_dtype(i));
    if (own == Wide::kFloat) return own;
    if (own == Wide::kUnsigned) wide = own;
  }
  return wide;
}

template <class W>
Status run_program(const Call& call, const ir::PointwiseProgram& program, const ir::Dims& dims,
                   std::span<const Array<W>> operands, std::span<const ir::DType> dtypes, Array<W>& result) {
  std::vector<ir::Dims> strides;
  for (const Array<W>& operand : operands) strides.push_back(broadcast_strides(operand.dims, dims));
  ProgramEvaluator<W> evaluator(program, dtypes);
  std::vector<W> inputs(operands.size());
  for_each_index(dims, [&](int64_t offset, const ir::Dims& index) {
    for (size_t k = 0; k < operands.size(); ++k) inputs[k] = operands[k][offset_of(index, strides[k])];
    result[offset] = evaluator.evaluate(inputs);
  });
  return math_error_status(call.where(), evaluator.error());
}

template <class W>
Status run_pointwise_as(const Call& call) {
  const ir::PointwiseProgram& program = call.node.get<ir::PointwiseAttrs>().program;
  std::vector<Array<W>> operands;
  std::vector<ir::DType> dtypes;
  for (int i = 0; i < program.num_inputs; ++i) {
    operands.push_back(read<W>(call, i));
    dtypes.push_back(call.in_dtype(i));
  }
  Array<W> result = make_array<W>(call.out_dims());
  BLADE_RETURN_IF_ERROR(run_program<W>(call, program, call.out_dims(), operands, dtypes, result));
  write(call, 0, result);
  return Status::ok_status();
}

}  // namespace

Status run_pointwise(const Call& call) {
  switch (wide_of_operands(call, call.node.get<ir::PointwiseAttrs>().program.num_inputs)) {
    case Wide::kFloat:
      return run_pointwise_as<double>(call);
    case Wide::kSigned:
      return run_pointwise_as<int64_t>(call);
    default:
      return run_pointwise_as<uint64_t>(call);
  }
}

Status run_cast(const Call& call) {
  return with_wide(call.in_dtype(0), [&]<class W>(W) {
    write(call, 0, read<W>(call, 0));
    return Status::ok_status();
  });
}

template <class W>
Status apply_epilogue(const Call& call, const ir::PointwiseProgram& program, int first_input, Array<W>& result) {
  if (program.empty()) return Status::ok_status();
  std::vector<Array<W>> operands;
  std::vector<ir::DType> dtypes;
  for (W& value : result.values) value = rounded(value, call.out_dtype());
  operands.push_back(result);
  dtypes.push_back(call.out_dtype());
  for (int k = 1; k < program.num_inputs; ++k) {
    operands.push_back(read<W>(call, first_input + k - 1));
    dtypes.push_back(call.in_dtype(first_input + k - 1));
  }
  return run_program<W>(call, program, result.dims, operands, dtypes, result);
}

template Status apply_epilogue(const Call&, const ir::PointwiseProgram&, int, Array<double>&);
template Status apply_epilogue(const Call&, const ir::PointwiseProgram&, int, Array<int64_t>&);
template Status apply_epilogue(const Call&, const ir::PointwiseProgram&, int, Array<uint64_t>&);

}  // namespace blade::backends::reference
