// What the processor at hand can do, detected once: the only source of feature decisions, replaceable in tests.
#pragma once

#include <cstddef>
#include <string>

namespace blade::backends {

struct Machine {
  std::string vendor;             // "AuthenticAMD"
  std::string model_name;         // "AMD EPYC 9R14"
  std::string microarchitecture;  // "zen4", "sapphire_rapids", "x86-64-v3", ...
  bool avx2 = false, fma = false, avx512 = false, avx512_bf16 = false, avx512_fp16 = false, avx512_vnni = false;
  bool amx_tile = false, amx_bf16 = false, amx_int8 = false;  // the system permits their use, too
  size_t l1d_bytes = 32 << 10, l2_bytes = 1 << 20, l3_bytes = 32 << 20;
  int fma_per_cycle = 2;  // multiply-adds of the widest vectors that a core begins in a cycle
  // Bytes a microsecond that come from behind L2, as cold weights do: to one core, and to all together.
  double core_far_bytes_per_us = 31.5e3, far_bytes_per_us = 56e3;
  int cpus = 1;  // usable by this process

  // The names of what it has, one space between them: "avx2 fma avx512".
  std::string instruction_sets() const;

  static const Machine& host();
};

}  // namespace blade::backends
