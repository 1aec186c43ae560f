// Small CUDA kernels in one launch; skipped where there is no card.
#include "backends/cuda_rows.h"

namespace blade::backends {
namespace {

// Small kernels that one launch does together give what each gives alone.
class JoinedKernelsOf {
 public:
  explicit JoinedKernelsOf(Device& device) : device_(device) {}

  void add(const Case& c, const Result<std::vector<ir::TensorPtr>>& want) {
    ASSERT_TRUE(want.ok()) << c.name << ": " << want.status().message();
    for (const ir::TensorPtr& t : *want) {
      if (t->bytes == 0) return;
    }
    const CaseGraph made = make_graph(c);
    KernelRequest request = make_request(c, made.graph.node(made.node), *want, 1);
    request.device = &device_;
    for (const KernelEntry& row : device_.kernels()) {
      const bool by_library = row.has(kTriedEarly) || row.has(kCompiles);  // no small work, and not made in no time
      if (row.op != c.op || by_library || !row.supports(request).ok) continue;
      auto kernel = row.create(request, packs_);
      if (kernel.status().code() == StatusCode::kUnavailable) continue;  // the planner takes another row
      ASSERT_TRUE(kernel.ok()) << kernel.status().message();
      if (!(*kernel)->can_join()) continue;
      auto operands = Operands::create(device_, **kernel, c.inputs, *want);
      ASSERT_TRUE(operands.ok()) << operands.status().message();
      members_.push_back({c, *want, std::move(*kernel), std::move(*operands)});
    }
  }

  void check() {
    ASSERT_GT(members_.size(), 50u);
    const auto queue = device_.create_queue();
    ASSERT_TRUE(queue.ok());
    std::vector<BoundKernel> bound;
    for (const Member& member : members_) bound.push_back({member.kernel.get(), member.operands.args(**queue)});
    for (size_t first = 0, taken = 0; first < bound.size(); first += taken) {
      const auto joined = device_.join(device_, std::span(bound).subspan(first), &taken);
      ASSERT_TRUE(joined.ok()) << joined.status().message();
      ASSERT_GT(taken, 0u);
      const bool alone = *joined == nullptr;  // one that has nothing to be joined with
      ASSERT_TRUE(!alone || taken == 1);
      ASSERT_TRUE(
          (alone ? bound[first].kernel->run(bound[first].args) : (*joined)->run((*queue)->handle(), taken)).ok());
      ASSERT_TRUE((*queue)->wait().ok());
    }
    for (const Member& member : members_) {
      const auto got = member.operands.results(**queue);
      ASSERT_TRUE(got.ok()) << member.c.name << ": " << got.status().message();
      expect_results(*got, member.c, member.want, "joined");
    }
  }

 private:
  struct Member {
    Case c;
    std::vector<ir::TensorPtr> want;
    std::unique_ptr<Kernel> kernel;
    Operands operands;
  };
  Device& device_;
  PackCache packs_;
  std::vector<Member> members_;
};

TEST(CudaJoinedKernels, GiveWhatEachGives) {
  const auto& card = cuda_device();
  if (!card.ok()) GTEST_SKIP() << "needs a GPU: " << card.status().message();
  JoinedKernelsOf joined(**card);
  for (const auto& cases : {pointwise_cases(), matrix_cases(), row_cases(), movement_cases(),
                            in_half(pointwise_cases()), in_half(matrix_cases()), in_half(row_cases())}) {
    const References references = references_of(cases);
    for (size_t i = 0; i < cases.size(); ++i) {
      joined.add(cases[i], references[i]);
      if (::testing::Test::HasFatalFailure()) return;
    }
  }
  joined.check();
}

// A chain through one buffer after another, and back into the first: each step waits for the one before.
TEST(CudaJoinedKernels, WaitForEachOther) {
  const auto& card = cuda_device();
  if (!card.ok()) GTEST_SKIP() << "needs a GPU: " << card.status().message();
  Case c{"square",
         ir::Op::kPointwise,
         ir::PointwiseAttrs{ir::PointwiseProgram::unary(ir::PointwiseOp::kAffine)},
         {random_floats({700})},
         1,
         1,
         1e-5};
  std::get<ir::PointwiseAttrs>(c.attrs).program.code[0].alpha = -2;
  std::get<ir::PointwiseAttrs>(c.attrs).program.code[0].beta = 1;
  const auto want = run_reference(c);
  ASSERT_TRUE(want.ok());
  const CaseGraph made = make_graph(c);
  KernelRequest request = make_request(c, made.graph.node(made.node), *want, 1);
  request.device = *card;
  PackCache packs;
  for (const KernelEntry& row : (*card)->kernels()) {
    if (row.op != c.op || !row.supports(request).ok) continue;
    const auto kernel = row.create(request, packs);
    ASSERT_TRUE(kernel.ok() && (*kernel)->can_join());
    const auto queue = (*card)->create_queue();
    auto a = (*card)->upload(c.inputs[0]->data, c.inputs[0]->bytes);
    auto b = (*card)->allocate(c.inputs[0]->bytes);
    ASSERT_TRUE(queue.ok() && a.ok() && b.ok());
    const void *from[] = {a->data()}, *back[] = {b->data()};
    void *to[] = {b->data()}, *there[] = {a->data()};
    BoundKernel forth, home;
    forth.kernel = home.kernel = kernel->get();
    forth.args.inputs = from, forth.args.outputs = to;
    home.args.inputs = back, home.args.outputs = there;
    const std::vector<BoundKernel> chain = {forth, home, forth, home, forth, home};
    size_t taken = 0;
    const auto joined = (*card)->join(**card, chain, &taken);
    ASSERT_TRUE(joined.ok() && taken == chain.size());
    ASSERT_TRUE((*joined)->run((*queue)->handle(), 4).ok());  // two rounds of the three
    std::vector<float> got(700);
    ASSERT_TRUE((*queue)->copy_to_host(reinterpret_cast<std::byte*>(got.data()), a->data(), 2800).ok());
    ASSERT_TRUE((*queue)->wait().ok());
    for (int i = 0; i < 700; ++i) {
      double value = element(*c.inputs[0], i);
      for (int step = 0; step < 4; ++step) value = -2 * value + 1;
      EXPECT_NEAR(got[static_cast<size_t>(i)], value, 1e-4) << i;
    }
    return;
  }
  FAIL() << "no row takes the program";
}

}  // namespace
}  // namespace blade::backends
