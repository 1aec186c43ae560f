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

// Chunks of keys of which nothing is seen, at the end, at the beginning and everywhere: what has nothing but them of a
// query has no largest score.
std::vector<Case> hidden_chunks() {
  constexpr int64_t kQueries = 19, kKeys = 1100;
  std::vector<float> seen(kQueries * kKeys);
  for (int64_t q = 0; q < kQueries; ++q) {
    for (int64_t k = 0; k < kKeys; ++k) {
      const bool hidden = q % 7 == 4 || (q % 7 == 5 ? k < kKeys - 1 - q : k > q);
      seen[static_cast<size_t>(q * kKeys + k)] = hidden ? -std::numeric_limits<float>::infinity() : 0.0f;
    }
  }
  std::vector<Case> cases;
  for (const bool replaces : {false, true}) {
    cases.push_back(attention_case({1, 2, kQueries, kKeys, 64, 64, {}, replaces}, true));
    cases.back().name += "_hidden";
    cases.back().inputs.push_back(tensor<float>(ir::DType::kFloat32, {kQueries, kKeys}, seen));
  }
  return cases;
}

TEST(CudaVsReference, AttentionWithHiddenChunks) {
  check_all(hidden_chunks());
  check_all(half_attention(hidden_chunks()));
  check_all(in_half(hidden_chunks()));  // the mask, too
}

// Scores that rise or fall by much from chunk to chunk: what is summed before is next to nothing, or what comes later.
std::vector<Case> steep() {
  constexpr int64_t kKeys = 517;
  std::vector<Case> cases;
  for (const bool rises : {false, true}) {
    cases.push_back(attention_case({1, 2, 67, kKeys, 64, 64, {}}, false));
    cases.back().name += rises ? "_rising" : "_falling";
    const ir::TensorPtr& keys = cases.back().inputs[1];
    auto* values = reinterpret_cast<float*>(const_cast<std::byte*>(keys->data));
    for (int64_t i = 0; i < keys->element_count(); ++i) {
      const int64_t key = i / 64 % kKeys;
      values[i] *= static_cast<float>(rises ? key : kKeys - key) / 20;
    }
  }
  return cases;
}

TEST(CudaVsReference, AttentionWithSteepScores) {
  check_all(steep());
  check_all(half_attention(steep()));
}

// Few queries and as few keys as all forms take: quick under a checker of races.
TEST(CudaAttention, EveryFormOnce) {
  std::vector<Case> cases;
  for (const int64_t depth : {64, 128}) {
    cases.push_back(attention_case({1, 1, 3, 900, depth, depth, {}}, true));
    cases.push_back(attention_case({1, 1, 3, 900, depth, depth, {{900}}}, true));
    cases.push_back(attention_case({1, 1, 3, 900, depth, depth, {{3, 900}}}, true));
  }
  check_all(half_attention(cases));
  check_all(in_half(cases));
}

TEST(CudaAttention, NotOfMoreBlocksThanALaunchTakes) {
  const auto& card = cuda_device();
  if (!card.ok()) GTEST_SKIP() << "needs a GPU: " << card.status().message();
  const Case c = attention_case({1, 1, 1, 1100, 1, 1, {}}, false);
  const auto want = run_reference(c);
  ASSERT_TRUE(want.ok());
  const CaseGraph made = make_graph(c);
  KernelRequest request = make_request(c, made.graph.node(made.node), *want, 1);
  request.device = *card;
  request.inputs[0].dims[0] = request.outputs[0].dims[0] = int64_t{1} << 28;
  for (const KernelEntry& row : (*card)->kernels()) {
    if (row.op != ir::Op::kAttention || request.device->info().capability < 90) continue;
    const std::string name = row.name;
    const bool is_eighth = name == "cuda.attention.rows16_split8";
    const bool is_half = name == "cuda.attention.rows128" || name.find(".groups") != std::string::npos;
    EXPECT_EQ(row.supports(request).ok, !is_eighth && !is_half) << row.name;
  }
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
