// Attention in bfloat16 on the tile registers of AMX: keys and values of a head are arranged once, then queries come in
// blocks.
#pragma once

#include <cstddef>
#include <cstdint>

#include "backends/cpu/attention_block.h"
#include "base/half.h"

namespace blade::backends::cpu {

inline constexpr int64_t kTileQueries = 32;  // of a block, at most

// The keys and values of a head.
struct TiledHead {
  int64_t keys = 0, depth = 0, width = 0;  // width: of a value
};

// As AttentionBlock, with operands and results in bfloat16. Both products add up in float32, as does softmax; its
// weights are rounded, their sum is not.
struct TiledBlock {
  int64_t queries = 0;
  StridedMatrix<BFloat16> q;
  StridedMatrix<> mask, added;
  bool mask_replaces = false;
  float scale = 1;
  BFloat16* out = nullptr;  // a row's elements side by side
  int64_t out_row = 0;
};

// All null where the instruction set chosen by Highway has none; the instructions of AMX themselves are not asked for
// here, see Machine::amx_bf16. Scratch is 64-byte aligned, of the size for all of a head.
struct AttentionTileFunctions {
  size_t (*scratch_bytes)(const TiledHead& head) = nullptr;
  void (*arrange)(const TiledHead& head, const StridedMatrix<BFloat16>& k, const StridedMatrix<BFloat16>& v,
                  std::byte* scratch) = nullptr;
  // Needs an AmxScope for whole tiles; `scratch` as arrange() left it.
  void (*attend)(const TiledHead& head, const TiledBlock& block, std::byte* scratch) = nullptr;
};
const AttentionTileFunctions& attention_tile_functions();

}  // namespace blade::backends::cpu
