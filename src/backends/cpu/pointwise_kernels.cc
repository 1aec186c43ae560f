// Pointwise nodes: float programs by blocks, single instructions on other dtypes by typed loops.
#include "backends/cpu/broadcast.h"
#include "backends/cpu/kernel_families.h"
#include "backends/cpu/matrix/convert.h"
#include "backends/cpu/pointwise_program.h"
#include "backends/cpu/pointwise_typed.h"
#include "backends/reference/pointwise_math.h"

namespace blade::backends::cpu {
namespace {

constexpr int64_t kMaxPiece = 2048;
constexpr int64_t kMaxPeriod = 1024;
constexpr int64_t kPeriodicRun = 1024;  // elements that one call of the program covers where operands are periodic

const ir::PointwiseProgram& program_of(const KernelRequest& request) {
  return request.node->get<ir::PointwiseAttrs>().program;
}

std::vector<ir::DType> input_dtypes(const KernelRequest& request) {
  std::vector<ir::DType> dtypes;
  for (int i = 0; i < program_of(request).num_inputs; ++i) dtypes.push_back(request.inputs[i].dtype);
  return dtypes;
}

BroadcastPlan plan_of(const KernelRequest& request) {
  std::vector<ir::Dims> operands;
  for (int i = 0; i < program_of(request).num_inputs; ++i) operands.push_back(request.inputs[i].dims);
  return plan_broadcast(request.outputs[0].dims, operands);
}

// Inputs that have the output's dtype and dims: each element is read before it is overwritten.
uint32_t in_place_inputs(const KernelRequest& request) {
  uint32_t mask = 0;
  for (int i = 0; i < program_of(request).num_inputs && i < 32; ++i) {
    const bool same =
        request.inputs[i].dtype == request.outputs[0].dtype && request.inputs[i].dims == request.outputs[0].dims;
    mask |= static_cast<uint32_t>(same) << i;
  }
  return mask;
}

Support too_many_operands(const KernelRequest& request) {
  const int count = program_of(request).num_inputs;
  if (count <= kMaxOperands) return Support::yes();
  return Support::no("has " + std::to_string(count) + " operands, takes " + std::to_string(kMaxOperands));
}

Support supports_f32(const KernelRequest& request) {
  if (Support s = too_many_operands(request); !s.ok) return s;
  const std::vector<ir::DType> dtypes = input_dtypes(request);
  const bool only_bools = std::all_of(dtypes.begin(), dtypes.end(), [](ir::DType d) { return d == ir::DType::kBool; });
  if (only_bools) return Support::no("works on bool alone");
  return ProgramF32::supports(program_of(request), dtypes, request.outputs[0].dtype);
}

// How operands whose rows are short and all alike ([c] against [..., c]) are repeated into buffers, so that a run of
// many rows is one loop.
struct PeriodicOperands {
  bool usable = false;
  int64_t period = 1;
  std::vector<int> repeated;  // operands that need a buffer
};

PeriodicOperands find_periodic(const BroadcastPlan& plan, std::span<const ir::DType> dtypes) {
  PeriodicOperands periodic;
  if (plan.dims.size() != 2 || plan.inner() > kMaxPeriod) return periodic;
  periodic.period = plan.inner();
  for (size_t k = 0; k < plan.strides.size(); ++k) {
    const ir::Dims& s = plan.strides[k];
    if (s[1] == 1 && s[0] == plan.inner()) continue;
    if (s[0] == 0 && s[1] == 0) continue;
    if (s[0] != 0 || (dtypes[k] != ir::DType::kFloat32 && dtypes[k] != ir::DType::kBFloat16)) return periodic;
    periodic.repeated.push_back(static_cast<int>(k));
  }
  periodic.usable = true;
  return periodic;
}

size_t buffer_floats(const PeriodicOperands& periodic) {
  return align_up(static_cast<size_t>(periodic.period + kPeriodicRun), 16);
}

void fill_periodic(const PeriodicOperands& periodic, std::span<const ir::DType> dtypes, const KernelArgs& args) {
  auto* buffer = reinterpret_cast<float*>(args.scratch);
  const auto length = static_cast<int64_t>(buffer_floats(periodic));
  for (size_t r = 0; r < periodic.repeated.size(); ++r) {
    const auto operand = static_cast<size_t>(periodic.repeated[r]);
    float* to = buffer + static_cast<int64_t>(r) * length;
    if (dtypes[operand] == ir::DType::kBFloat16) {
      widen(input<BFloat16>(args, operand), to, periodic.period);
    } else {
      std::copy_n(input<float>(args, operand), periodic.period, to);
    }
    for (int64_t done = periodic.period; done < length; done *= 2)
      std::copy_n(to, std::min(done, length - done), to + done);
  }
}

void run_periodic(const ProgramF32& program, const BroadcastPlan& plan, const PeriodicOperands& periodic,
                  std::span<const ir::DType> dtypes, size_t out_size, const KernelArgs& args) {
  fill_periodic(periodic, dtypes, args);
  const auto* buffer = reinterpret_cast<const float*>(args.scratch);
  const int64_t total = plan.rows() * plan.inner();
  const int64_t runs = ceil_div(total, kPeriodicRun);
  const auto work = program.cost() * static_cast<double>(std::min(kPeriodicRun, total));
  parallel_ranges(args.pool, runs, work, [&](int64_t first, int64_t last) {
    ProgramF32::Source sources[kMaxOperands];
    for (int64_t run = first; run < last; ++run) {
      const int64_t begin = run * kPeriodicRun;
      for (size_t k = 0; k < plan.strides.size(); ++k) {
        const bool repeats = plan.strides[k][1] == 0;
        const auto offset = static_cast<size_t>(repeats ? 0 : begin) * ir::dtype_size(dtypes[k]);
        sources[k] = {input(args, k) + offset, repeats};
      }
      for (size_t r = 0; r < periodic.repeated.size(); ++r) {
        sources[periodic.repeated[r]].data = buffer + r * buffer_floats(periodic) + begin % periodic.period;
      }
      program.run(sources, output(args) + static_cast<size_t>(begin) * out_size, std::min(kPeriodicRun, total - begin));
    }
  });
}

// Rows too short for a call each: many are run as one block, and operands that do not lie so are spread out for it.
constexpr int64_t kShortRow = 64;
constexpr int64_t kBlock = 1024;  // elements
constexpr size_t kMaxSpread = 4;

struct BlockPlan {
  bool usable = false;
  size_t axis = 0;       // a block covers `chunk` steps of this dim and all dims behind it
  int64_t trailing = 1;  // elements of one step
  int64_t chunk = 1;
  std::vector<int> spread;                    // operands that need a buffer
  std::vector<std::vector<int64_t>> offsets;  // of each of those: where a step's elements are

