// Attention on the card against the reference: depths, lengths around tiles, masks of every broadcasting. The cases of
// the CPU's rows run in cuda_vs_reference_test.cc.
#include <limits>
#include <numeric>

#include "backends/cuda/kernel_params.h"
#include "backends/cuda_attention_cases.h"

namespace blade::backends {
namespace {

TEST(CudaVsReference, Attention) { check_all(cuda_attention_cases()); }
TEST(CudaVsReference, AttentionHalf) {
  check_all(half_attention(cuda_attention_cases()));
  check_all(half_attention(attention_cases()));
}

TEST(CudaAttention, NotOverMoreBatchDimsThanItKeeps) {
  const auto& card = cuda_device();
  if (!card.ok()) GTEST_SKIP() << "needs a GPU: " << card.status().message();
  for (const size_t batch_dims : {size_t{cuda::kMaxRank}, size_t{cuda::kMaxRank} + 1}) {
    Case c = attention_case({1, 1, 5, 1100, 8, 8, {}}, false);
    auto& attrs = std::get<ir::AttentionAttrs>(c.attrs);
    for (size_t i = 0; i < c.inputs.size(); ++i) {
      ir::Dims dims(batch_dims, 1);
      dims.insert(dims.end(), c.inputs[i]->dims.end() - 2, c.inputs[i]->dims.end());
      c.inputs[i] = halved(random_floats(dims));
    }
    std::vector<int64_t> in_place(batch_dims + 2);
    std::iota(in_place.begin(), in_place.end(), 0);
    attrs.query_perm = attrs.key_perm = attrs.value_perm = attrs.output_perm = in_place;
    const auto want = run_reference(c);
    ASSERT_TRUE(want.ok());
    const CaseGraph made = make_graph(c);
    KernelRequest request = make_request(c, made.graph.node(made.node), *want, 1);
    request.device = *card;
    for (const KernelEntry& row : (*card)->kernels()) {
      if (row.op != ir::Op::kAttention) continue;
      EXPECT_EQ(row.supports(request).ok, batch_dims == cuda::kMaxRank) << row.name;
    }
  }
}

}  // namespace
}  // namespace blade::backends
