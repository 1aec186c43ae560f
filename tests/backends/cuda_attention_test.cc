// Attention on the card against the reference: depths, lengths around tiles, masks of every broadcasting. The cases of
// the CPU's rows run in cuda_vs_reference_test.cc.
#include <algorithm>
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
// query has no largest score, or one that is all mask.
constexpr int64_t kHiddenQueries = 19, kHiddenKeys = 1100;
bool hides_all(int64_t query) { return query % 7 == 4; }
bool hides(int64_t query, int64_t key) {
  return hides_all(query) || (query % 7 == 5 ? key < kHiddenKeys - 1 - query : key > query);
}

// Scores of what sees nothing are 0: which of them a float32 of -1e9 keeps apart is not asked.
Case hidden_case(const std::string& name, bool replaces) {
  Case c = attention_case({1, 2, kHiddenQueries, kHiddenKeys, 64, 64, {}, replaces}, true);
  c.name += name;
  auto* queries = reinterpret_cast<float*>(const_cast<std::byte*>(c.inputs[0]->data));
  const int64_t row = c.inputs[0]->element_count() / kHiddenQueries;
  for (int64_t q = 0; q < kHiddenQueries; ++q) {
    if (hides_all(q)) std::fill_n(queries + q * row, row, 0.0f);
  }
  return c;
}

std::vector<Case> hidden_chunks(float hidden) {
  std::vector<float> of_each, ends, middle;
  for (int64_t q = 0; q < kHiddenQueries; ++q) {
    for (int64_t k = 0; k < kHiddenKeys; ++k) of_each.push_back(hides(q, k) ? hidden : 0.0f);
  }
  for (int64_t k = 0; k < kHiddenKeys; ++k) {
    const bool at_end = k < 150 || k > 700;
    ends.push_back(at_end ? hidden : 0.0f);
    middle.push_back(at_end ? 0.0f : hidden);  // of no key that is all that a query sees
  }
  const auto each = tensor<float>(ir::DType::kFloat32, {kHiddenQueries, kHiddenKeys}, of_each);
  const auto of_all = [](const std::vector<float>& mask) {
    return tensor<float>(ir::DType::kFloat32, {1, 1, 1, kHiddenKeys}, mask);
  };
  std::vector<Case> cases;
  for (const bool replaces : {false, true}) {
    const std::string name = "_hidden_by_" + std::to_string(hidden) + (replaces ? "_in_place" : "");
    cases.push_back(hidden_case(name, replaces));
    cases.back().inputs.push_back(each);
    cases.push_back(hidden_case(name + "_alike", replaces));
    cases.back().inputs.push_back(of_all(ends));
    cases.push_back(hidden_case(name + "_twice", replaces));
    cases.back().inputs.push_back(each);
    cases.back().inputs.push_back(of_all(middle));
  }
  return cases;
}

// Of finite masks the least that float32 and float16 have, and what times log2(e) is none of float32.
TEST(CudaVsReference, AttentionWithHiddenChunks) {
  constexpr float kLowest = std::numeric_limits<float>::lowest(), kInfinity = std::numeric_limits<float>::infinity();
  std::vector<Case> cases;
  const auto add = [&](const std::vector<Case>& more) { cases.insert(cases.end(), more.begin(), more.end()); };
  for (const float hidden : {-kInfinity, -1e9f, 0.7f * kLowest, kLowest}) {
    add(hidden_chunks(hidden));
    add(half_attention(hidden_chunks(hidden)));
  }
  for (const float hidden : {-kInfinity, -65504.0f}) add(in_half(hidden_chunks(hidden)));  // the masks, too
  check_all(cases);
}

// Nobody sees anything: by finite masks all alike.
TEST(CudaVsReference, AttentionOfHiddenKeys) {
  constexpr float kLowest = std::numeric_limits<float>::lowest();
  for (const float hidden : {-1e9f, 0.7f * kLowest, kLowest}) {
    Case c = attention_case({1, 1, 5, 300, 64, 64, {}, true}, false);
    c.name += "_all_hidden_by_" + std::to_string(hidden);
    c.inputs.push_back(tensor<float>(ir::DType::kFloat32, {300}, std::vector<float>(300, hidden)));
    check_all({c});
    check_all(half_attention({c}));
  }
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
    cases.push_back(attention_case({1, 1, 3, 1024, depth, depth, {}}, true));
    cases.push_back(attention_case({1, 1, 3, 1024, depth, depth, {{1024}}}, true));
    cases.push_back(attention_case({1, 1, 3, 1024, depth, depth, {{3, 1024}}}, true));
  }
  check_all(half_attention(cases));
  check_all(in_half(cases));
}