  int64_t blocks_of_row(const BroadcastPlan& plan) const { return ceil_div(plan.dims[axis], chunk); }
};

enum class Lies { kDense, kOnce, kSpread };

// How an operand lies in a step and from step to step.
Lies lies_in_block(const BroadcastPlan& plan, size_t axis, const ir::Dims& strides) {
  bool dense = true, once = true;
  int64_t step = 1;
  for (size_t d = plan.dims.size(); d-- > axis;) {
    dense = dense && strides[d] == step;
    once = once && strides[d] == 0;
    step *= plan.dims[d];
  }
  return dense ? Lies::kDense : once ? Lies::kOnce : Lies::kSpread;
}

std::vector<int64_t> step_offsets(const BroadcastPlan& plan, const BlockPlan& block, const ir::Dims& strides) {
  std::vector<int64_t> offsets(static_cast<size_t>(block.trailing), 0);
  for (int64_t i = 0; i < block.trailing; ++i) {
    int64_t rest = i, at = 0;
    for (size_t d = plan.dims.size(); d-- > block.axis + 1;) {
      at += rest % plan.dims[d] * strides[d];
      rest /= plan.dims[d];
    }
    offsets[static_cast<size_t>(i)] = at;
  }
  return offsets;
}

BlockPlan find_blocks(const BroadcastPlan& plan, std::span<const ir::DType> dtypes) {
  BlockPlan block;
  if (plan.flat() || plan.inner() >= kShortRow || plan.rows() == 0) return block;
  block.axis = plan.dims.size() - 2;
  block.trailing = plan.inner();
  while (block.axis > 0 && block.trailing * plan.dims[block.axis] <= kBlock / 2) {
    block.trailing *= plan.dims[block.axis--];
  }
  block.chunk = std::clamp<int64_t>(kBlock / block.trailing, 1, plan.dims[block.axis]);
  for (size_t k = 0; k < plan.strides.size(); ++k) {
    if (lies_in_block(plan, block.axis, plan.strides[k]) != Lies::kSpread) continue;
    if (dtypes[k] != ir::DType::kFloat32) return block;
    block.spread.push_back(static_cast<int>(k));
    block.offsets.push_back(step_offsets(plan, block, plan.strides[k]));
  }
  block.usable = block.spread.size() <= kMaxSpread && block.chunk * block.trailing > plan.inner();
  return block;
}

// One thread's copies of the spread operands; one that stays where it was is not copied again.
class SpreadBuffers {
 public:
  explicit SpreadBuffers(const BlockPlan& block) : block_(block) {}

