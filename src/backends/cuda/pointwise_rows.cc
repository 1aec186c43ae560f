// Rows for Pointwise, Cast and BatchNorm-like elementwise work.
#include "backends/cuda/kernel_families.h"
#include "backends/cuda/kernel_support.h"
#include "backends/cuda/kernels/simple_kernels.h"

namespace blade::backends::cuda {
namespace {

Support supports_pointwise(const KernelRequest& request) {
  if (Support s = needs_small(request); !s.ok) return s;
  for (const TensorDesc& desc : request.inputs) {
    if (Support s = needs_element_type(desc, "an operand", true); !s.ok) return s;
  }
  if (Support s = needs_element_type(request.outputs[0], "the result", true); !s.ok) return s;
  if (request.outputs[0].dims.size() > kMaxRank) return Support::no("has more than 8 dims");
  return supports_program(request.node->get<ir::PointwiseAttrs>().program);
}

bool is_whole_type(ir::DType dtype) { return dtype == ir::DType::kInt32 || dtype == ir::DType::kInt64; }

// Division and what has fractions stays on the host, where division by zero is an error.
bool takes_integers(ir::PointwiseOp op) {
  using ir::PointwiseOp;
  switch (op) {
    case PointwiseOp::kNeg:
    case PointwiseOp::kAbs:
    case PointwiseOp::kSquare:
    case PointwiseOp::kSign:
    case PointwiseOp::kRelu:
    case PointwiseOp::kLogicalNot:
    case PointwiseOp::kAdd:
    case PointwiseOp::kSub:
    case PointwiseOp::kMul:
    case PointwiseOp::kMaximum:
    case PointwiseOp::kMinimum:
    case PointwiseOp::kEqual:
    case PointwiseOp::kNotEqual:
    case PointwiseOp::kLess:
    case PointwiseOp::kLessEqual:
    case PointwiseOp::kGreater:
    case PointwiseOp::kGreaterEqual:
    case PointwiseOp::kLogicalAnd:
    case PointwiseOp::kLogicalOr:
    case PointwiseOp::kSelect:
      return true;
    default:
      return false;
  }
}

Support supports_integers(const KernelRequest& request) {
  if (Support s = needs_small(request); !s.ok) return s;
  ir::DType integer = ir::DType::kInvalid;
  std::vector<TensorDesc> operands = request.inputs;
  operands.push_back(request.outputs[0]);
  for (const TensorDesc& desc : operands) {
    if (desc.dtype == ir::DType::kBool) continue;
    if (!is_whole_type(desc.dtype) || (integer != ir::DType::kInvalid && desc.dtype != integer)) {
      return Support::no("operands are not all int32 or all int64 (and bool)");
    }
    integer = desc.dtype;
  }
  if (request.outputs[0].dims.size() > kMaxRank) return Support::no("has more than 8 dims");
  const ir::PointwiseProgram& program = request.node->get<ir::PointwiseAttrs>().program;
  for (const ir::PointwiseInstr& instr : program.code) {
    if (!takes_integers(instr.op)) {
      return Support::no(std::string(ir::pointwise_name(instr.op)) + " on integers is left to the host");
    }
  }
  return supports_program(program);
}

ElementType program_type(ir::DType dtype) {
  if (dtype == ir::DType::kInt32) return ElementType::kInt32;
  if (dtype == ir::DType::kInt64) return ElementType::kInt64;
  return *element_type(dtype);
}

Result<std::unique_ptr<Kernel>> create_program(const KernelRequest& request, bool integers) {
  PointwiseParams params;
  params.program = to_device(request.node->get<ir::PointwiseAttrs>().program);
  params.output_type = program_type(request.outputs[0].dtype);
  params.count = request.outputs[0].element_count();
  std::vector<ir::Dims> strides;
  uint32_t in_place = 0;
  for (size_t i = 0; i < request.inputs.size(); ++i) {
    params.input_types[i] = program_type(request.inputs[i].dtype);
    params.narrow = params.narrow || request.inputs[i].dtype == ir::DType::kInt32;
    strides.push_back(broadcast_strides(request.inputs[i].dims, request.outputs[0].dims));
    const bool same =
        request.inputs[i].dtype == request.outputs[0].dtype && request.inputs[i].element_count() == params.count;
    if (same) in_place |= 1u << i;
  }
  const MergedLoops loops = merge_loops(request.outputs[0].dims, strides);
  params.rank = static_cast<int>(loops.dims.size());
  for (int d = 0; d < params.rank; ++d) {
    params.dims[d] = FastDivisor(loops.dims[static_cast<size_t>(d)]);
    for (size_t i = 0; i < strides.size(); ++i) params.strides[i][d] = loops.strides[i][static_cast<size_t>(d)];
  }
  SmallPiece piece;
  piece.kind = integers ? SmallKind::kIntegers : SmallKind::kProgram;
  piece.narrow = params.narrow;
  piece.dims = loops.dims;
  piece.program = params.program;
  for (size_t i = 0; i < strides.size(); ++i) {
    piece.inputs.push_back({static_cast<int>(i), static_cast<int>(params.input_types[i]), 0, loops.strides[i]});
  }
  piece.output = {0, static_cast<int>(params.output_type), 0, row_major_strides(loops.dims)};
  const LaunchShape shape = one_each(params.count, kSimpleThreads);
  const void* kernel = integers ? pointwise_integers_kernel() : pointwise_kernel(params.rank == 1);
  BLADE_RETURN_IF_ERROR(prepare_launch(*request.device, kernel, shape));
  return make_kernel(
      [=](const KernelArgs& args) {
        PointwiseParams p = params;
        for (size_t i = 0; i < args.inputs.size(); ++i) p.inputs[i] = args.inputs[i];
        p.output = args.outputs[0];
        void* arguments[] = {&p};
        return launch(args, kernel, shape, arguments);
      },
      {.in_place_inputs = in_place, .small = small_work(request, {piece})});
}

Result<std::unique_ptr<Kernel>> create_pointwise(const KernelRequest& request, PackCache&) {
  return create_program(request, false);
}
Result<std::unique_ptr<Kernel>> create_integers(const KernelRequest& request, PackCache&) {
  return create_program(request, true);
}

Support supports_cast(const KernelRequest& request) { return needs_small(request); }

Result<std::unique_ptr<Kernel>> create_cast(const KernelRequest& request, PackCache&) {
  const int64_t count = request.outputs[0].element_count();
  const LaunchShape shape = one_each(count, kSimpleThreads);
  BLADE_RETURN_IF_ERROR(prepare_launch(*request.device, cast_kernel(), shape));
  const int from = static_cast<int>(request.inputs[0].dtype), to = static_cast<int>(request.outputs[0].dtype);
  SmallPiece piece;
  piece.kind = SmallKind::kCast;
  piece.dims = {count};
  piece.inputs = {{0, from, 0, {1}}};
  piece.output = {0, to, 0, {1}};
  return make_kernel(
      [=](const KernelArgs& args) {
        const void* source = args.inputs[0];
        void* target = args.outputs[0];
        int64_t n = count;
        int types[2] = {from, to};
        void* arguments[] = {&source, &target, &n, &types[0], &types[1]};
        return launch(args, cast_kernel(), shape, arguments);
      },
      {.small = small_work(request, {piece})});
}

constexpr KernelEntry kRows[] = {
    {"cuda.pointwise.program", ir::Op::kPointwise, supports_pointwise, nullptr, create_pointwise},
    {"cuda.pointwise.integers", ir::Op::kPointwise, supports_integers, nullptr, create_integers},
    {"cuda.cast.elements", ir::Op::kCast, supports_cast, nullptr, create_cast},
};

}  // namespace

std::span<const KernelEntry> pointwise_rows() { return kRows; }

}  // namespace blade::backends::cuda
