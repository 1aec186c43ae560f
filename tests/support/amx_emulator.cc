// The instructions as "Intel 64 and IA-32 Architectures Software Developer's Manual", volume 2, defines them: palette 1
// (eight tiles of at most 16 rows of 64 bytes), and TDPBF16PS with its order of sums and its treatment of denormals.
#include "support/amx_emulator.h"

#include <immintrin.h>
#include <signal.h>
#include <ucontext.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>

#include "backends/machine.h"

namespace blade {
namespace {

constexpr int kTiles = 8, kMaxRows = 16, kMaxRowBytes = 64;

// What LDTILECFG reads.
struct TileConfig {
  uint8_t palette, start_row;
  uint8_t reserved[14];
  uint16_t row_bytes[16];
  uint8_t rows[16];
};
static_assert(sizeof(TileConfig) == 64);

struct TileState {
  TileConfig config;  // palette 0: tiles are not configured
  uint8_t data[kTiles][kMaxRows][kMaxRowBytes];
};
thread_local TileState t_state;

// Signal handlers may not print through stdio.
[[noreturn]] void fail(const char* sentence) {
  [[maybe_unused]] ssize_t ignored = write(STDERR_FILENO, "AMX emulator: ", 14);
  ignored = write(STDERR_FILENO, sentence, strlen(sentence));
  ignored = write(STDERR_FILENO, "\n", 1);
  signal(SIGABRT, SIG_DFL);
  abort();
}

// An instruction with a three-byte VEX prefix: all that AMX has.
struct Instruction {
  int opcode = 0;
  int prefix = 0;       // 0: none, 1: 66, 2: F3, 3: F2
  int reg = 0, rm = 0;  // of the ModRM byte
  int source = 0;       // VEX.vvvv
  bool memory = false;
  uint64_t base = 0;    // of the address, displacement included
  uint64_t stride = 0;  // the index register, scaled
  int length = 0;
};

uint64_t register_value(const ucontext_t& context, int number) {
  static constexpr int kOrder[] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                                   REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
  return static_cast<uint64_t>(context.uc_mcontext.gregs[kOrder[number]]);
}

template <class T>
T read_as(const uint8_t* at) {
  T value;
  memcpy(&value, at, sizeof value);
  return value;
}

// False if the bytes are no instruction of this shape.
bool decode(const ucontext_t& context, Instruction& i) {
  const auto rip = static_cast<uint64_t>(context.uc_mcontext.gregs[REG_RIP]);
  const auto* code = reinterpret_cast<const uint8_t*>(rip);
  if (code[0] != 0xc4) return false;
  const bool x = (code[1] & 0x40) == 0, b = (code[1] & 0x20) == 0;
  const bool r = (code[1] & 0x80) == 0, w = (code[2] & 0x80) != 0, wide = (code[2] & 0x04) != 0;
  if ((code[1] & 0x1f) != 2 || w || wide || r) return false;  // 0F38, W0, L0
  i.source = ~(code[2] >> 3) & 0xf;
  i.prefix = code[2] & 3;
  i.opcode = code[3];
  const uint8_t modrm = code[4];
  const int mod = modrm >> 6;
  i.reg = (modrm >> 3) & 7;
  i.rm = modrm & 7;
  i.length = 5;
  i.memory = mod != 3;
  if (!i.memory) return !b;
  const uint8_t* at = code + 5;
  bool relative = false;
  if (i.rm == 4) {
    const uint8_t sib = *at++;
    const int index = ((sib >> 3) & 7) + (x ? 8 : 0), base = sib & 7;
    if (index != 4) i.stride = register_value(context, index) << (sib >> 6);
    if (base == 5 && mod == 0) {
      i.base = static_cast<uint64_t>(int64_t{read_as<int32_t>(at)});
      at += 4;
    } else {
      i.base = register_value(context, base + (b ? 8 : 0));
    }
  } else if (i.rm == 5 && mod == 0) {
    relative = true;
    i.base = static_cast<uint64_t>(int64_t{read_as<int32_t>(at)});
    at += 4;
  } else {
    i.base = register_value(context, i.rm + (b ? 8 : 0));
  }
  if (mod == 1) i.base += static_cast<uint64_t>(int64_t{static_cast<int8_t>(*at++)});
  if (mod == 2) {
    i.base += static_cast<uint64_t>(int64_t{read_as<int32_t>(at)});
    at += 4;
  }
  i.length = static_cast<int>(at - code);
  if (relative) i.base += rip + static_cast<uint64_t>(i.length);
  return true;
}

void load_config(uint64_t address) {
  TileConfig config;
  memcpy(&config, reinterpret_cast<const void*>(address), sizeof config);
  memset(&t_state, 0, sizeof t_state);
  if (config.palette == 0) return;
  if (config.palette != 1) fail("LDTILECFG with a palette that does not exist");
  for (uint8_t byte : config.reserved) {
    if (byte != 0) fail("LDTILECFG with a reserved byte that is not zero");
  }
  for (int t = 0; t < 16; ++t) {
    const int rows = config.rows[t], bytes = config.row_bytes[t];
    if (t >= kTiles && (rows != 0 || bytes != 0)) fail("LDTILECFG configures a tile that does not exist");
    if (rows > kMaxRows || bytes > kMaxRowBytes) fail("LDTILECFG with a tile that is too large");
    if ((rows == 0) != (bytes == 0)) fail("LDTILECFG with a tile of rows but no bytes, or bytes but no rows");
  }
  t_state.config = config;
}

void check_tile(int t) {
  if (t_state.config.palette == 0) fail("a tile instruction without a tile configuration");
  if (t >= kTiles || t_state.config.rows[t] == 0) fail("a tile instruction on a tile that is not configured");
}

void load_tile(const Instruction& i) {
  check_tile(i.reg);
  if (i.rm != 4) fail("TILELOADD without a SIB byte");
  const int rows = t_state.config.rows[i.reg], bytes = t_state.config.row_bytes[i.reg];
  uint8_t(&tile)[kMaxRows][kMaxRowBytes] = t_state.data[i.reg];
  for (int row = t_state.config.start_row; row < rows; ++row) {
    memset(tile[row], 0, kMaxRowBytes);
    memcpy(tile[row], reinterpret_cast<const void*>(i.base + static_cast<uint64_t>(row) * i.stride), bytes);
  }
  for (int row = rows; row < kMaxRows; ++row) memset(tile[row], 0, kMaxRowBytes);
  t_state.config.start_row = 0;
}

void store_tile(const Instruction& i) {
  check_tile(i.reg);
  if (i.rm != 4) fail("TILESTORED without a SIB byte");
  for (int row = t_state.config.start_row; row < t_state.config.rows[i.reg]; ++row) {
    memcpy(reinterpret_cast<void*>(i.base + static_cast<uint64_t>(row) * i.stride), t_state.data[i.reg][row],
           t_state.config.row_bytes[i.reg]);
  }
  t_state.config.start_row = 0;
}

// Even and odd elements of the pairs are summed apart by FMAs, both sums are added, then they are added to the
// destination; denormals count as zeros, rounding is to nearest even.
__attribute__((target("avx512f"))) void dot_product(const Instruction& i) {
  const int c = i.reg, a = i.rm, b = i.source;
  for (int t : {c, a, b}) check_tile(t);
  const TileConfig& config = t_state.config;
  if (c == a || c == b || a == b) fail("TDPBF16PS with the same tile twice");
  if (config.rows[a] != config.rows[c] || config.row_bytes[b] != config.row_bytes[c] ||
      config.row_bytes[a] != 4 * config.rows[b] || config.row_bytes[c] % 4 != 0) {
    fail("TDPBF16PS on tiles whose sizes do not fit");
  }
  const unsigned saved = _mm_getcsr();
  _mm_setcsr(0x9fc0);  // all exceptions masked, to nearest even, denormals are zeros and results flushed to zero
  const auto columns = static_cast<__mmask16>((1u << (config.row_bytes[c] / 4)) - 1);
  const __m512i high = _mm512_set1_epi32(static_cast<int>(0xffff0000u));
  for (int row = 0; row < config.rows[c]; ++row) {
    __m512 even = _mm512_setzero_ps(), odd = _mm512_setzero_ps();
    for (int k = 0; k < config.rows[b]; ++k) {
      const __m512i pair = _mm512_set1_epi32(read_as<int32_t>(t_state.data[a][row] + 4 * k));
      const __m512i weights = _mm512_loadu_si512(t_state.data[b][k]);
      even = _mm512_fmadd_ps(_mm512_castsi512_ps(_mm512_slli_epi32(pair, 16)),
                             _mm512_castsi512_ps(_mm512_slli_epi32(weights, 16)), even);
      odd = _mm512_fmadd_ps(_mm512_castsi512_ps(_mm512_and_si512(pair, high)),
                            _mm512_castsi512_ps(_mm512_and_si512(weights, high)), odd);
    }
    auto* to = t_state.data[c][row];
    const __m512 before = _mm512_loadu_ps(to);
    _mm512_storeu_ps(to, _mm512_maskz_add_ps(columns, before, _mm512_add_ps(even, odd)));
  }
  for (int row = config.rows[c]; row < kMaxRows; ++row) memset(t_state.data[c][row], 0, kMaxRowBytes);
  t_state.config.start_row = 0;
  _mm_setcsr(saved);
}

// False if it is none of the emulated instructions.
bool execute(const Instruction& i) {
  constexpr int kNone = 0, k66 = 1, kF3 = 2, kF2 = 3;
  if (i.opcode == 0x49 && i.source == 0) {
    if (i.memory && i.reg == 0 && i.prefix == kNone) {
      load_config(i.base + i.stride);
    } else if (i.memory && i.reg == 0 && i.prefix == k66) {
      memcpy(reinterpret_cast<void*>(i.base + i.stride), &t_state.config, sizeof t_state.config);
    } else if (!i.memory && i.reg == 0 && i.rm == 0 && i.prefix == kNone) {
      memset(&t_state, 0, sizeof t_state);
    } else if (!i.memory && i.rm == 0 && i.prefix == kF2) {
      check_tile(i.reg);
      memset(t_state.data[i.reg], 0, sizeof t_state.data[i.reg]);
    } else {
      return false;
    }
    return true;
  }
  if (i.opcode == 0x4b && i.memory && i.source == 0) {
    if (i.prefix == kNone) return false;
    i.prefix == kF3 ? store_tile(i) : load_tile(i);
    return true;
  }
  if (i.opcode == 0x5c && !i.memory && i.prefix == kF3) {
    dot_product(i);
    return true;
  }
  return false;
}

void handle(int, siginfo_t*, void* raw) {
  auto& context = *static_cast<ucontext_t*>(raw);
  Instruction instruction;
  if (!decode(context, instruction) || !execute(instruction)) {
    signal(SIGILL, SIG_DFL);  // the instruction faults again and ends the process as it would have
    return;
  }
  context.uc_mcontext.gregs[REG_RIP] += instruction.length;
}

AmxMode prepare() {
  const backends::Machine& machine = backends::Machine::host();
  if (!machine.avx512_bf16) return AmxMode::kMissing;
  if (machine.amx_bf16) return AmxMode::kNative;
  return install_amx_emulator() ? AmxMode::kEmulated : AmxMode::kMissing;
}

}  // namespace

bool install_amx_emulator() {
  static const bool installed = [] {
    if (!backends::Machine::host().avx512 || backends::Machine::host().amx_tile) return false;
    struct sigaction action = {};
    action.sa_sigaction = handle;
    action.sa_flags = SA_SIGINFO | SA_NODEFER;
    return sigaction(SIGILL, &action, nullptr) == 0;
  }();
  return installed;
}

AmxMode amx_mode() {
  static const AmxMode mode = prepare();
  return mode;
}

const char* describe_amx(AmxMode mode) {
  switch (mode) {
    case AmxMode::kNative:
      return "AMX instructions run natively";
    case AmxMode::kEmulated:
      return "AMX instructions are emulated: this processor has none";
    case AmxMode::kMissing:
      return "AMX kernels cannot run here: the processor lacks AVX512-BF16";
  }
  return "";
}

}  // namespace blade