  const float* get(size_t index, const float* from, int64_t stride, int64_t steps) {
    float* to = buffers_[index];
    if (from == last_[index] && steps <= steps_[index]) return to;
    const int64_t* offsets = block_.offsets[index].data();
    for (int64_t s = 0; s < steps; ++s, to += block_.trailing) {
      for (int64_t i = 0; i < block_.trailing; ++i) to[i] = from[s * stride + offsets[i]];
    }
    last_[index] = from;
    steps_[index] = steps;
    return buffers_[index];
  }

 private:
  const BlockPlan& block_;
  float buffers_[kMaxSpread][kBlock];
  const float* last_[kMaxSpread] = {};
  int64_t steps_[kMaxSpread] = {};
};

void run_blocks(const ProgramF32& program, const BroadcastPlan& plan, const BlockPlan& block,
                std::span<const ir::DType> dtypes, size_t out_size, const KernelArgs& args) {
  const int64_t per_row = block.blocks_of_row(plan), rows = product(plan.dims, 0, block.axis);
  const auto work = program.cost() * static_cast<double>(block.chunk * block.trailing);
  parallel_ranges(args.pool, rows * per_row, work, [&](int64_t first, int64_t last) {
    SpreadBuffers buffers(block);
    ProgramF32::Source sources[kMaxOperands];
    for (int64_t unit = first; unit < last; ++unit) {
      const int64_t row = unit / per_row, step = unit % per_row * block.chunk;
      const int64_t steps = std::min(block.chunk, plan.dims[block.axis] - step);
      size_t spread = 0;
      for (size_t k = 0; k < plan.strides.size(); ++k) {
        const ir::Dims& strides = plan.strides[k];
        int64_t offset = step * strides[block.axis], rest = row;
        for (size_t d = block.axis; d-- > 0;) {
          offset += rest % plan.dims[d] * strides[d];
          rest /= plan.dims[d];
        }
        const std::byte* at = input(args, k) + static_cast<size_t>(offset) * ir::dtype_size(dtypes[k]);
        const bool is_spread = spread < block.spread.size() && block.spread[spread] == static_cast<int>(k);
        sources[k] = {at, !is_spread && strides.back() == 0};
        if (!is_spread) continue;
        sources[k].data = buffers.get(spread++, reinterpret_cast<const float*>(at), strides[block.axis], steps);
      }
      const int64_t begin = (row * plan.dims[block.axis] + step) * block.trailing;
      program.run(sources, output(args) + static_cast<size_t>(begin) * out_size, steps * block.trailing);
    }
  });
}

void run_rows(const ProgramF32& program, const BroadcastPlan& plan, std::span<const ir::DType> dtypes, size_t out_size,
              const KernelArgs& args) {
  for_each_row(args.pool, plan, kMaxPiece, program.cost(), [&](int64_t begin, int64_t count, const int64_t* offsets) {
    ProgramF32::Source sources[kMaxOperands];
    for (size_t k = 0; k < plan.strides.size(); ++k) {
      sources[k] = {input(args, k) + static_cast<size_t>(offsets[k]) * ir::dtype_size(dtypes[k]),
                    plan.strides[k].back() == 0};
    }
    program.run(sources, output(args) + static_cast<size_t>(begin) * out_size, count);
  });
}

Result<std::unique_ptr<Kernel>> create_f32(const KernelRequest& request, PackCache&) {
  const std::vector<ir::DType> dtypes = input_dtypes(request);
  const BroadcastPlan plan = plan_of(request);
  const size_t out_size = ir::dtype_size(request.outputs[0].dtype);
  const PeriodicOperands periodic = find_periodic(plan, dtypes);
  std::vector<ir::DType> read_dtypes = dtypes;
  for (int k : periodic.repeated) read_dtypes[static_cast<size_t>(k)] = ir::DType::kFloat32;
  const ProgramF32 program(program_of(request), periodic.usable ? read_dtypes : dtypes, request.outputs[0].dtype);
  const uint32_t in_place = in_place_inputs(request);
  if (periodic.usable) {
    const size_t scratch = periodic.repeated.size() * buffer_floats(periodic) * sizeof(float);
    return make_kernel(
        [=](const KernelArgs& args) {
          run_periodic(program, plan, periodic, dtypes, out_size, args);
          return Status::ok_status();
        },
        in_place, scratch);
  }
  const BlockPlan block = find_blocks(plan, dtypes);
  if (block.usable) {
    return make_kernel(
        [=](const KernelArgs& args) {
          run_blocks(program, plan, block, dtypes, out_size, args);
          return Status::ok_status();
        },
        in_place);
  }
  return make_kernel(
      [=](const KernelArgs& args) {
        run_rows(program, plan, dtypes, out_size, args);
        return Status::ok_status();
      },
      in_place);
}

Support supports_typed(const KernelRequest& request) {
  const ir::PointwiseProgram& program = program_of(request);
  if (program.code.size() != 1) return Support::no("fused programs are for floating types");
  const ir::PointwiseInstr& instr = program.code[0];
  const bool plain_order = instr.a == 0 && (instr.b < 0 || instr.b == 1) && (instr.c < 0 || instr.c == 2);
  if (!plain_order) return Support::no("operands are not in order");
  const ir::DType operand = request.inputs[instr.op == ir::PointwiseOp::kSelect ? 1 : 0].dtype;
  if (typed_row_function(instr.op, operand) != nullptr) return Support::yes();
  return Support::no(std::string(ir::pointwise_name(instr.op)) + " has no loop for " + ir::dtype_name(operand));
}

Status typed_error(const std::string& label, TypedError error) {
  if (error == TypedError::kDivisionByZero) {
    return invalid_argument(label + "integer division by zero; the divisor must not contain 0.");
  }
  return Status::ok_status();
}

Result<std::unique_ptr<Kernel>> create_typed(const KernelRequest& request, PackCache&) {
  const ir::PointwiseInstr instr = program_of(request).code[0];
  const std::vector<ir::DType> dtypes = input_dtypes(request);
  const TypedRowFunction function = typed_row_function(instr.op, dtypes[instr.op == ir::PointwiseOp::kSelect ? 1 : 0]);
  const BroadcastPlan plan = plan_of(request);
  const size_t out_size = ir::dtype_size(request.outputs[0].dtype);
  const std::string label = node_label(request);
  return make_kernel(
      [=](const KernelArgs& args) {
        std::atomic<TypedError> error{TypedError::kNone};
        for_each_row(args.pool, plan, kMaxPiece, 2, [&](int64_t begin, int64_t count, const int64_t* offsets) {
          TypedRow row;
          row.count = count;
          row.out = output(args) + static_cast<size_t>(begin) * out_size;
          row.instr = &instr;
          for (size_t k = 0; k < plan.strides.size(); ++k) {
            row.in[k] = input(args, k) + static_cast<size_t>(offsets[k]) * ir::dtype_size(dtypes[k]);
            row.stride[k] = plan.strides[k].back();
          }
          const TypedError own = function(row);
          if (own != TypedError::kNone) error.store(own, std::memory_order_relaxed);
        });
        return typed_error(label, error.load());
      },
      in_place_inputs(request));
}

// --- what is left: one call of the instruction's definition an element ---

Support supports_scalar(const KernelRequest& request) {
  const ir::PointwiseProgram& program = program_of(request);
  if (program.code.size() != 1) return Support::no("fused programs are for float32");
  const ir::PointwiseInstr& instr = program.code[0];
  const bool plain_order = instr.a == 0 && (instr.b < 0 || instr.b == 1) && (instr.c < 0 || instr.c == 2);
  return plain_order && instr.op != ir::PointwiseOp::kSelect ? Support::yes()
                                                             : Support::no("operands are not in order");
}

template <class W, class T, class Out>
void apply_row(const ir::PointwiseInstr& instr, const TypedRow& row, ir::DType operand, ir::DType result,
               reference::MathError& error) {
  const T *a = static_cast<const T*>(row.in[0]), *b = static_cast<const T*>(row.in[1]);
  Out* out = static_cast<Out*>(row.out);
  for (int64_t i = 0; i < row.count; ++i) {
    const W x = reference::widen<T, W>(a[i * row.stride[0]]);
    const W y = b == nullptr ? W(0) : reference::widen<T, W>(b[i * row.stride[1]]);
    out[i] = reference::narrow<Out, W>(reference::apply_instr(instr, x, y, W(0), operand, error), result);
  }
}

using ScalarRow = void (*)(const ir::PointwiseInstr&, const TypedRow&, ir::DType, ir::DType, reference::MathError&);

ScalarRow scalar_row(ir::DType operand, ir::DType result) {
  return reference::with_storage(operand, [&]<class T>(T) -> ScalarRow {
    using W = std::conditional_t<!std::is_integral_v<T>, double,
                                 std::conditional_t<std::is_same_v<T, uint64_t>, uint64_t, int64_t>>;
    return result == operand ? ScalarRow(apply_row<W, T, T>) : ScalarRow(apply_row<W, T, uint8_t>);
  });
}

Result<std::unique_ptr<Kernel>> create_scalar(const KernelRequest& request, PackCache&) {
  const ir::PointwiseInstr instr = program_of(request).code[0];
  const std::vector<ir::DType> dtypes = input_dtypes(request);
  const ir::DType result = request.outputs[0].dtype;
  const ScalarRow function = scalar_row(dtypes[0], result);
  const BroadcastPlan plan = plan_of(request);
  const size_t out_size = ir::dtype_size(result);
  const std::string label = node_label(request);
  return make_kernel(
      [=](const KernelArgs& args) {
        std::atomic<reference::MathError> error{reference::MathError::kNone};
        for_each_row(args.pool, plan, kMaxPiece, 40, [&](int64_t begin, int64_t count, const int64_t* offsets) {
          TypedRow row;
          row.count = count;
          row.out = output(args) + static_cast<size_t>(begin) * out_size;
          for (size_t k = 0; k < plan.strides.size(); ++k) {
            row.in[k] = input(args, k) + static_cast<size_t>(offsets[k]) * ir::dtype_size(dtypes[k]);
            row.stride[k] = plan.strides[k].back();
          }
          reference::MathError own = reference::MathError::kNone;
          function(instr, row, dtypes[0], result, own);
          if (own != reference::MathError::kNone) error.store(own, std::memory_order_relaxed);
        });
        return reference::math_error_status(label, error.load());
      },
      in_place_inputs(request));
}

constexpr KernelEntry kPointwiseRows[] = {
    {"cpu.pointwise.blocks_f32", ir::Op::kPointwise, supports_f32, nullptr, create_f32, nullptr, any_rows},
    {"cpu.pointwise.typed", ir::Op::kPointwise, supports_typed, nullptr, create_typed, nullptr, any_rows},
    {"cpu.pointwise.scalar", ir::Op::kPointwise, supports_scalar, nullptr, create_scalar, nullptr, any_rows},
};

}  // namespace

std::span<const KernelEntry> pointwise_rows() { return kPointwiseRows; }

}  // namespace blade::backends::cpu
