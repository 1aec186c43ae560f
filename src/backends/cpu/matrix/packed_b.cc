// Packing is plain C++ but for transposes: it runs once for weights, and is bound by memory where it runs at every
// call.
#include "backends/cpu/matrix/packed_b.h"

#include <algorithm>
#include <cstring>

#include "backends/cpu/matrix/tile_kernel.h"
#include "backends/cpu/matrix/transpose.h"

namespace blade::backends::cpu {
namespace {

// The last, narrower panel has tiles as tall as the others: too few sums to keep the FMA units busy.
constexpr double kNarrowPanelShare = 0.75;

// Vectors a row of the panel: the width that loses least to padding and to short tiles.
int choose_vectors(int64_t n, const TileKernels<float>& kernels) {
  const int64_t total = (n + kernels.lanes - 1) / kernels.lanes;
  int best = 1;
  double best_cost = 0;
  for (int v = 1; v <= kernels.max_vectors; ++v) {
    const int64_t rest = total % v;
    double cost = static_cast<double>(total - rest) / kernels.efficiency[v];
    if (rest != 0) cost += static_cast<double>(rest) / (kernels.efficiency[rest] * kNarrowPanelShare);
    if (v == 1 || cost < best_cost) {
      best = v;
      best_cost = cost;
    }
  }
  return best;
}

constexpr int64_t kTransposeBlock = 16;  // k steps: one cache line of each column at a time

void pack_transposed(const float* b, int64_t row_stride, int64_t col_stride, int64_t first_k, int64_t last_k,
                     int64_t columns, int64_t width, float* to) {
  if (row_stride == 1) {
    transpose_words(reinterpret_cast<const uint32_t*>(b + first_k), col_stride,
                    reinterpret_cast<uint32_t*>(to + first_k * width), width, columns, last_k - first_k);
    for (int64_t k = first_k; k < last_k && columns < width; ++k) {
      std::fill(to + k * width + columns, to + (k + 1) * width, 0.0f);
    }
    return;
  }
  for (int64_t k0 = first_k; k0 < last_k; k0 += kTransposeBlock) {
    const int64_t k1 = std::min(last_k, k0 + kTransposeBlock);
    for (int64_t j = 0; j < columns; ++j) {
      const float* from = b + j * col_stride;
      for (int64_t k = k0; k < k1; ++k) to[k * width + j] = from[k * row_stride];
    }
    if (columns < width) {
      for (int64_t k = k0; k < k1; ++k) std::fill(to + k * width + columns, to + (k + 1) * width, 0.0f);
    }
  }
}

}  // namespace

PackedB packed_b_view(int64_t k, int64_t n, const void* data, MatrixUnit unit, int vectors) {
  const TileKernels<float>& kernels = tile_kernels();
  PackedB b;
  b.k = k;
  b.n = n;
  b.lanes = kernels.lanes;
  b.vectors = vectors > 0 ? std::min(vectors, kernels.max_vectors) : choose_vectors(n, kernels);
  b.data = static_cast<const float*>(data);
  b.unit = unit;
  return b;
}

std::vector<int> other_panel_vectors(int64_t n) {
  const PackedB chosen = packed_b_view(1, n, nullptr);
  const int64_t total = (n + chosen.lanes - 1) / chosen.lanes;
  std::vector<int> others;
  for (int v = static_cast<int>(std::min<int64_t>(tile_kernels().max_vectors, total)); v >= 1; --v) {
    if (v != chosen.vectors) others.push_back(v);
  }
  return others;
}

void pack_b_rows(const float* b, int64_t row_stride, int64_t col_stride, int64_t first_k, int64_t last_k,
                 const PackedB& layout, void* to) {
  for (int64_t p = 0; p < layout.panels(); ++p) {
    const float* from = b + p * layout.width() * col_stride;
    float* panel = static_cast<float*>(to) + p * layout.k * layout.width();
    const int64_t columns = layout.columns(p);
    const int64_t width = int64_t{layout.panel_vectors(p)} * layout.lanes;
    if (col_stride != 1) {
      pack_transposed(from, row_stride, col_stride, first_k, last_k, columns, width, panel);
      continue;
    }
    for (int64_t k = first_k; k < last_k; ++k) {
      std::memcpy(panel + k * width, from + k * row_stride, columns * sizeof(float));
      std::fill(panel + k * width + columns, panel + (k + 1) * width, 0.0f);
    }
  }
}

PackedB pack_b(const float* b, int64_t k, int64_t n, int64_t row_stride, int64_t col_stride, void* to, int vectors) {
  const PackedB layout = packed_b_view(k, n, to, MatrixUnit::kVectors, vectors);
  pack_b_rows(b, row_stride, col_stride, 0, k, layout, to);
  return layout;
}

void pack_pairs(const BFloat16* b, int64_t run_length, int64_t row_stride, int64_t col_stride, int64_t first_step,
                int64_t last_step, const PackedB& layout, void* to) {
  const int64_t run_steps = (run_length + 1) / 2;
  for (int64_t p = 0; p < layout.panels(); ++p) {
    const BFloat16* from = b + p * layout.width() * col_stride;
    const int64_t columns = layout.columns(p);
    const int64_t width = int64_t{layout.panel_vectors(p)} * layout.lanes;
    BFloat16* panel = static_cast<BFloat16*>(to) + 2 * p * layout.k * layout.width();
    for (int64_t step = first_step; step < last_step; ++step) {
      const int64_t in_run = step % run_steps * 2;
      const BFloat16* row = from + (step / run_steps * run_length + in_run) * row_stride;
      const bool whole = in_run + 1 < run_length;
      BFloat16* pair = panel + 2 * step * width;
      for (int64_t j = 0; j < columns; ++j) {
        pair[2 * j] = row[j * col_stride];
        pair[2 * j + 1] = whole ? row[row_stride + j * col_stride] : BFloat16();
      }
      std::fill(pair + 2 * columns, pair + 2 * width, BFloat16());
    }
  }
}

PackedB pack_runs(const float* b, int64_t runs, int64_t run_length, int64_t n, int64_t row_stride, int64_t col_stride,
                  void* to, int vectors) {
  return pack_b(b, runs * run_length, n, row_stride, col_stride, to, vectors);
}

PackedB pack_runs(const BFloat16* b, int64_t runs, int64_t run_length, int64_t n, int64_t row_stride,
                  int64_t col_stride, void* to, int vectors) {
  const PackedB layout = packed_b_view(packed_steps<BFloat16>(runs, run_length), n, to, MatrixUnit::kVectors, vectors);
  pack_pairs(b, run_length, row_stride, col_stride, 0, layout.k, layout, to);
  return layout;
}

}  // namespace blade::backends::cpu
