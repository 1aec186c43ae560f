// Rows for Pointwise, Cast and BatchNorm-like elementwise work.
#include <algorithm>
#include <cstring>
#include <mutex>
#include <optional>

#include "backends/cuda/compiled_kernels.h"
#include "backends/cuda/kernel_families.h"
#include "backends/cuda/kernel_support.h"
#include "backends/cuda/kernels/simple_kernels.h"
#include "backends/cuda/pointwise_loops.h"
#include "backends/cuda/pointwise_source.h"
#include "backends/cuda/vector_program.h"
#include "base/log.h"

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

constexpr int kKeptBytes = kSimpleThreads * kVectorElements * static_cast<int>(sizeof(float));

Support supports_interpreter(const KernelRequest& request) {
  if (Support s = supports_pointwise(request); !s.ok) return s;
  VectorProgramParams params;
  const int bytes = kKeptBytes * encode_program(request.node->get<ir::PointwiseAttrs>().program, params);
  if (static_cast<size_t>(bytes) <= request.device->info().shared_bytes_per_block) return Support::yes();
  return Support::no("the program needs more values at a time than the card's shared memory holds");
}

// What the interpreter of several elements a thread leaves.
Support supports_elements(const KernelRequest& request) {
  if (Support s = supports_pointwise(request); !s.ok) return s;
  if (supports_interpreter(request).ok) return Support::no("several elements a thread are faster");
  return Support::yes();
}

std::optional<ElementType> whole_type(ir::DType dtype) {
  switch (dtype) {
    case ir::DType::kInt8:
      return ElementType::kInt8;
    case ir::DType::kInt16:
      return ElementType::kInt16;
    case ir::DType::kInt32:
      return ElementType::kInt32;
    case ir::DType::kInt64:
      return ElementType::kInt64;
    case ir::DType::kUInt8:
      return ElementType::kUInt8;
    case ir::DType::kUInt16:
      return ElementType::kUInt16;
    case ir::DType::kUInt32:
      return ElementType::kUInt32;
    default:
      return std::nullopt;
  }
}

bool divides(ir::PointwiseOp op) {
  using ir::PointwiseOp;
  return op == PointwiseOp::kDiv || op == PointwiseOp::kFloorDiv || op == PointwiseOp::kTruncDiv ||
         op == PointwiseOp::kFloorMod || op == PointwiseOp::kTruncMod;
}

// What no value of the operands makes an error.
bool takes_integers(ir::PointwiseOp op) {
  using ir::PointwiseOp;
  switch (op) {
    case PointwiseOp::kNeg:
    case PointwiseOp::kAbs:
    case PointwiseOp::kSquare:
    case PointwiseOp::kSign:
    case PointwiseOp::kRelu:
    case PointwiseOp::kRelu6:
    case PointwiseOp::kFloor:
    case PointwiseOp::kCeil:
    case PointwiseOp::kRint:
    case PointwiseOp::kIsFinite:
    case PointwiseOp::kIsNan:
    case PointwiseOp::kIsInf:
    case PointwiseOp::kLogicalNot:
    case PointwiseOp::kBitwiseNot:
    case PointwiseOp::kPopulationCount:
    case PointwiseOp::kAdd:
    case PointwiseOp::kSub:
    case PointwiseOp::kMul:
    case PointwiseOp::kSquaredDifference:
    case PointwiseOp::kDivNoNan:
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
    case PointwiseOp::kBitwiseAnd:
    case PointwiseOp::kBitwiseOr:
    case PointwiseOp::kBitwiseXor:
    case PointwiseOp::kLeftShift:
    case PointwiseOp::kRightShift:
    case PointwiseOp::kSelect:
      return true;
    default:
      return false;
  }
}

