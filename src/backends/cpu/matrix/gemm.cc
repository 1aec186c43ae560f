// Products over the tile driver; batches of small products are spread over threads item by item.
#include "backends/cpu/matrix/gemm.h"

#include <algorithm>

#include "backends/cpu/matrix/amx_gemm.h"
#include "backends/cpu/matrix/amx_kernel.h"
#include "backends/cpu/matrix/tile_driver.h"
#include "backends/cpu/matrix/transpose.h"
#include "base/checked_math.h"

namespace blade::backends::cpu {
namespace {

// With so many rows the pieces of long sums are products of their own, a section of the pool each; with fewer the
// driver makes them panel by panel.
constexpr int64_t kPieceRows = 28;

template <class T>
TileJob<T> gemm_job(int64_t m, int64_t k, int64_t a_row_stride, const PackedB& b) {
  TileJob<T> job;
  if (b.unit == MatrixUnit::kVectors) job.block_bytes = long_sum_block_bytes();
  job.rows = m;
  job.run_length = k;
  job.input_bytes = m * k * int64_t{sizeof(T)};
  // Copying pays when the rows are read again, once for each panel.
  job.copy_rows = m > 1 && b.panels() > 1 && pitch_aliases(a_row_stride * int64_t{sizeof(T)}, b.unit);
  job.b = b;
  set_stretch(job, m, a_row_stride);
  return job;
}

template <class T>
bool find_dense_rows(const T* a, int64_t stride, int64_t first, int count, const T** rows) {
  for (int i = 0; i < count; ++i) rows[i] = a + (first + i) * stride;
  return true;
}

// A stride whose rows are copied, if any are: for sizes that must do for all strides.
template <class T>
constexpr int64_t kAliasingStride = 4096 / int64_t{sizeof(T)};

// The B of one item; `packed_here`: at run time.
template <class T>
PackedB item_b_view(const MatMulShape& s, const void* data, bool packed_here) {
  const bool padded = packed_here && sizeof(T) < sizeof(float) && s.unit == MatrixUnit::kTiles;
  PackedB b = packed_b_view(padded ? AmxBlocks(s.k, true).steps : packed_steps<T>(1, s.k), s.n, data, s.unit);
  b.padded = padded;
  return b;
}

// Where the parts of one product's scratch lie.
template <class T>
struct MatMulScratch {
  size_t b_bytes = 0, a_bytes = 0, tile_bytes = 0;
  bool pack_a = false;
  explicit MatMulScratch(const MatMulShape& s) : pack_a(s.a_col_stride != 1 && s.k > 1) {
    const PackedB b = item_b_view<T>(s, nullptr, s.packed_b == nullptr);
    if (s.packed_b == nullptr) b_bytes = align_up(b.bytes(), 64);
    if (pack_a) a_bytes = align_up(static_cast<size_t>(s.m * a_pitch(s)) * sizeof(T), 64);
    tile_bytes = tile_slot_scratch_bytes(gemm_job<T>(s.m, s.k, kAliasingStride<T>, b));
  }
  static int64_t a_pitch(const MatMulShape& s) { return s.k + 64 / int64_t{sizeof(T)}; }
  size_t packed_bytes() const { return b_bytes + a_bytes; }
};

template <class T>
void pack_a_rows(const MatMulShape& s, const T* a, int64_t first, int64_t last, T* to) {
  constexpr int64_t kRowBlock = 16;
  const int64_t pitch = MatMulScratch<T>::a_pitch(s);
  if (sizeof(T) == sizeof(uint32_t) && s.a_row_stride == 1) {
    transpose_words(reinterpret_cast<const uint32_t*>(a + first), s.a_col_stride,
                    reinterpret_cast<uint32_t*>(to + first * pitch), pitch, s.k, last - first);
    return;
  }
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

// Steps [first, last) of a B whose K is one run.
void pack_b_steps(const float* b, const MatMulShape& s, int64_t first, int64_t last, const PackedB& layout, void* to) {
  pack_b_rows(b, s.b_row_stride, s.b_col_stride, first, last, layout, to);
}
void pack_b_steps(const BFloat16* b, const MatMulShape& s, int64_t first, int64_t last, const PackedB& layout,
                  void* to) {
  const int64_t steps = packed_steps<BFloat16>(1, s.k);
  pack_pairs(b, s.k, s.b_row_stride, s.b_col_stride, first, std::min(last, steps), layout, to);
  first = std::max(first, steps);
  for (int64_t p = 0; p < layout.panels() && first < last; ++p) {
    const int64_t width = int64_t{layout.panel_vectors(p)} * layout.lanes;
    float* const panel = static_cast<float*>(to) + p * layout.k * layout.width();
    std::fill(panel + first * width, panel + last * width, 0.0f);
  }
}

template <class T, class Out>
struct Item {
  const T* a;
  const T* b;
  Out* c;
  const std::byte* packed_b;  // or null
};

// One batch item on one thread.
template <class T, class Out>
void run_item(const MatMulShape& s, const Item<T, Out>& item, const Epilogue<T>& epilogue, std::byte* scratch) {
  const MatMulScratch<T> layout(s);
  const bool pack_b = item.packed_b == nullptr;
  const PackedB b = item_b_view<T>(s, pack_b ? scratch : item.packed_b, pack_b);
  if (pack_b) pack_b_steps(item.b, s, 0, b.k, b, scratch);
  const T* a = item.a;
  int64_t a_stride = s.a_row_stride;
  if (layout.pack_a) {
    auto* packed = reinterpret_cast<T*>(scratch + layout.b_bytes);
    pack_a_rows(s, item.a, 0, s.m, packed);
    a = packed;
    a_stride = MatMulScratch<T>::a_pitch(s);
  }
  TileJob<T> job = gemm_job<T>(s.m, s.k, a_stride, b);
  job.set_out(item.c);
  job.out_stride = s.c_row_stride;
  job.epilogue = &epilogue;
  run_tile_range(
      job, {0, tile_count(job), 0, b.panels()},
      [&](int64_t first, int count, const T** rows) { return find_dense_rows(a, a_stride, first, count, rows); },
      scratch + layout.packed_bytes());
}

// One batch item on all threads.
template <class T, class Out>
void run_item_parallel(const MatMulShape& s, const Item<T, Out>& item, const Epilogue<T>& epilogue, ThreadPool& pool,
                       std::byte* scratch) {
  const MatMulScratch<T> layout(s);
  const bool pack_b = item.packed_b == nullptr;
  const PackedB b = item_b_view<T>(s, pack_b ? scratch : item.packed_b, pack_b);
  auto* packed_a = reinterpret_cast<T*>(scratch + layout.b_bytes);
  const int parts = pool.num_threads();
  if (pack_b || layout.pack_a) {
    pool.parallel_for(parts, [&](int part, int) {
      if (pack_b) pack_b_steps(item.b, s, part * b.k / parts, (part + 1) * b.k / parts, b, scratch);
      if (layout.pack_a) pack_a_rows(s, item.a, part * s.m / parts, (part + 1) * s.m / parts, packed_a);
    });
  }
  const T* a = layout.pack_a ? packed_a : item.a;
  const int64_t a_stride = layout.pack_a ? MatMulScratch<T>::a_pitch(s) : s.a_row_stride;
  gemm(s.m, s.k, a, a_stride, b, item.c, s.c_row_stride, epilogue, pool, scratch + layout.packed_bytes());
}

int64_t gemm_pieces(int64_t m, int64_t k) { return m < kPieceRows ? 1 : std::max<int64_t>(1, ceil_div(k, kSumSteps)); }

// Cut into so many parts of rows.
AmxProduct amx_product(const TileJob<BFloat16>& job, const BFloat16* a, int64_t a_row_stride, int64_t parts) {
  AmxProduct product;
  product.m = job.rows;
  product.unit_rows = even_unit_rows(ceil_div(job.rows, parts));
  product.k = job.run_length;
  product.a = a;
  product.a_row = a_row_stride;
  product.b = job.b;
  product.c = job.out;
  product.wide_c = job.wide_out;
  product.c_row = job.out_stride;
  product.epilogue = job.epilogue;
  return product;
}

// On tile registers, where amx_product_fits().
void amx_gemm(const TileJob<BFloat16>& job, const BFloat16* a, int64_t a_row_stride, ThreadPool& pool) {
  const TileSplit split = choose_split(job, pool.num_threads());
  const AmxProduct product = amx_product(job, a, a_row_stride, split.tile_parts);
  run_parts(split, product.units(), job.b.panels(), pool, [&](const TileRange& part, int) {
    const AmxScope tile_registers(kAmxElements / 2, product.unit_rows);
    amx_product_part(product, part);
  });
}

// Sums over K in one go.
template <class T, class Out>
void gemm_piece(int64_t m, int64_t k, const T* a, int64_t a_row_stride, const PackedB& b, Out* c, int64_t c_row_stride,
                const Epilogue<T>& epilogue, ThreadPool& pool, std::byte* scratch, const Blocking& blocking) {
  TileJob<T> job = gemm_job<T>(m, k, a_row_stride, b);
  job.set_blocking(blocking);
  job.set_out(c);
  job.out_stride = c_row_stride;
  job.epilogue = &epilogue;
  if constexpr (sizeof(T) < sizeof(float)) {
    if (amx_product_fits(m, k, b, epilogue)) {
      amx_gemm(job, a, a_row_stride, pool);
      return;
    }
  }
  run_tiles(
      job,
      [&](int64_t first, int count, const T** rows) { return find_dense_rows(a, a_row_stride, first, count, rows); },
      pool, scratch);
}

// Sums of the pieces so far wait in C: the first adds bias and residual, the last does the rest.
void gemm_in_pieces(int64_t m, int64_t k, const float* a, int64_t a_row_stride, const PackedB& b, float* c,
                    int64_t c_row_stride, const EpilogueF32& epilogue, ThreadPool& pool, std::byte* scratch,
                    const Blocking& blocking) {
  const int64_t pieces = gemm_pieces(m, k);
  for (int64_t i = 0; i < pieces; ++i) {
    const int64_t first = i * k / pieces, last = (i + 1) * k / pieces;
    const EpilogueF32 part = piece_epilogue(epilogue, i == 0, i + 1 == pieces, c, c_row_stride);
    gemm_piece(m, last - first, a + first, a_row_stride, b.piece(first, last), c, c_row_stride, part, pool, scratch,
               blocking);
  }
}

}  // namespace

template <class T>
size_t gemm_scratch_bytes(int64_t m, int64_t k, int64_t n, int threads, MatrixUnit unit, int vectors) {
  size_t bytes = 0;
  for (const int64_t piece : {k, ceil_div(k, gemm_pieces(m, k))}) {
    const PackedB b = packed_b_view(packed_steps<T>(1, piece), n, nullptr, unit, vectors);
    bytes = std::max(bytes, tile_slot_scratch_bytes(gemm_job<T>(m, piece, kAliasingStride<T>, b)));
  }
  return static_cast<size_t>(threads) * bytes;
}

template <class T, class Out>
void gemm(int64_t m, int64_t k, const T* a, int64_t a_row_stride, const PackedB& b, Out* c, int64_t c_row_stride,
          const Epilogue<T>& epilogue, ThreadPool& pool, std::byte* scratch, const Blocking& blocking) {
  if constexpr (sizeof(T) == sizeof(float)) {
    const bool residual_last = epilogue.residual != nullptr && epilogue.residual_last;
    if (!residual_last && gemm_pieces(m, k) > 1) {
      gemm_in_pieces(m, k, a, a_row_stride, b, c, c_row_stride, epilogue, pool, scratch, blocking);
      return;
    }
  }
  gemm_piece(m, k, a, a_row_stride, b, c, c_row_stride, epilogue, pool, scratch, blocking);
}

template <class T>
void gemm_on_caller(const TileJob<T>& job, const T* a, int64_t a_row_stride, int64_t first_panel, int64_t last_panel,
                    std::byte* scratch) {
  if constexpr (sizeof(T) < sizeof(float)) {
    if (!job.to_half && amx_product_fits(job.rows, job.run_length, job.b, *job.epilogue)) {
      const AmxProduct product = amx_product(job, a, a_row_stride, 1);
      const AmxScope tile_registers(kAmxElements / 2, product.unit_rows);
      amx_product_part(product, {0, product.units(), first_panel, last_panel});
      return;
    }
  }
  run_tile_range(
      job, {0, tile_count(job), first_panel, last_panel},
      [&](int64_t first, int count, const T** rows) { return find_dense_rows(a, a_row_stride, first, count, rows); },
      scratch);
}

void gemm_on_caller(int64_t m, int64_t k, const float* a, int64_t a_row_stride, const PackedB& b, float* c,
                    int64_t c_row_stride, const EpilogueF32& epilogue, std::byte* scratch) {
  TileJob<float> job = gemm_job<float>(m, k, a_row_stride, b);
  job.set_out(c);
  job.out_stride = c_row_stride;
  job.epilogue = &epilogue;
  gemm_on_caller(job, a, a_row_stride, 0, b.panels(), scratch);
}

// All items on one thread, about, with what each of them begins with.
template <class T>
double batch_ns(const MatMulShape& s) {
  constexpr double kItemNs = 40, kProductsPerNs = 60;
  const auto products = static_cast<double>(s.m * s.k * align_up(s.n, int64_t{16}));
  return static_cast<double>(s.batch) * (kItemNs + products / kProductsPerNs);
}

template <class T>
size_t matmul_scratch_bytes(const MatMulShape& shape, int threads) {
  const MatMulScratch<T> layout(shape);
  return static_cast<size_t>(threads) * (layout.packed_bytes() + layout.tile_bytes);
}

template <class T, class Out>
void matmul(const MatMulShape& s, const T* a, const T* b, Out* c, const Epilogue<T>& epilogue, ThreadPool& pool,
            std::byte* scratch) {
  if (s.m <= 0 || s.n <= 0) return;
  const MatMulScratch<T> layout(s);
  const size_t slot_bytes = layout.packed_bytes() + layout.tile_bytes;
  const auto packed_bytes = static_cast<int64_t>(item_b_view<T>(s, nullptr, false).bytes());
  auto item_at = [&](int64_t i) {
    const int64_t b_offset = item_offset(s.b_offsets, s.b_batch_stride, i);
    Item<T, Out> item{a + item_offset(s.a_offsets, s.a_batch_stride, i), nullptr, c + i * s.c_batch_stride, nullptr};
    if (s.packed_b != nullptr) {
      item.packed_b = s.packed_b + b_offset / (s.k * s.n) * packed_bytes;
    } else {
      item.b = b + b_offset;
    }
    return item;
  };
  if (s.batch >= pool.num_threads()) {
    const int64_t tasks = std::min<int64_t>(s.batch, int64_t{pool.num_threads()} * 8);
    pool.parallel_for(static_cast<int>(tasks), batch_ns<T>(s), [&](int task, int slot) {
      for (int64_t i = task * s.batch / tasks; i < (task + 1) * s.batch / tasks; ++i) {
        const PartEpilogue<T> part(epilogue, i * s.m);
        run_item(s, item_at(i), part.get(), scratch + slot * slot_bytes);
      }
    });
    return;
  }
  for (int64_t i = 0; i < s.batch; ++i) {
    const PartEpilogue<T> part(epilogue, i * s.m);
    run_item_parallel(s, item_at(i), part.get(), pool, scratch);
  }
}

#define BLADE_INSTANTIATE(T, Out)                                                                                    \
  template void gemm<T, Out>(int64_t, int64_t, const T*, int64_t, const PackedB&, Out*, int64_t, const Epilogue<T>&, \
                             ThreadPool&, std::byte*, const Blocking&);                                              \
  template void matmul<T, Out>(const MatMulShape&, const T*, const T*, Out*, const Epilogue<T>&, ThreadPool&,        \
                               std::byte*);
BLADE_INSTANTIATE(float, float)
BLADE_INSTANTIATE(BFloat16, BFloat16)
BLADE_INSTANTIATE(BFloat16, float)
#undef BLADE_INSTANTIATE
template void gemm_on_caller(const TileJob<float>&, const float*, int64_t, int64_t, int64_t, std::byte*);
template void gemm_on_caller(const TileJob<BFloat16>&, const BFloat16*, int64_t, int64_t, int64_t, std::byte*);
template size_t gemm_scratch_bytes<float>(int64_t, int64_t, int64_t, int, MatrixUnit, int);
template size_t gemm_scratch_bytes<BFloat16>(int64_t, int64_t, int64_t, int, MatrixUnit, int);
template size_t matmul_scratch_bytes<float>(const MatMulShape&, int);
template size_t matmul_scratch_bytes<BFloat16>(const MatMulShape&, int);

}  // namespace blade::backends::cpu
