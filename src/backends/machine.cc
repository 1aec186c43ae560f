// Reads cpuid (features, names, caches) and sysfs (caches where cpuid does not say) once.
#include "backends/machine.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <utility>

#include "base/amx.h"
#include "base/thread_pool.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace blade::backends {
namespace {

#if defined(__x86_64__)

struct Registers {
  uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
};

Registers cpuid(uint32_t leaf, uint32_t subleaf = 0) {
  Registers r;
  __get_cpuid_count(leaf, subleaf, &r.eax, &r.ebx, &r.ecx, &r.edx);
  return r;
}

bool bit(uint32_t word, int index) { return ((word >> index) & 1u) != 0; }

// Which register states the operating system saves; a feature without its state is unusable.
uint64_t enabled_states() {
  if (!bit(cpuid(1).ecx, 27)) return 0;
  uint32_t low = 0, high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (static_cast<uint64_t>(high) << 32) | low;
}

void read_features(Machine& machine) {
  const Registers one = cpuid(1);
  const Registers seven = cpuid(7);
  const Registers seven_one = cpuid(7, 1);
  const uint64_t states = enabled_states();
  const bool ymm = (states & 0x6) == 0x6;
  const bool zmm = ymm && (states & 0xe0) == 0xe0;
  const bool tiles = (states & 0x60000) == 0x60000;
  machine.fma = ymm && bit(one.ecx, 12);
  machine.avx2 = ymm && bit(seven.ebx, 5);
  // F, DQ, BW and VL together, as every processor with AVX-512 that matters has them.
  machine.avx512 = zmm && bit(seven.ebx, 16) && bit(seven.ebx, 17) && bit(seven.ebx, 30) && bit(seven.ebx, 31);
  machine.avx512_vnni = machine.avx512 && bit(seven.ecx, 11);
  machine.avx512_bf16 = machine.avx512 && bit(seven_one.eax, 5);
  machine.avx512_fp16 = machine.avx512 && bit(seven.edx, 23);
  machine.amx_tile = tiles && bit(seven.edx, 24) && amx_permitted();
  machine.amx_bf16 = machine.amx_tile && bit(seven.edx, 22);
  machine.amx_int8 = machine.amx_tile && bit(seven.edx, 25);
}

std::string vendor_string() {
  const Registers r = cpuid(0);
  char text[13] = {};
  std::memcpy(text, &r.ebx, 4);
  std::memcpy(text + 4, &r.edx, 4);
  std::memcpy(text + 8, &r.ecx, 4);
  return text;
}

std::string brand_string() {
  if (cpuid(0x80000000u).eax < 0x80000004u) return "";
  char text[49] = {};
  for (uint32_t i = 0; i < 3; ++i) {
    const Registers r = cpuid(0x80000002u + i);
    std::memcpy(text + 16 * i, &r, 16);
  }
  std::string name = text;
  while (!name.empty() && name.back() == ' ') name.pop_back();
  return name.substr(std::min(name.find_first_not_of(' '), name.size()));
}

std::string amd_name(uint32_t family, uint32_t model) {
  if (family == 0x17) return model >= 0x30 ? "zen2" : "zen";
  if (family == 0x19) {
    const bool zen4 = (model >= 0x10 && model <= 0x1f) || (model >= 0x60 && model <= 0xaf);
    return zen4 ? "zen4" : "zen3";
  }
  if (family == 0x1a) return "zen5";
  return "";
}

std::string intel_name(uint32_t family, uint32_t model, bool avx512_vnni) {
  if (family != 6) return "";
  switch (model) {
    case 0x3c:
    case 0x3f:
    case 0x45:
    case 0x46:
      return "haswell";
    case 0x3d:
    case 0x47:
    case 0x4f:
    case 0x56:
      return "broadwell";
    case 0x4e:
    case 0x5e:
    case 0x8e:
    case 0x9e:
    case 0xa5:
    case 0xa6:
      return "skylake";
    case 0x55:
      return avx512_vnni ? "cascadelake" : "skylake-avx512";
    case 0x6a:
    case 0x6c:
    case 0x7d:
    case 0x7e:
      return "icelake";
    case 0x8c:
    case 0x8d:
      return "tigerlake";
    case 0x97:
    case 0x9a:
    case 0xb7:
    case 0xba:
    case 0xbf:
      return "alderlake";
    case 0x8f:
      return "sapphire_rapids";
    case 0xcf:
      return "emerald_rapids";
    case 0xad:
    case 0xae:
      return "granite_rapids";
    default:
      return "";
  }
}

std::string microarchitecture(const Machine& machine) {
  const uint32_t signature = cpuid(1).eax;
  uint32_t family = (signature >> 8) & 0xf;
  uint32_t model = (signature >> 4) & 0xf;
  if (family == 0xf) family += (signature >> 20) & 0xff;
  if (family == 6 || family >= 0xf) model |= ((signature >> 16) & 0xf) << 4;
  std::string name;
  if (machine.vendor == "AuthenticAMD" || machine.vendor == "HygonGenuine") name = amd_name(family, model);
  if (machine.vendor == "GenuineIntel") name = intel_name(family, model, machine.avx512_vnni);
  if (!name.empty()) return name;
  if (machine.avx512) return "x86-64-v4";
  if (machine.avx2 && machine.fma) return "x86-64-v3";
  return "x86-64-v2";
}

// Leaf 4 (Intel) and 0x8000001d (AMD) have the same layout: one subleaf a cache.
void read_caches(Machine& machine) {
  const bool amd = machine.vendor == "AuthenticAMD" || machine.vendor == "HygonGenuine";
  const uint32_t leaf = amd ? 0x8000001du : 4u;
  if (cpuid(amd ? 0x80000000u : 0).eax < leaf) return;
  for (uint32_t i = 0; i < 8; ++i) {
    const Registers r = cpuid(leaf, i);
    const uint32_t type = r.eax & 0x1f;
    if (type == 0) break;
    if (type == 2) continue;  // instructions
    const size_t ways = (r.ebx >> 22) + 1, partitions = ((r.ebx >> 12) & 0x3ff) + 1, line = (r.ebx & 0xfff) + 1;
    const size_t bytes = ways * partitions * line * (static_cast<size_t>(r.ecx) + 1);
    const uint32_t level = (r.eax >> 5) & 7;
    if (level == 1) machine.l1d_bytes = bytes;
    if (level == 2) machine.l2_bytes = bytes;
    if (level == 3) machine.l3_bytes = bytes;
  }
}

// Measured on two cores each of a Zen 5 (those of the type), a Zen 4 and a Xeon, whose L3 gives a core 27 and whose
// memory gives two cores 22 to 32.
void read_far_memory(Machine& machine) {
  if (machine.fma_per_cycle == 1) {
    machine.core_far_bytes_per_us /= 2;
    machine.far_bytes_per_us /= 2;
  } else if (machine.vendor == "GenuineIntel" && machine.avx512) {
    machine.core_far_bytes_per_us = 20e3;
    machine.far_bytes_per_us = 28e3;
  }
}

void read_processor(Machine& machine) {
  machine.vendor = vendor_string();
  machine.model_name = brand_string();
  read_features(machine);
  machine.microarchitecture = microarchitecture(machine);
  // 512 bits in two halves, or one unit of that width.
  if (machine.avx512 && (machine.microarchitecture == "zen4" || machine.microarchitecture == "tigerlake"))
    machine.fma_per_cycle = 1;
  read_far_memory(machine);
  read_caches(machine);
}

#else

void read_processor(Machine& machine) { machine.microarchitecture = "generic"; }

#endif

// Virtual machines often hide cpuid's cache leaves but show sysfs; sysfs wins where it is readable.
void read_sysfs_caches(Machine& machine) {
  for (int i = 0; i < 8; ++i) {
    const std::string folder = "/sys/devices/system/cpu/cpu0/cache/index" + std::to_string(i) + "/";
    std::ifstream level_file(folder + "level"), type_file(folder + "type"), size_file(folder + "size");
    int level = 0;
    std::string type;
    size_t size = 0;
    char unit = 0;
    if (!(level_file >> level) || !(type_file >> type) || !(size_file >> size)) return;
    size_file >> unit;
    if (type == "Instruction") continue;
    size <<= unit == 'K' ? 10 : unit == 'M' ? 20 : 0;
    if (size == 0) continue;
    if (level == 1) machine.l1d_bytes = size;
    if (level == 2) machine.l2_bytes = size;
    if (level == 3) machine.l3_bytes = size;
  }
}

Machine detect() {
  Machine machine;
  read_processor(machine);
  read_sysfs_caches(machine);
  machine.cpus = ThreadPool::usable_cpus();
  return machine;
}

}  // namespace

std::string Machine::instruction_sets() const {
  const std::pair<bool, const char*> sets[] = {{avx2, "avx2"},
                                               {fma, "fma"},
                                               {avx512, "avx512"},
                                               {avx512_bf16, "avx512_bf16"},
                                               {avx512_fp16, "avx512_fp16"},
                                               {avx512_vnni, "avx512_vnni"},
                                               {amx_bf16, "amx_bf16"},
                                               {amx_int8, "amx_int8"}};
  std::string names;
  for (const auto& [has, name] : sets) {
    if (has) names += (names.empty() ? "" : " ") + std::string(name);
  }
  return names;
}

const Machine& Machine::host() {
  static const Machine machine = detect();
  return machine;
}

}  // namespace blade::backends