// A division by zero and a negative power are errors, which only the host can raise: on the card they must be ruled out
// by a constant.
Support supports_integer_instr(const KernelRequest& request, const ir::PointwiseInstr& instr) {
  const std::string name = ir::pointwise_name(instr.op);
  const bool divisor = divides(instr.op);
  if (!divisor && instr.op != ir::PointwiseOp::kPow) {
    if (takes_integers(instr.op)) return Support::yes();
    return Support::no(name + " is not for integers");
  }
  const auto operand = static_cast<size_t>(instr.b);
  const auto values = operand < request.inputs.size() && is_constant(request, operand)
                          ? ir::integer_values(*request.constants[operand])
                          : std::nullopt;
  if (!values) {
    return Support::no(name + (divisor ? " by" : " with an exponent of") +
                       " what is no constant is left to the host, which says where it goes wrong");
  }
  if (divisor && std::ranges::find(*values, 0) != values->end()) return Support::no("divides by zero");
  if (!divisor && std::ranges::any_of(*values, [](int64_t v) { return v < 0; })) {
    return Support::no("has a negative exponent");
  }
  return Support::yes();
}

Support supports_integers(const KernelRequest& request) {
  if (Support s = needs_small(request); !s.ok) return s;
  ir::DType integer = ir::DType::kInvalid;
  const ir::PointwiseProgram& program = request.node->get<ir::PointwiseAttrs>().program;
  std::vector<TensorDesc> operands = request.inputs;
  // Counts of bits are uint8 whatever they are of.
  if (!program.is_single(ir::PointwiseOp::kPopulationCount)) operands.push_back(request.outputs[0]);
  for (const TensorDesc& desc : operands) {
    if (desc.dtype == ir::DType::kBool) continue;
    if (!whole_type(desc.dtype) || (integer != ir::DType::kInvalid && desc.dtype != integer)) {
      return Support::no("operands are not all of one integer type but uint64 (and bool)");
    }
    integer = desc.dtype;
  }
  if (request.outputs[0].dims.size() > kMaxRank) return Support::no("has more than 8 dims");
  for (const ir::PointwiseInstr& instr : program.code) {
    if (Support s = supports_integer_instr(request, instr); !s.ok) return s;
  }
  return fits_device(program);
}

ElementType program_type(ir::DType dtype) {
  const auto whole = whole_type(dtype);
  return whole ? *whole : *element_type(dtype);
}

// What an integer program computes in.
ElementType whole_of(const KernelRequest& request) {
  for (const TensorDesc& desc : request.inputs) {
    if (const auto whole = whole_type(desc.dtype)) return *whole;
  }
  return ElementType::kInt64;
}

// Inputs whose memory the result may take.
uint32_t in_place_inputs(const KernelRequest& request) {
  uint32_t bits = 0;
  const TensorDesc& out = request.outputs[0];
  for (size_t i = 0; i < request.inputs.size(); ++i) {
    const TensorDesc& in = request.inputs[i];
    if (in.dtype == out.dtype && in.element_count() == out.element_count()) bits |= 1u << i;
  }
  return bits;
}

SmallWork small_program(const KernelRequest& request, const PointwiseLoops& loops, SmallKind kind) {
  SmallPiece piece;
  piece.kind = kind;
  piece.whole = whole_of(request);
  piece.dims = loops.dims;
  piece.program = to_device(request.node->get<ir::PointwiseAttrs>().program);
  for (size_t i = 0; i < request.inputs.size(); ++i) {
    const auto type = static_cast<int>(program_type(request.inputs[i].dtype));
    piece.inputs.push_back({static_cast<int>(i), type, 0, loops.strides[i]});
  }
  piece.output = {0, static_cast<int>(program_type(request.outputs[0].dtype)), 0, row_major_strides(loops.dims)};
  return small_work(request, {piece});
}

