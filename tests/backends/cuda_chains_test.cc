// Rows for what memory bounds, on a card: elementwise chains interpreted and compiled, casts, rows a warp takes whole,
// reductions, and products by NVIDIA's library.
#include "backends/cuda_rows.h"

namespace blade::backends {
namespace {

using ir::PointwiseInstr;
using ir::PointwiseOp;

Case chain(const std::string& name, std::vector<ir::TensorPtr> inputs, std::vector<PointwiseInstr> code,
           double tolerance = 1e-4) {
  ir::PointwiseAttrs attrs;
  attrs.program.num_inputs = static_cast<int16_t>(inputs.size());
  attrs.program.code = std::move(code);
  const auto count = inputs.size();
  return {name, ir::Op::kPointwise, attrs, std::move(inputs), (1u << count) - 1, 1, tolerance};
}

// Float32, float16 and bfloat16 of each.
std::vector<Case> in_all_types(const std::vector<Case>& cases) {
  std::vector<Case> all = cases;
  for (const Case& c : cases) {
    all.push_back(in_half(c));
    Case b = c;
    b.name += "_bf16";
    for (ir::TensorPtr& t : b.inputs) {
      if (t->dtype == ir::DType::kFloat32) t = random_tensor(ir::DType::kBFloat16, t->dims);
    }
    b.tolerance = 3e-2;
    all.push_back(b);
  }
  return all;
}

ir::TensorPtr mask(ir::Dims dims) { return random_tensor(ir::DType::kBool, std::move(dims), 0, 2); }

// Every op in float32 on numbers that it takes, in the vectors of four and alone.
TEST(CudaChains, EveryOp) {
  constexpr PointwiseOp kOps[] = {
#define BLADE_FLOAT_OP(name, ...) PointwiseOp::name,
#define BLADE_LONG_FLOAT_OP(name, ...) PointwiseOp::name,
#include "backends/cuda/kernels/float_ops.inc"
  };
  std::vector<Case> cases;
  for (const PointwiseOp op : kOps) {
    for (const int64_t columns : {256, 257}) {
      // How elements are loaded alone does not depend on the op, and each takes the compiler a while.
      if (columns == 257 && static_cast<int>(op) % 4 != 0) continue;
      const int arity = ir::pointwise_arity(op);
      const bool boolean =
          op == PointwiseOp::kLogicalNot || op == PointwiseOp::kLogicalAnd || op == PointwiseOp::kLogicalOr;
      std::vector<ir::TensorPtr> inputs;
      for (int i = 0; i < arity; ++i) {
        const bool is_mask = boolean || (op == PointwiseOp::kSelect && i == 0);
        const double low = op == PointwiseOp::kAcosh ? 1.25 : 0.25;
        inputs.push_back(is_mask ? mask({67, columns})
                                 : random_floats({67, columns}, low + 0.1 * i, low + 0.1 * i + 0.5));
      }
      // A comparison's result is bool: read by a select, as in a graph.
      const bool gives_bool = ir::pointwise_result_dtype(op, ir::DType::kFloat32) == ir::DType::kBool;
      std::vector<PointwiseInstr> code = {
          {op, 0, static_cast<int16_t>(arity > 1 ? 1 : -1), static_cast<int16_t>(arity > 2 ? 2 : -1), 0.5f, 0.625f}};
      if (!gives_bool && !boolean) {
        code.push_back({PointwiseOp::kAffine, static_cast<int16_t>(arity), -1, -1, 0.5f, 1.0f});
      }
      cases.push_back(chain(std::string(ir::pointwise_name(op)) + "_" + std::to_string(columns), inputs, code, 5e-5));
    }
  }
  check_all(cases);
}

std::vector<Case> long_chains() {
  std::vector<Case> cases;
  // Columns that fill vectors of 8, 4, 2 and 1.
  for (const int64_t columns : {520, 124, 126, 131}) {
    const ir::Dims full = {33, 5, columns}, row = {33, 5, 1}, column = {columns}, middle = {5, 1};
    const std::string tail = "_" + std::to_string(columns);
    cases.push_back(chain("flat" + tail, {random_floats(full), random_floats(full)},
                          {{PointwiseOp::kMul, 0, 1, -1, 0, 0},
                           {PointwiseOp::kTanh, 2, -1, -1, 0, 0},
                           {PointwiseOp::kAffine, 3, -1, -1, 0.5f, 0.5f},
                           {PointwiseOp::kMul, 4, 0, -1, 0, 0}}));
    cases.push_back(chain(
        "layer_norm" + tail,
        {random_floats(full), random_floats(row), random_floats(row), random_floats(column), random_floats(middle)},
        {{PointwiseOp::kSub, 0, 1, -1, 0, 0},
         {PointwiseOp::kMul, 5, 2, -1, 0, 0},
         {PointwiseOp::kMul, 6, 3, -1, 0, 0},
         {PointwiseOp::kAdd, 7, 4, -1, 0, 0}}));
    cases.push_back(chain("masked" + tail, {random_floats(full), mask(full), random_floats(column)},
                          {{PointwiseOp::kAdd, 0, 2, -1, 0, 0},
                           {PointwiseOp::kSigmoid, 3, -1, -1, 0, 0},
                           {PointwiseOp::kMul, 4, 3, -1, 0, 0},
                           {PointwiseOp::kNeg, 0, -1, -1, 0, 0},
                           {PointwiseOp::kSelect, 1, 5, 6, 0, 0}}));
  }
  // All intermediate results are read once more, at the end and backwards.
  std::vector<PointwiseInstr> code;
  for (int16_t i = 0; i < 6; ++i) {
    code.push_back({PointwiseOp::kAffine, static_cast<int16_t>(i == 0 ? 0 : 3 + i - 1), -1, -1, 0.75f, 0.25f});
  }
  for (int16_t i = 0; i < 6; ++i) {
    code.push_back({i % 2 == 0 ? PointwiseOp::kAdd : PointwiseOp::kSub, static_cast<int16_t>(8 + i),
                    static_cast<int16_t>(i < 5 ? 3 + 4 - i : 1), -1, 0, 0});
  }
  code.push_back({PointwiseOp::kMaximum, 14, 2, -1, 0, 0});
  cases.push_back(chain("kept", {random_floats({70, 256}), random_floats({70, 256}), random_floats({256})}, code));
  return cases;
}

TEST(CudaChains, LongOnes) { check_all(in_all_types(long_chains())); }

// The card with as little shared memory as those of 8.6, 8.9 and 12.0 give a block.
class SmallerCard final : public Device {
 public:
  explicit SmallerCard(Device& card) : card_(card), info_(card.info()) { info_.shared_bytes_per_block = 99 << 10; }
  const DeviceInfo& info() const override { return info_; }
  std::span<const KernelEntry> kernels() const override { return card_.kernels(); }
  std::span<const KernelEntry> fused_kernels() const override { return card_.fused_kernels(); }
  Result<DeviceBuffer> allocate(size_t bytes) override { return card_.allocate(bytes); }
  Result<DeviceBuffer> allocate_pinned(size_t bytes) override { return card_.allocate_pinned(bytes); }
  Result<DeviceBuffer> upload(const std::byte* from, size_t bytes) override { return card_.upload(from, bytes); }
  Result<std::unique_ptr<DeviceQueue>> create_queue() override { return card_.create_queue(); }
  Result<std::unique_ptr<DeviceQueue>> borrow_queue(void* stream) override { return card_.borrow_queue(stream); }
  Result<std::unique_ptr<JoinedKernels>> join(Device& memory, std::span<const BoundKernel> kernels,
                                              size_t* taken) override {
    return card_.join(memory, kernels, taken);
  }
  Status can_compile() const override { return card_.can_compile(); }

