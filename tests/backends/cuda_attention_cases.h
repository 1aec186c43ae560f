// Cases of attention beside those of the CPU's rows: depths, lengths around tiles, masks of every broadcasting.
#pragma once

#include <limits>

#include "backends/cuda_rows.h"

namespace blade::backends {

struct AttentionSpec {
  int64_t batch, heads, queries, keys, depth, width;
  std::vector<ir::Dims> masks;
  bool replaces = false;
};

// Operands with heads in rows, as products make them; the second half of hidden keys by -infinity.
inline Case attention_case(const AttentionSpec& s, bool heads_in_rows) {
  const std::vector<int64_t> plain = {0, 1, 2, 3}, inside = {0, 2, 1, 3};
  const auto operand = [&](int64_t rows, int64_t columns) {
    return random_floats(
        heads_in_rows ? ir::Dims{s.batch, rows, s.heads, columns} : ir::Dims{s.batch, s.heads, rows, columns}, -1, 1);
  };
  Case c;
  c.name = "heads_" + std::to_string(s.queries) + "x" + std::to_string(s.keys) + "x" + std::to_string(s.depth) + "x" +
           std::to_string(s.width) + (heads_in_rows ? "_rows" : "_plain");
  c.op = ir::Op::kAttention;
  const std::vector<int64_t>& perm = heads_in_rows ? inside : plain;
  c.attrs = ir::AttentionAttrs{1 / std::sqrt(static_cast<float>(s.depth)), perm, perm, perm, perm, s.replaces};
  c.inputs = {operand(s.queries, s.depth), operand(s.keys, s.depth), operand(s.keys, s.width)};
  for (const ir::Dims& dims : s.masks) {
    ir::TensorPtr mask = random_floats(dims, -3, 3);
    auto* values = reinterpret_cast<float*>(const_cast<std::byte*>(mask->data));
    for (int64_t i = 0; i < mask->element_count(); i += 5) {
      values[i] = s.replaces ? 0.0f : i % 2 == 0 ? -1e9f : -std::numeric_limits<float>::infinity();
    }
    c.inputs.push_back(std::move(mask));
  }
  c.variable_inputs = ~0u;
  c.tolerance = 2e-5;
  return c;
}

inline std::vector<Case> cuda_attention_cases() {
  const std::vector<AttentionSpec> specs = {
      {1, 2, 128, 128, 64, 64, {{1, 1, 1, 128}}},
      {2, 3, 1, 77, 64, 64, {}},
      {1, 2, 61, 131, 40, 40, {{131}}},
      {1, 1, 67, 300, 128, 128, {{67, 300}}},
      {2, 1, 16, 16, 8, 8, {{2, 1, 16, 16}}, true},
      {1, 3, 33, 65, 80, 80, {{1, 3, 33, 65}, {1, 1, 1, 65}}},
      {1, 2, 17, 129, 48, 96, {{129}}},
      {2, 2, 5, 32, 16, 120, {{2, 1, 5, 1}, {1, 2, 1, 32}}, true},
      {3, 1, 1, 1, 64, 64, {}},
      {1, 1, 1, 517, 128, 64, {{1, 517}}},
      {1, 2, 31, 31, 7, 13, {{31, 31}}},
      {1, 2, 3, 1100, 64, 64, {{1100}}},
      {2, 1, 1, 1030, 128, 104, {}},
      {1, 2, 11, 1090, 72, 104, {{11, 1090}}},
      {2, 2, 9, 1100, 64, 64, {}},
      {1, 3, 8, 1029, 128, 128, {{1, 3, 8, 1029}, {1, 1, 1, 1029}}},
      {1, 1, 19, 1543, 24, 128, {{19, 1543}, {1, 1543}}, true},
      {1, 2, 193, 259, 64, 64, {}},
      {2, 2, 70, 300, 128, 64, {{2, 1, 1, 300}}, true},
      {2, 3, 71, 641, 56, 64, {{2, 1, 71, 641}, {1, 3, 1, 641}}, true},
      {2, 1, 130, 389, 128, 128, {{130, 389}}},
  };
  std::vector<Case> cases;
  for (const AttentionSpec& spec : specs) {
    for (const bool heads_in_rows : {true, false}) cases.push_back(attention_case(spec, heads_in_rows));
  }
  return cases;
}

// Operands in float16, masks as they are.
inline std::vector<Case> half_attention(const std::vector<Case>& cases) {
  std::vector<Case> made;
  for (const Case& c : cases) {
    made.push_back(in_half(c));
    for (size_t i = 3; i < c.inputs.size(); ++i) made.back().inputs[i] = c.inputs[i];
  }
  return made;
}

}  // namespace blade::backends