bool of_groups(const KernelEntry& row) { return std::string(row.name).find(".groups") != std::string::npos; }
bool of_streams(const KernelEntry& row) { return std::string(row.name).find(".stream") != std::string::npos; }

TEST(CudaAttention, NotOfMoreBlocksThanALaunchTakes) {
  const auto& card = cuda_device();
  if (!card.ok()) GTEST_SKIP() << "needs a GPU: " << card.status().message();
  const Case c = attention_case({1, 1, 1, 1100, 1, 1, {}}, false);
  const auto want = run_reference(c);
  ASSERT_TRUE(want.ok());
  const CaseGraph made = make_graph(c);
  KernelRequest request = make_request(c, made.graph.node(made.node), *want, 1);
  request.device = *card;
  for (const bool is_half : {false, true}) {
    if (is_half) {
      for (TensorDesc& desc : request.inputs) desc.dtype = ir::DType::kFloat16;
      request.outputs[0].dtype = ir::DType::kFloat16;
    }
    request.inputs[0].dims[0] = request.outputs[0].dims[0] = int64_t{1} << 28;
    for (const KernelEntry& row : (*card)->kernels()) {
      if (row.op != ir::Op::kAttention || request.device->info().capability < 90) continue;
      const std::string name = row.name;
      const bool is_eighth = name == "cuda.attention.rows16_split8", in_pieces = of_groups(row) || of_streams(row);
      const bool needs_half = name == "cuda.attention.rows128";
      EXPECT_EQ(row.supports(request).ok, !is_eighth && !in_pieces && (is_half || !needs_half)) << row.name;
    }
  }
}

// Streams are of few queries in float16, as many blocks as there are keys for.
TEST(CudaAttention, StreamsTakeFewQueries) {
  const auto& card = cuda_device();
  if (!card.ok()) GTEST_SKIP() << "needs a GPU: " << card.status().message();
  if ((*card)->info().capability != 90) GTEST_SKIP() << "needs compute capability 9.0";
  const auto taking = [&](int64_t queries, int64_t keys, bool is_half) -> std::ptrdiff_t {
    Case c = attention_case({1, 2, queries, keys, 16, 24, {}}, true);
    if (is_half) c = in_half(c);
    const auto want = run_reference(c);
    if (!want.ok()) return -1;
    const CaseGraph made = make_graph(c);
    KernelRequest request = make_request(c, made.graph.node(made.node), *want, 1);
    request.device = *card;
    return std::ranges::count_if((*card)->kernels(), [&](const KernelEntry& row) {
      return row.op == ir::Op::kAttention && of_streams(row) && row.supports(request).ok;
    });
  };
  EXPECT_EQ(taking(1, 1024, true), 5);
  EXPECT_EQ(taking(16, 1023, true), 4);
  EXPECT_EQ(taking(1, 100, true), 1);
  EXPECT_EQ(taking(17, 1024, true), 0);
  EXPECT_EQ(taking(1, 1024, false), 0);
}

// What rows on groups of four warps refuse beside what all do.
TEST(CudaAttention, GroupsTakeWhatTensorMapsReach) {
  const auto& card = cuda_device();
  if (!card.ok()) GTEST_SKIP() << "needs a GPU: " << card.status().message();
  if ((*card)->info().capability != 90) GTEST_SKIP() << "needs compute capability 9.0";
  const auto expect = [&](Case c, bool taken) {
    c = in_half(c);
    const auto want = run_reference(c);
    ASSERT_TRUE(want.ok());
    const CaseGraph made = make_graph(c);
    KernelRequest request = make_request(c, made.graph.node(made.node), *want, 1);
    request.device = *card;
    for (const KernelEntry& row : (*card)->kernels()) {
      if (row.op != ir::Op::kAttention || !of_groups(row)) continue;
      EXPECT_EQ(row.supports(request).ok, taken) << row.name;
    }
  };
  const AttentionSpec plain = {1, 2, 5, 40, 16, 24, {}};
  Case c = attention_case(plain, true);
  expect(c, true);
  std::get<ir::AttentionAttrs>(c.attrs).scale = 0;
  expect(c, false);
  std::get<ir::AttentionAttrs>(c.attrs).scale = -1;
  expect(c, false);
  expect(attention_case({1, 2, 5, 40, 12, 24, {}}, false), false);
  expect(attention_case({1, 2, 5, 40, 16, 20, {}}, false), false);
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