Result<std::unique_ptr<Kernel>> create_one_each(const KernelRequest& request, const void* kernel, SmallKind kind) {
  const PointwiseLoops loops = pointwise_loops(request);
  PointwiseParams params;
  params.program = to_device(request.node->get<ir::PointwiseAttrs>().program);
  params.output_type = program_type(request.outputs[0].dtype);
  params.count = request.outputs[0].element_count();
  params.whole = whole_of(request);
  params.rank = static_cast<int>(loops.dims.size());
  for (int d = 0; d < params.rank; ++d) params.dims[d] = FastDivisor(loops.dims[static_cast<size_t>(d)]);
  for (size_t i = 0; i < request.inputs.size(); ++i) {
    params.input_types[i] = program_type(request.inputs[i].dtype);
    std::ranges::copy(loops.strides[i], params.strides[i]);
  }
  const LaunchShape shape = one_each(params.count, kSimpleThreads);
  BLADE_RETURN_IF_ERROR(prepare_launch(*request.device, kernel, shape));
  return make_kernel(
      [=](const KernelArgs& args) {
        PointwiseParams p = params;
        std::ranges::copy(args.inputs, p.inputs);
        p.output = args.outputs[0];
        void* arguments[] = {&p};
        return launch(args, kernel, shape, arguments);
      },
      {.in_place_inputs = in_place_inputs(request), .small = small_program(request, loops, kind)});
}
Result<std::unique_ptr<Kernel>> create_integers(const KernelRequest& request, PackCache&) {
  return create_one_each(request, pointwise_integers_kernel(), SmallKind::kIntegers);
}
Result<std::unique_ptr<Kernel>> create_elements(const KernelRequest& request, PackCache&) {
  return create_one_each(request, pointwise_elements_kernel(), SmallKind::kProgram);
}

Result<std::unique_ptr<Kernel>> create_program(const KernelRequest& request, PackCache&) {
  const PointwiseLoops loops = pointwise_loops(request);
  const int width = loops.vector >= 4 ? 4 : 1;
  VectorProgramParams params;
  const int kept = encode_program(request.node->get<ir::PointwiseAttrs>().program, params);
  params.output_type = program_type(request.outputs[0].dtype);
  params.units = static_cast<int>(product(loops.dims) / width);
  params.rank = static_cast<int>(loops.dims.size());
  for (int d = 0; d < params.rank; ++d) {
    const int64_t dim = loops.dims[static_cast<size_t>(d)];
    params.dims[d] = FastDivisor(d + 1 == params.rank ? dim / width : dim);
  }
  for (size_t i = 0; i < request.inputs.size(); ++i) {
    params.input_types[i] = program_type(request.inputs[i].dtype);
    std::ranges::copy(loops.strides[i], params.strides[i]);
    params.strides[i][params.rank - 1] *= width;
    if (loops.strides[i].back() != 0) params.vectors |= 1u << i;
  }
  LaunchShape shape = one_each(params.units, kSimpleThreads * kVectorElements / width);
  shape.threads = kSimpleThreads;
  shape.shared_bytes = kept * kKeptBytes;
  const void* kernel = vector_program_kernel(width);
  BLADE_RETURN_IF_ERROR(prepare_launch(*request.device, kernel, shape));
  return make_kernel(
      [=](const KernelArgs& args) {
        VectorProgramParams p = params;
        std::ranges::copy(args.inputs, p.inputs);
        p.output = args.outputs[0];
        void* arguments[] = {&p};
        return launch(args, kernel, shape, arguments);
      },
      {.in_place_inputs = in_place_inputs(request), .small = small_program(request, loops, SmallKind::kProgram)});
}

// --- compiled at run time ---

// Below this, starting a kernel takes longer than what it does.
constexpr int64_t kLeastGenerated = 1 << 14;
// Numbers behind the pointers: the count, divisors and strides.
constexpr int kMaxNumbers = 1 + 3 * (kMaxRank - 1) + kMaxProgramInputs * kMaxRank;

Support supports_generated(const KernelRequest& request) {
  if (Support s = supports_pointwise(request); !s.ok) return s;
  if (request.inputs.empty()) return Support::no("has no operands");
  if (request.outputs[0].element_count() < kLeastGenerated) {
    return Support::no("has fewer than " + std::to_string(kLeastGenerated) + " elements");
  }
  if (const Status status = request.device->can_compile(); !status.ok()) return Support::no(status.message());
  return Support::yes();
}

// The struct of pointwise_source() without its pointers.
std::vector<int> generated_numbers(const PointwiseLoops& loops) {
  std::vector<int> numbers = {static_cast<int>(loops.vectors())};
  for (size_t d = 1; d < loops.dims.size(); ++d) {
    const int64_t dim = loops.dims[d];
    const FastDivisor divisor(d + 1 == loops.dims.size() ? dim / loops.vector : dim);
    for (const uint32_t part : {divisor.divisor, divisor.multiplier, divisor.shift}) {
      numbers.push_back(static_cast<int>(part));
    }
  }
  for (const ir::Dims& strides : loops.strides) numbers.insert(numbers.end(), strides.begin(), strides.end());
  return numbers;
}

