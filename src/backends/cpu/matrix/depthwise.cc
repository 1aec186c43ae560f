// Depthwise convolution, alone or with the 1x1 convolution that reads it: blocks of rows spread over threads.
#include "backends/cpu/matrix/depthwise.h"

#include <algorithm>
#include <cstring>

#include "backends/cpu/matrix/depthwise_pairs.h"
#include "backends/cpu/matrix/depthwise_rows.h"
#include "backends/cpu/matrix/gemm.h"
#include "backends/cpu/matrix/tile_driver.h"
#include "base/checked_math.h"
#include "base/even_tasks.h"

namespace blade::backends::cpu {
namespace {

// Work below this many multiplications is not worth a second task.
constexpr double kTaskProducts = 40e3;
constexpr double kMinSharedProducts = 30e3;  // two tasks, for cores that are near to each other
constexpr double kProductsPerNs = 65;        // of one thread
constexpr int kTasksPerThread = 4;
constexpr int64_t kRowsPerTask = 4;        // at least, where every thread has some: rows are computed in pairs
constexpr int64_t kTableBytes = 12 << 10;  // of pointers, beside the pixels in L1
constexpr int64_t kStripBytes = 24 << 10;  // depthwise results that the 1x1 finds in L1
constexpr int64_t kPairBytes = 48 << 10;   // for two rows, which are computed together, that many are worth it
constexpr int64_t kMinColumns = 16;        // of a part of a row
constexpr int64_t kChannelsPerPixel = 5;   // of an input: with more, the product before it was cut by columns
constexpr int64_t kChannelMultiple = 32;   // in that case
static_assert(kChannelMultiple % kPairChannels == 0);

template <class T>
size_t zero_bytes(const DepthwiseShape& s) {
  return align_up(static_cast<size_t>(s.c) * sizeof(T), 64);
}

template <class T>
int64_t rows_at_once(const DepthwiseShape& s) {
  const auto bytes =
      static_cast<int64_t>(DepthwiseRows<T>::table_bytes(s, 1)) / std::max<int64_t>(1, s.kh) * s.stride_h;
  const int64_t rows = s.blocking.strip > 0 ? s.blocking.strip : kTableBytes / std::max<int64_t>(1, bytes);
  return std::clamp<int64_t>(rows, 1, std::min(kMaxDepthwiseRows, s.oh));
}

int64_t default_strip_rows(int64_t row_bytes) {
  return std::max(kStripBytes / row_bytes, std::min<int64_t>(2, kPairBytes / row_bytes));
}

int64_t task_count(double products, int64_t units, int threads) {
  const double worth = std::max(products / kTaskProducts, products < kMinSharedProducts ? 1.0 : 2.0);
  return even_tasks(static_cast<int64_t>(std::min(worth, double{kTasksPerThread} * threads)), threads, units);
}

// Each thread takes the channels that it probably has in its cache.
template <class T>
void by_channels(const DepthwiseShape& s, const DepthwiseRows<T>& depthwise, T* out, int64_t most, ThreadPool& pool,
                 std::byte* scratch) {
  const int64_t rows = s.n * s.oh, blocks = s.c / kChannelMultiple, tasks = pool.num_threads();
  pool.parallel_for(static_cast<int>(tasks), [&](int task, int slot) {
    std::byte* mine = scratch + slot * DepthwiseRows<T>::scratch_bytes(s, most);
    typename DepthwiseRows<T>::Block block;
    block.first_channel = task * blocks / tasks * kChannelMultiple;
    const int64_t end = task + 1 == tasks ? s.c : (task + 1) * blocks / tasks * kChannelMultiple;
    block.channels = end - block.first_channel;
    block.columns = s.ow;
    for (int64_t row = 0; row < rows; row += block.rows) {
      block.first_row = row;
      block.rows = DepthwiseRows<T>::rows_together(s, row, std::min(most, rows - row));
      depthwise.run(block, out + row * s.ow * s.c, mine);
    }
  });
}

// ---- The depthwise convolution and the 1x1 behind it, strip by strip.
template <class T>
struct SeparablePlan {
  int64_t channels;    // between the two
  int64_t strip_rows;  // at most
  TileJob<T> job;

