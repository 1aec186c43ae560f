// Products over the tile driver; batches of small products are spread over threads item by item.
#include "backends/cpu/matrix/gemm_f32.h"

#include <algorithm>

#include "backends/cpu/matrix/tile_driver.h"
#include "base/checked_math.h"

namespace blade::backends::cpu {
namespace {

TileJob gemm_job(int64_t m, int64_t a_row_stride, const PackedB& b) {
  TileJob job;
  job.rows = m;
  job.run_length = b.k;
  job.input_bytes = m * b.k * int64_t{sizeof(float)};
  // Copying pays when the rows are read again, once for each panel.
  job.copy_rows = m > 1 && b.panels() > 1 && pitch_aliases(a_row_stride);
  job.b = b;
  return job;
}

bool find_dense_rows(const float* a, int64_t stride, int64_t first, int count, const float** rows) {
  for (int i = 0; i < count; ++i) rows[i] = a + (first + i) * stride;
  return true;
}

size_t aligned_floats(int64_t count) { return align_up(static_cast<size_t>(count) * sizeof(float), 64); }

// Where the parts of one product's scratch lie.
struct MatMulScratch {
  size_t b_bytes = 0, a_bytes = 0, tile_bytes = 0;
  bool pack_a = false;
  explicit MatMulScratch(const MatMulShape& s) : pack_a(s.a_col_stride != 1 && s.k > 1) {
    const PackedB b = packed_b_view(s.k, s.n, nullptr);
    b_bytes = align_up(b.bytes(), 64);
    if (pack_a) a_bytes = aligned_floats(s.m * a_pitch(s));
    tile_bytes = tile_slot_scratch_bytes(gemm_job(s.m, 1024, b));
  }
  static int64_t a_pitch(const MatMulShape& s) { return s.k + 16; }
  size_t packed_bytes() const { return b_bytes + a_bytes; }
};

void pack_a_rows(const MatMulShape& s, const float* a, int64_t first, int64_t last, float* to) {
  constexpr int64_t kRowBlock = 16;
  const int64_t pitch = MatMulScratch::a_pitch(s);
  for (int64_t i0 = first; i0 < last; i0 += kRowBlock) {
    const int64_t i1 = std::min(last, i0 + kRowBlock);
    for (int64_t k = 0; k < s.k; ++k) {
      for (int64_t i = i0; i < i1; ++i) to[i * pitch + k] = a[i * s.a_row_stride + k * s.a_col_stride];
    }
  }
}

int64_t item_offset(const int64_t* offsets, int64_t stride, int64_t item) {
  return offsets != nullptr ? offsets[item] : item * stride;
}

struct Item {
  const float* a;
  const float* b;
  float* c;
};

// One batch item on one thread.
void run_item(const MatMulShape& s, const Item& item, const EpilogueF32& epilogue, std::byte* scratch) {
  const MatMulScratch layout(s);
  const PackedB b = pack_b(item.b, s.k, s.n, s.b_row_stride, s.b_col_stride, scratch);
  const float* a = item.a;
  int64_t a_stride = s.a_row_stride;
  if (layout.pack_a) {
    auto* packed = reinterpret_cast<float*>(scratch + layout.b_bytes);
    pack_a_rows(s, item.a, 0, s.m, packed);
    a = packed;
    a_stride = MatMulScratch::a_pitch(s);
  }
  TileJob job = gemm_job(s.m, a_stride, b);
  job.out = item.c;
  job.out_stride = s.c_row_stride;
  job.epilogue = &epilogue;
  run_tile_range(
      job, {0, tile_count(job), 0, b.panels()},
      [&](int64_t first, int count, const float** rows) { return find_dense_rows(a, a_stride, first, count, rows); },
      scratch + layout.packed_bytes());
}

// One batch item on all threads.
void run_item_parallel(const MatMulShape& s, const Item& item, const EpilogueF32& epilogue, ThreadPool& pool,
                       std::byte* scratch) {
  const MatMulScratch layout(s);
  const PackedB b = packed_b_view(s.k, s.n, scratch);
  auto* packed_a = reinterpret_cast<float*>(scratch + layout.b_bytes);
  const int parts = pool.num_threads();
  pool.parallel_for(parts, [&](int part, int) {
    pack_b_rows(item.b, s.b_row_stride, s.b_col_stride, part * s.k / parts, (part + 1) * s.k / parts, b, scratch);
    if (layout.pack_a) pack_a_rows(s, item.a, part * s.m / parts, (part + 1) * s.m / parts, packed_a);
  });
  const float* a = layout.pack_a ? packed_a : item.a;
  const int64_t a_stride = layout.pack_a ? MatMulScratch::a_pitch(s) : s.a_row_stride;
  gemm_f32(s.m, a, a_stride, b, item.c, s.c_row_stride, epilogue, pool, scratch + layout.packed_bytes());
}

}  // namespace

size_t gemm_scratch_bytes(int64_t m, int64_t k, int64_t n, int threads) {
  return static_cast<size_t>(threads) * tile_slot_scratch_bytes(gemm_job(m, 1024, packed_b_view(k, n, nullptr)));
}

void gemm_f32(int64_t m, const float* a, int64_t a_row_stride, const PackedB& b, float* c, int64_t c_row_stride,
              const EpilogueF32& epilogue, ThreadPool& pool, std::byte* scratch) {
  TileJob job = gemm_job(m, a_row_stride, b);
  job.out = c;
  job.out_stride = c_row_stride;
  job.epilogue = &epilogue;
  run_tiles(
      job,
      [&](int64_t first, int count, const float** rows) {
        return find_dense_rows(a, a_row_stride, first, count, rows);
      },
      pool, scratch);
}

size_t matmul_scratch_bytes(const MatMulShape& shape, int threads) {
  const MatMulScratch layout(shape);
  return static_cast<size_t>(threads) * (layout.packed_bytes() + layout.tile_bytes);
}

void matmul_f32(const MatMulShape& s, const float* a, const float* b, float* c, const EpilogueF32& epilogue,
                ThreadPool& pool, std::byte* scratch) {
  if (s.m <= 0 || s.n <= 0) return;
  const MatMulScratch layout(s);
  const size_t slot_bytes = layout.packed_bytes() + layout.tile_bytes;
  auto item_at = [&](int64_t i) {
    return Item{a + item_offset(s.a_offsets, s.a_batch_stride, i), b + item_offset(s.b_offsets, s.b_batch_stride, i),
                c + i * s.c_batch_stride};
  };
  if (s.batch >= pool.num_threads()) {
    const int64_t tasks = std::min<int64_t>(s.batch, int64_t{pool.num_threads()} * 8);
    pool.parallel_for(static_cast<int>(tasks), [&](int task, int slot) {
      for (int64_t i = task * s.batch / tasks; i < (task + 1) * s.batch / tasks; ++i) {
        const PartEpilogue part(epilogue, i * s.m);
        run_item(s, item_at(i), part.get(), scratch + slot * slot_bytes);
      }
    });
    return;
  }
  for (int64_t i = 0; i < s.batch; ++i) {
    const PartEpilogue part(epilogue, i * s.m);
    run_item_parallel(s, item_at(i), part.get(), pool, scratch);
  }
}

}  // namespace blade::backends::cpu