Result<std::unique_ptr<Kernel>> create_interpreted(const KernelRequest& request, PackCache& packs, const Status& why) {
  static std::once_flag said;
  std::call_once(said, [&] { log_warning("Interpreting an elementwise chain: " + why.message()); });
  return supports_interpreter(request).ok ? create_program(request, packs) : create_elements(request, packs);
}

Result<std::unique_ptr<Kernel>> create_generated(const KernelRequest& request, PackCache& packs) {
  const PointwiseLoops loops = pointwise_loops(request);
  PointwiseSource source;
  source.program = &request.node->get<ir::PointwiseAttrs>().program;
  source.output = program_type(request.outputs[0].dtype);
  source.vector = loops.vector;
  for (size_t i = 0; i < request.inputs.size(); ++i) {
    source.types.push_back(program_type(request.inputs[i].dtype));
    source.moves.emplace_back();
    for (const int64_t stride : loops.strides[i]) source.moves.back().push_back(stride != 0);
  }
  const auto compiled = compiled_kernel(pointwise_source(source), kGeneratedName, request.device->info().architecture);
  if (!compiled.ok()) return create_interpreted(request, packs, compiled.status());
  const std::vector<int> numbers = generated_numbers(loops);
  const size_t pointers = request.inputs.size() + 1;
  LaunchShape shape = one_each(loops.vectors(), kGeneratedThreads * kGeneratedVectors);
  shape.threads = kGeneratedThreads;
  BLADE_RETURN_IF_ERROR(prepare_launch(*request.device, *compiled, shape));
  return make_kernel(
      [=, kernel = *compiled](const KernelArgs& args) {
        struct Params {
          const void* pointers[kMaxProgramInputs + 1];
          int room[kMaxNumbers];
        } p;
        std::ranges::copy(args.inputs, p.pointers);
        p.pointers[pointers - 1] = args.outputs[0];
        std::memcpy(p.pointers + pointers, numbers.data(), numbers.size() * sizeof(int));
        void* arguments[] = {&p};
        return launch(args, kernel, shape, arguments);
      },
      {.in_place_inputs = in_place_inputs(request)});
}

// --- casts ---

Support supports_cast(const KernelRequest& request) { return needs_small(request); }

Result<std::unique_ptr<Kernel>> create_cast(const KernelRequest& request, PackCache&) {
  const int64_t count = request.outputs[0].element_count();
  const int from = static_cast<int>(request.inputs[0].dtype), to = static_cast<int>(request.outputs[0].dtype);
  const auto from_type = element_type(request.inputs[0].dtype), to_type = element_type(request.outputs[0].dtype);
  const void* vectors = from_type && to_type ? vector_cast_kernel(*from_type, *to_type) : nullptr;
  const void* kernel = vectors != nullptr ? vectors : cast_kernel();
  LaunchShape shape = one_each(count, vectors != nullptr ? kSimpleThreads * kVectorElements : kSimpleThreads);
  shape.threads = kSimpleThreads;
  BLADE_RETURN_IF_ERROR(prepare_launch(*request.device, kernel, shape));
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
        void* arguments[] = {&source, &target, &n, &types[0], &types[1]};  // the vectors' kernel takes three
        return launch(args, kernel, shape, arguments);
      },
      {.small = small_work(request, {piece})});
}

constexpr KernelEntry kRows[] = {
    {"cuda.pointwise.program", ir::Op::kPointwise, supports_interpreter, nullptr, create_program},
    {"cuda.pointwise.integers", ir::Op::kPointwise, supports_integers, nullptr, create_integers},
    {"cuda.pointwise.elements", ir::Op::kPointwise, supports_elements, nullptr, create_elements},
    // Behind all interpreters, so that only tuning chooses it.
    {"cuda.pointwise.generated", ir::Op::kPointwise, supports_generated, nullptr, create_generated, nullptr, nullptr,
     kCompiles},
    {"cuda.cast.elements", ir::Op::kCast, supports_cast, nullptr, create_cast},
};

}  // namespace

std::span<const KernelEntry> pointwise_rows() { return kRows; }

}  // namespace blade::backends::cuda