 private:
  Device& card_;
  DeviceInfo info_;
};

// Sixteen values that are all needed at the end: 120 KiB of shared memory.
Case many_values() {
  std::vector<PointwiseInstr> code;
  for (int16_t i = 0; i < 16; ++i) {
    code.push_back({PointwiseOp::kAffine, static_cast<int16_t>(i % 2), -1, -1, 0.1f * static_cast<float>(i), 0.25f});
  }
  for (int16_t i = 0; i < 15; ++i) {
    const auto last = static_cast<int16_t>(17 + i), other = static_cast<int16_t>(16 - i);
    code.push_back({i % 2 == 0 ? PointwiseOp::kAdd : PointwiseOp::kMaximum, last, other, -1, 0, 0});
  }
  return chain("many_values", {random_floats({130, 131}), random_floats({131})}, code);
}

TEST(CudaChains, MoreValuesThanSharedMemoryHolds) {
  const auto& card = cuda_device();
  if (!card.ok()) GTEST_SKIP() << "needs a GPU: " << card.status().message();
  SmallerCard smaller(**card);
  for (const Case& c : in_all_types({many_values()})) {
    const auto want = run_reference(c);
    ASSERT_TRUE(want.ok()) << want.status().message();
    std::string first;  // what a plan takes that was not tuned
    for (const KernelEntry& row : smaller.kernels()) {
      if (row.op != c.op) continue;
      const CaseGraph made = make_graph(c);
      KernelRequest request = make_request(c, made.graph.node(made.node), *want, 1);
      request.device = &smaller;
      if (first.empty() && row.supports(request).ok) first = row.name;
      PackCache packs;
      check_kernel(smaller, row, request, c, c.inputs, *want, packs);
    }
    EXPECT_EQ(first, "cuda.pointwise.elements");
  }
}

TEST(CudaChains, Casts) {
  std::vector<Case> cases;
  for (const int64_t count : {1, 3, 4, 2047, 2048, 20001}) {
    for (const auto from : {ir::DType::kFloat32, ir::DType::kFloat16, ir::DType::kBFloat16}) {
      for (const auto to : {ir::DType::kFloat32, ir::DType::kFloat16, ir::DType::kBFloat16}) {
        if (from == to) continue;
        cases.push_back({std::string(ir::dtype_name(from)) + "_" + ir::dtype_name(to) + "_" + std::to_string(count),
                         ir::Op::kCast,
                         ir::CastAttrs{to},
                         {random_tensor(from, {count})},
                         1,
                         1,
                         1e-6});
      }
    }
  }
  check_all(cases);
}

// In every type that the card computes: constant divisors and exponents of both signs and zeros in the dividend, the
// smallest number by -1, counts of shifts beyond the width.
TEST(CudaChains, Integers) {
  using ir::DType;
  std::vector<Case> cases;
  for (const DType dtype :
       {DType::kInt8, DType::kInt16, DType::kInt32, DType::kInt64, DType::kUInt8, DType::kUInt16, DType::kUInt32}) {
    const bool is_signed = dtype < DType::kUInt8;
    const ir::TensorPtr a = random_tensor(dtype, {31, 67}, is_signed ? -120 : 0, 120);
    const auto add = [&](PointwiseOp op, const ir::TensorPtr& x, const ir::TensorPtr& b) {
      Case c{std::string(ir::pointwise_name(op)) + "_" + ir::dtype_name(dtype) + std::to_string(cases.size()),
             ir::Op::kPointwise,
             ir::PointwiseAttrs{b != nullptr ? ir::PointwiseProgram::binary(op) : ir::PointwiseProgram::unary(op)},
             {x},
             1,
             1,
             0};
      if (b != nullptr) c.inputs.push_back(b);
      cases.push_back(c);
    };
    for (const PointwiseOp op : {PointwiseOp::kDiv, PointwiseOp::kFloorDiv, PointwiseOp::kTruncDiv,
                                 PointwiseOp::kFloorMod, PointwiseOp::kTruncMod, PointwiseOp::kPow}) {
      add(op, a, random_tensor(dtype, {67}, 1, 9));
      if (is_signed && op != PointwiseOp::kPow) {
        add(op, a, random_tensor(dtype, {1}, -7, -6));
        add(op, random_tensor(dtype, {3}, -128, -127), random_tensor(dtype, {1}, -1, -1));
      }
    }
    for (const PointwiseOp op : {PointwiseOp::kDivNoNan, PointwiseOp::kSquaredDifference, PointwiseOp::kBitwiseAnd,
                                 PointwiseOp::kBitwiseOr, PointwiseOp::kBitwiseXor, PointwiseOp::kLeftShift,
                                 PointwiseOp::kRightShift, PointwiseOp::kSub, PointwiseOp::kMaximum}) {
      add(op, a, random_tensor(dtype, {31, 1}, is_signed ? -3 : 0, 100));
    }
    for (const PointwiseOp op :
         {PointwiseOp::kRelu6, PointwiseOp::kFloor, PointwiseOp::kBitwiseNot, PointwiseOp::kAbs, PointwiseOp::kSign}) {
      add(op, a, nullptr);
    }
  }
  cases.push_back({"smallest",
                   ir::Op::kPointwise,
                   ir::PointwiseAttrs{ir::PointwiseProgram::binary(PointwiseOp::kFloorDiv)},
                   {ints({2}, {std::numeric_limits<int32_t>::min(), 7}), ints({1}, {-1})},
                   1,
                   1,
                   0});
  check_all(cases);
}

// By what the run brings, a division may fail: the host's, with the sentence.
TEST(CudaChains, IntegerDivisionByInputsIsLeftToTheHost) {
  const auto& card = cuda_device();
  if (!card.ok()) GTEST_SKIP() << "needs a GPU: " << card.status().message();
  for (const bool constant : {false, true}) {  // the constant holds a zero
    const Case c{"division",
                 ir::Op::kPointwise,
                 ir::PointwiseAttrs{ir::PointwiseProgram::binary(PointwiseOp::kFloorDiv)},
                 {ints({2}, {7, 8}), ints({2}, {3, constant ? 0 : 1})},
                 constant ? 1u : 3u,
                 1,
                 0};
    const CaseGraph made = make_graph(c);
    KernelRequest request = make_request(c, made.graph.node(made.node), {c.inputs[0]}, 1);
    request.device = *card;
    for (const KernelEntry& row : (*card)->kernels()) {
      if (row.op == c.op) {
        EXPECT_FALSE(row.supports(request).ok) << row.name;
      }
    }
  }
}

TEST(CudaChains, RowsAWarpTakes) {
  std::vector<Case> cases;
  for (const int64_t columns : {4, 100, 128, 132, 256, 260, 500, 768, 1024}) {
    const std::string tail = "_" + std::to_string(columns);
    for (const bool log : {false, true}) {
      ir::SoftmaxAttrs softmax;
      softmax.log = log;
      cases.push_back({(log ? "log_softmax" : "softmax") + tail,
                       ir::Op::kSoftmax,
                       softmax,
                       {random_floats({3, 345, columns}, -8, 8)},
                       1,
                       1,
                       2e-5});
    }
    cases.push_back({"layer_norm" + tail,
                     ir::Op::kLayerNorm,
                     ir::LayerNormAttrs{},
                     {random_floats({1037, columns}, -1, 7), random_floats({columns}), random_floats({columns})},
                     1,
                     1,
                     1e-4});
  }
  check_all(in_all_types(cases));
}

TEST(CudaChains, Reductions) {
  std::vector<Case> cases;
  for (const auto kind : {ir::ReduceKind::kSum, ir::ReduceKind::kMean, ir::ReduceKind::kMax, ir::ReduceKind::kMin}) {
    ir::ReduceAttrs attrs;
    attrs.kind = kind;
    const std::string name = "reduce_" + std::to_string(static_cast<int>(kind));
    attrs.axes = {1};
    cases.push_back({name + "_rows", ir::Op::kReduce, attrs, {random_floats({300, 1228})}, 1, 1, 2e-4});
    cases.push_back({name + "_short_rows", ir::Op::kReduce, attrs, {random_floats({4099, 8})}, 1, 1, 2e-4});
    cases.push_back({name + "_middle", ir::Op::kReduce, attrs, {random_floats({5, 3101, 68})}, 1, 1, 2e-4});
    attrs.axes = {1, 2, 4};
    cases.push_back({name + "_groups", ir::Op::kReduce, attrs, {random_floats({2, 9, 7, 5, 6})}, 1, 1, 2e-4});
    attrs.axes = {0, 2};
    cases.push_back({name + "_outer", ir::Op::kReduce, attrs, {random_floats({3, 11, 701})}, 1, 1, 2e-4});
    attrs.axes = {0};
    cases.push_back({name + "_columns", ir::Op::kReduce, attrs, {random_floats({4102, 260})}, 1, 1, 2e-4});
    cases.push_back({name + "_few_rows", ir::Op::kReduce, attrs, {random_floats({130, 8192})}, 1, 1, 2e-4});
  }
  std::vector<Case> all = in_all_types(cases);
  for (Case& c : all) c.tolerance = std::max(c.tolerance, 2e-4);
  check_all(all);
}

}  // namespace
}  // namespace blade::backends
