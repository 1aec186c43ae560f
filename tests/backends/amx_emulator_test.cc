// The emulator against the definition of each instruction in plain C++, and the processor itself where it has AMX.
#include "support/amx_emulator.h"

#include <gtest/gtest.h>
#include <pthread.h>

#include <cmath>
#include <cstring>
#include <random>
#include <thread>
#include <vector>

#include "backends/machine.h"
#include "base/float_mode.h"
#include "base/half.h"

namespace blade {
namespace {

struct alignas(64) Config {
  uint8_t palette = 1, start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
};

// C: tile 0, A: tile 5, B: tile 7.
Config config_for(int m, int k, int n) {
  Config c;
  c.rows[0] = static_cast<uint8_t>(m), c.row_bytes[0] = static_cast<uint16_t>(4 * n);
  c.rows[5] = static_cast<uint8_t>(m), c.row_bytes[5] = static_cast<uint16_t>(4 * k);
  c.rows[7] = static_cast<uint8_t>(k), c.row_bytes[7] = static_cast<uint16_t>(4 * n);
  return c;
}

class AmxInstructions : public ::testing::Test {
 protected:
  void SetUp() override {
    if (amx_mode() == AmxMode::kMissing) GTEST_SKIP() << describe_amx(amx_mode());
    std::printf("%s.\n", describe_amx(amx_mode()));
  }
};

float flushed(float x) { return std::fpclassify(x) == FP_SUBNORMAL ? std::copysign(0.0f, x) : x; }
float element(uint32_t pair, int which) {
  BFloat16 half;
  half.bits = static_cast<uint16_t>(pair >> (16 * which));
  return flushed(static_cast<float>(half));
}
float fused(float a, float b, float sum) { return flushed(std::fma(a, b, sum)); }

void expect_same(float got, float want) {
  if (std::isnan(want)) {
    EXPECT_TRUE(std::isnan(got));
    return;
  }
  uint32_t got_bits, want_bits;
  std::memcpy(&got_bits, &got, 4);
  std::memcpy(&want_bits, &want, 4);
  EXPECT_EQ(got_bits, want_bits) << got << " " << want;
}

TEST_F(AmxInstructions, DotProductIsThatOfTheManual) {
  std::mt19937 rng(3);
  const auto random_pair = [&](int round) {
    uint32_t bits = static_cast<uint32_t>(rng());
    if (round % 4 == 0) return bits;  // anything: NaN, infinities, denormals
    bits &= 0x80ff80ffu;
    const uint32_t exponent = round % 4 == 1 ? 0x3f003f00u : 0x20002000u;  // the latter: products are denormals
    return bits | (exponent & ~0x00ff00ffu);
  };
  for (int round = 0; round < 200; ++round) {
    const int m = 1 + static_cast<int>(rng() % 16), k = 1 + static_cast<int>(rng() % 16);
    const int n = 1 + static_cast<int>(rng() % 16);
    std::vector<uint32_t> a(static_cast<size_t>(m * k)), b(static_cast<size_t>(k * n));
    std::vector<float> c(static_cast<size_t>(m * n)), got(c.size());
    for (uint32_t& x : a) x = random_pair(round);
    for (uint32_t& x : b) x = random_pair(round);
    for (float& x : c) x = round % 3 == 0 ? 1e-39f : static_cast<float>(rng() % 100) / 7;
    Config config = config_for(m, k, n);
    asm volatile("ldtilecfg %0" ::"m"(config));
    asm volatile("tileloadd (%0,%1,1), %%tmm0" ::"r"(c.data()), "r"(int64_t{4} * n) : "memory");
    asm volatile("tileloaddt1 (%0,%1,4), %%tmm5" ::"r"(a.data()), "r"(int64_t{k}) : "memory");
    asm volatile("tileloadd 8(%0,%1,1), %%tmm7" ::"r"(b.data() - 2), "r"(int64_t{4} * n) : "memory");
    asm volatile("tdpbf16ps %tmm7, %tmm5, %tmm0");
    asm volatile("tilestored %%tmm0, 1024(%0,%1,1)" ::"r"(got.data() - 256), "r"(int64_t{4} * n) : "memory");
    asm volatile("tilerelease");
    for (int i = 0; i < m; ++i) {
      for (int j = 0; j < n; ++j) {
        float even = 0, odd = 0;
        for (int x = 0; x < k; ++x) {
          even = fused(element(a[i * k + x], 0), element(b[x * n + j], 0), even);
          odd = fused(element(a[i * k + x], 1), element(b[x * n + j], 1), odd);
        }
        const float want = flushed(flushed(c[i * n + j]) + flushed(even + odd));
        expect_same(got[i * n + j], want);
        if (HasFailure()) return;
      }
    }
  }
}

TEST_F(AmxInstructions, TilesAreThoseOfTheConfiguration) {
  Config config = config_for(3, 5, 7);
  config.rows[2] = 16, config.row_bytes[2] = 64;
  Config stored;
  stored.palette = 77;
  asm volatile("ldtilecfg %0" ::"m"(config));
  asm volatile("sttilecfg %0" : "=m"(stored));
  EXPECT_EQ(std::memcmp(&config, &stored, sizeof config), 0);
  // Rows at a negative stride, and only those that the tile has.
  std::vector<uint8_t> from(16 * 64 + 64), to(16 * 64, 0xee);
  for (size_t i = 0; i < from.size(); ++i) from[i] = static_cast<uint8_t>(i * 7);
  asm volatile("tileloadd (%0,%1,1), %%tmm0" ::"r"(from.data() + 2 * 64), "r"(int64_t{-64}) : "memory");
  asm volatile("tilestored %%tmm0, (%0,%1,2)" ::"r"(to.data()), "r"(int64_t{32}) : "memory");
  for (size_t i = 0; i < to.size(); ++i) {
    const size_t row = i / 64, at = i % 64;
    EXPECT_EQ(to[i], row < 3 && at < 28 ? from[(2 - row) * 64 + at] : 0xee) << i;
  }
  asm volatile("tilezero %tmm0");
  asm volatile("tilestored %%tmm0, (%0,%1,1)" ::"r"(to.data()), "r"(int64_t{64}) : "memory");
  EXPECT_EQ(to[0], 0);
  EXPECT_EQ(to[28], 0xee);
  asm volatile("tilerelease");
  asm volatile("sttilecfg %0" : "=m"(stored));
  EXPECT_EQ(stored.palette, 0);
}

TEST_F(AmxInstructions, EachThreadHasItsOwnTiles) {
  const auto work = [](uint8_t value) {
    Config config = config_for(16, 16, 16);
    std::vector<uint8_t> from(1024, value), to(1024);
    asm volatile("ldtilecfg %0" ::"m"(config));
    for (int i = 0; i < 200; ++i) {
      asm volatile("tileloadd (%0,%1,1), %%tmm0" ::"r"(from.data()), "r"(int64_t{64}) : "memory");
      asm volatile("tilestored %%tmm0, (%0,%1,1)" ::"r"(to.data()), "r"(int64_t{64}) : "memory");
      EXPECT_EQ(from, to);
    }
    asm volatile("tilerelease");
  };
  std::vector<std::thread> threads;
  for (uint8_t t = 1; t < 5; ++t) threads.emplace_back(work, t);
  for (std::thread& t : threads) t.join();
}

TEST_F(AmxInstructions, RoundingModesOfTheThreadStay) {
  const FlushDenormals flush;
  const unsigned before = _mm_getcsr();
  Config config = config_for(1, 1, 1);
  asm volatile("ldtilecfg %0" ::"m"(config));
  asm volatile("tdpbf16ps %tmm7, %tmm5, %tmm0");
  asm volatile("tilerelease");
  EXPECT_EQ(_mm_getcsr(), before);
}

TEST(AmxEmulator, OtherIllegalInstructionsEndTheProcess) {
  if (!install_amx_emulator()) GTEST_SKIP() << "no emulator is needed here, or none can be had";
  ::testing::GTEST_FLAG(death_test_style) = "threadsafe";
  EXPECT_EXIT(
      {
        install_amx_emulator();
        asm volatile("ud2");
      },
      ::testing::KilledBySignal(SIGILL), "");
  EXPECT_DEATH(
      {
        install_amx_emulator();
        asm volatile("tilezero %tmm0");
      },
      "without a tile configuration");
}

}  // namespace
}  // namespace blade