  SeparablePlan(const DepthwiseShape& s, int64_t oc, const void* packed) : channels(s.c * s.multiplier) {
    const int64_t row_bytes = s.ow * channels * int64_t{sizeof(T)};
    strip_rows = s.blocking.strip > 0 ? s.blocking.strip : default_strip_rows(std::max<int64_t>(1, row_bytes));
    strip_rows = std::clamp<int64_t>(strip_rows, 1, std::min(kMaxDepthwiseRows, s.oh));
    job.rows = strip_rows * s.ow;
    job.run_length = channels;
    job.input_bytes = strip_rows * row_bytes;
    job.b = packed_b_view(packed_steps<T>(1, channels), oc, packed, s.unit, s.blocking.vectors);
    job.out_stride = oc;
    job.copy_rows = job.b.panels() > 1 && pitch_aliases(channels * int64_t{sizeof(T)}, s.unit);
  }
  size_t strip_bytes(const DepthwiseShape& s) const {
    return align_up(static_cast<size_t>(strip_rows * s.ow * channels) * sizeof(T), 64);
  }
  size_t slot_bytes(const DepthwiseShape& s) const {
    return strip_bytes(s) + DepthwiseRows<T>::scratch_bytes(s, strip_rows) + tile_slot_scratch_bytes(job);
  }
};

}  // namespace

bool has_grouped_kernel(const DepthwiseShape& s) {
  const int64_t lanes = grouped_kernels().lanes;
  if (lanes == 0 || s.group <= 1 || s.multiplier != 1 || s.kh != 3 || !s.has_fixed_kernel()) return false;
  return s.group < lanes ? lanes % s.group == 0 : s.group % lanes == 0;
}

size_t grouped_weights_bytes(const DepthwiseShape& s) {
  const int64_t blocks = ceil_div(s.c, kGroupedChannels);
  return static_cast<size_t>(blocks * kGroupedChannels * s.kh * s.kw * s.group) * sizeof(float);
}

void pack_grouped_weights(const DepthwiseShape& s, const float* from, float* to) {
  for (int64_t c = 0; c < s.c; c += kGroupedChannels) {
    const int64_t channels = std::min(kGroupedChannels, s.c - c);
    for (int64_t input = 0; input < s.kh * s.kw * s.group; ++input) {
      std::copy_n(from + input * s.c + c, channels, to);
      std::fill(to + channels, to + kGroupedChannels, 0.0f);
      to += kGroupedChannels;
    }
  }
}

template <class T>
size_t depthwise_scratch_bytes(const DepthwiseShape& s, int threads) {
  if (s.n * s.oh * s.ow <= 0 || s.c <= 0) return 0;
  return zero_bytes<T>(s) + static_cast<size_t>(threads) * DepthwiseRows<T>::scratch_bytes(s, rows_at_once<T>(s));
}

template <class T>
void depthwise_conv2d(const DepthwiseShape& s, const T* in, const DepthwiseWeights& weights, T* out,
                      const Epilogue<T>& epilogue, ThreadPool& pool, std::byte* scratch) {
  const int64_t rows = s.n * s.oh;
  if (rows * s.ow <= 0 || s.c <= 0 || s.multiplier <= 0) return;
  auto* zeros = reinterpret_cast<T*>(scratch);
  std::memset(static_cast<void*>(zeros), 0, zero_bytes<T>(s));
  const DepthwiseRows<T> depthwise(s, in, weights, epilogue, zeros);
  const int64_t channels = s.c * s.multiplier;
  const double products = static_cast<double>(rows * s.ow * channels) * static_cast<double>(s.kh * s.kw * s.group);
  const int64_t most = rows_at_once<T>(s);
  const int64_t threads = pool.num_threads();
  const bool was_cut_by_columns = s.c > kChannelsPerPixel * s.n * s.h * s.w && s.c >= 2 * kChannelMultiple * threads;
  if (was_cut_by_columns && products >= kTaskProducts * pool.num_threads() && depthwise.can_part_channels()) {
    by_channels(s, depthwise, out, most, pool, scratch + zero_bytes<T>(s));
    return;
  }
  // Few rows are cut into parts, so that every thread has some.
  const int64_t parts =
      rows >= kTasksPerThread * threads ? 1 : std::clamp<int64_t>(s.ow / kMinColumns, 1, kTasksPerThread);
  const int64_t units = rows * parts;
  int64_t tasks = task_count(products, units, pool.num_threads());
  if (parts == 1) tasks = std::min(tasks, std::max<int64_t>(1, rows / kRowsPerTask / threads) * threads);
  pool.parallel_for(static_cast<int>(tasks), products / kProductsPerNs, [&](int task, int slot) {
    std::byte* mine = scratch + zero_bytes<T>(s) + slot * DepthwiseRows<T>::scratch_bytes(s, most);
    const int64_t last = (task + 1) * units / tasks;
    for (int64_t u = task * units / tasks; u < last;) {
      typename DepthwiseRows<T>::Block block;
      block.first_row = u / parts;
      block.rows = parts > 1 ? 1 : DepthwiseRows<T>::rows_together(s, u, std::min(most, last - u));
      block.first_x = u % parts * s.ow / parts;
      block.columns = (u % parts + 1) * s.ow / parts - block.first_x;
      depthwise.run(block, out + (block.first_row * s.ow + block.first_x) * channels, mine);
      u += block.rows;
    }
  });
}

template <class T>
int64_t depthwise_block_rows(const DepthwiseShape& s) {
  return rows_at_once<T>(s);
}

template <class T>
int64_t separable_strip_rows(const DepthwiseShape& s) {
  return SeparablePlan<T>(s, 1, nullptr).strip_rows;
}
template <class T>
int64_t separable_strips(const DepthwiseShape& s) {
  return s.n * ceil_div(s.oh, separable_strip_rows<T>(s));
}

template <class T>
size_t separable_scratch_bytes(const DepthwiseShape& s, int64_t oc, int threads) {
  return zero_bytes<T>(s) + static_cast<size_t>(threads) * SeparablePlan<T>(s, oc, nullptr).slot_bytes(s);
}

template <class T>
void separable_conv2d(const DepthwiseShape& s, int64_t oc, const T* in, const DepthwiseWeights& weights,
                      const void* packed, T* out, const Epilogue<T>& between, const Epilogue<T>& epilogue,
                      ThreadPool& pool, std::byte* scratch) {
  const int64_t rows = s.n * s.oh;
  if (rows * s.ow <= 0 || s.c <= 0 || oc <= 0) return;
  const SeparablePlan<T> plan(s, oc, packed);
  auto* zeros = reinterpret_cast<T*>(scratch);
  std::memset(static_cast<void*>(zeros), 0, zero_bytes<T>(s));
  const DepthwiseRows<T> depthwise(s, in, weights, between, zeros);
  const double products = static_cast<double>(rows * s.ow * plan.channels) *
                          (4.0 * static_cast<double>(s.kh * s.kw) + static_cast<double>(oc));
  const int64_t tasks = task_count(products / 4, rows, pool.num_threads());
  pool.parallel_for(static_cast<int>(tasks), products / 4 / kProductsPerNs, [&](int task, int slot) {
    std::byte* mine = scratch + zero_bytes<T>(s) + slot * plan.slot_bytes(s);
    auto* strip = reinterpret_cast<T*>(mine);
    std::byte* rows_scratch = mine + plan.strip_bytes(s);
    std::byte* tiles = rows_scratch + DepthwiseRows<T>::scratch_bytes(s, plan.strip_rows);
    const int64_t last = (task + 1) * rows / tasks;
    for (int64_t row = task * rows / tasks; row < last;) {
      typename DepthwiseRows<T>::Block block;
      block.first_row = row;
      block.rows = DepthwiseRows<T>::rows_together(s, row, std::min(plan.strip_rows, last - row));
      block.columns = s.ow;
      depthwise.run(block, strip, rows_scratch);
      const PartEpilogue<T> part(epilogue, row * s.ow);
      TileJob<T> job = plan.job;
      job.rows = block.rows * s.ow;
      set_stretch(job, job.rows, plan.channels);
      job.out = out + row * s.ow * oc;
      job.epilogue = &part.get();
      gemm_on_caller(job, strip, plan.channels, 0, job.b.panels(), tiles);
      row += block.rows;
    }
  });
}

#define BLADE_INSTANTIATE(T)                                                                                          \
  template size_t depthwise_scratch_bytes<T>(const DepthwiseShape&, int);                                             \
  template void depthwise_conv2d<T>(const DepthwiseShape&, const T*, const DepthwiseWeights&, T*, const Epilogue<T>&, \
                                    ThreadPool&, std::byte*);                                                         \
  template int64_t depthwise_block_rows<T>(const DepthwiseShape&);                                                    \
  template int64_t separable_strip_rows<T>(const DepthwiseShape&);                                                    \
  template int64_t separable_strips<T>(const DepthwiseShape&);                                                        \
  template size_t separable_scratch_bytes<T>(const DepthwiseShape&, int64_t, int);                                    \
  template void separable_conv2d<T>(const DepthwiseShape&, int64_t, const T*, const DepthwiseWeights&, const void*,   \
                                    T*, const Epilogue<T>&, const Epilogue<T>&, ThreadPool&, std::byte*);
BLADE_INSTANTIATE(float)
BLADE_INSTANTIATE(BFloat16)
#undef BLADE_INSTANTIATE

}  // namespace blade::backends::cpu
