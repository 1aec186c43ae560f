// Attention on the card against the reference: depths, lengths around tiles, masks of every broadcasting. The cases of
// the CPU's rows run in cuda_vs_reference_test.cc.
#include <limits>

#include "backends/cuda_attention_cases.h"

namespace blade::backends {
namespace {

TEST(CudaVsReference, Attention) { check_all(cuda_attention_cases()); }
TEST(CudaVsReference, AttentionHalf) {
  check_all(half_attention(cuda_attention_cases()));
  check_all(half_attention(attention_cases()));
}

}  // namespace
}  // namespace blade::backends
