// Rows of the first convolution stand in a ring as long as the depthwise convolution needs them; parts of the image
// compute the rows that two of them need twice.
#include "backends/cpu/matrix/bottleneck.h"

#include <algorithm>
#include <cstring>

#include "backends/cpu/matrix/depthwise_rows.h"
#include "backends/cpu/matrix/gemm.h"
#include "backends/cpu/matrix/tile_driver.h"
#include "base/checked_math.h"

namespace blade::backends::cpu {
namespace {

constexpr int64_t kStripBytes = 40 << 10;    // depthwise results that the 1x1 finds in L1
constexpr int64_t kMinRingBytes = 64 << 10;  // fewer rows at a time are not worth the calls
constexpr int64_t kMaxRingBytes = 400 << 10;

// Whether depthwise kernels make two rows at once.
bool makes_pairs(const DepthwiseShape& d) { return d.stride_h == 1 && d.stride_w == 1 && d.dilation_h == 1; }

template <class T>
struct BottleneckPlan {
  const BottleneckShape& s;
  int64_t channels;  // between the convolutions
  int64_t strip_rows;
  int64_t ring;  // rows of the first convolution's results
  TileJob<T> job;

  explicit BottleneckPlan(const BottleneckShape& shape, const void* packed = nullptr)
      : s(shape), channels(shape.depthwise.c), strip_rows(bottleneck_strip_rows<T>(shape)) {
    const DepthwiseShape& d = s.depthwise;
    ring = d.read_rows(strip_rows);
    if (s.oc == 0) return;
    job.rows = strip_rows * d.ow;
    job.run_length = channels;
    job.input_bytes = job.rows * channels * int64_t{sizeof(T)};
    job.b = packed_b_view(packed_steps<T>(1, channels), s.oc, packed, s.first.unit);
    job.out_stride = s.oc;
    job.copy_rows = job.b.panels() > 1 && pitch_aliases(channels * int64_t{sizeof(T)}, s.first.unit);
  }

  int64_t ring_row() const { return s.depthwise.w * channels; }
  size_t ring_bytes() const { return align_up(static_cast<size_t>(ring * ring_row()) * sizeof(T), 64); }
  size_t strip_bytes() const {
    return s.oc == 0 ? 0 : align_up(static_cast<size_t>(job.rows * channels) * sizeof(T), 64);
  }
  size_t first_bytes() const { return align_up(conv2d_rows_slot_bytes<T>(s.first), 64); }
  size_t depthwise_bytes() const { return DepthwiseRows<T>::scratch_bytes(s.depthwise, strip_rows); }
  size_t slot_bytes() const {
    const size_t tiles = s.oc == 0 ? 0 : tile_slot_scratch_bytes(job);
    return ring_bytes() + strip_bytes() + first_bytes() + depthwise_bytes() + tiles;
  }
  size_t zero_bytes() const { return align_up(static_cast<size_t>(channels) * sizeof(T), 64); }
  size_t shared_bytes() const { return zero_bytes() + align_up(conv2d_rows_shared_bytes<T>(s.first), 64); }
};

// One thread's rows.
template <class T, class In>
class BottleneckPart {
 public:
  BottleneckPart(const BottleneckPlan<T>& plan, const In* in, const BottleneckWeights& weights,
                 const BottleneckEpilogues<T>& epilogues, std::byte* shared, std::byte* slot)
      : plan_(plan),
        in_(in),
        weights_(weights),
        epilogues_(epilogues),
        rows_shared_(shared + plan.zero_bytes()),
        ring_(reinterpret_cast<T*>(slot)),
        strip_(reinterpret_cast<T*>(slot + plan.ring_bytes())),
        first_scratch_(slot + plan.ring_bytes() + plan.strip_bytes()),
        depthwise_scratch_(first_scratch_ + plan.first_bytes()),
        tile_scratch_(depthwise_scratch_ + plan.depthwise_bytes()),
        first_(plan.s.first),
        depthwise_(plan.s.depthwise, ring_, without_half(weights.depthwise), epilogues.depthwise,
                   reinterpret_cast<const T*>(shared), plan.ring),
        half_depthwise_(plan.s.depthwise, ring_, half_alone(weights.depthwise), epilogues.depthwise,
                        reinterpret_cast<const T*>(shared), plan.ring, plan.s.may_overflow ? &not_finite_ : nullptr) {}

  void run(int64_t first, int64_t last, T* out) {
    const DepthwiseShape& d = plan_.s.depthwise;
    for (int64_t row = first; row < last;) {
      typename DepthwiseRows<T>::Block block;
      block.first_row = row;
      block.rows =
          next_strip_rows(DepthwiseRows<T>::rows_together(d, row, last - row), plan_.strip_rows, makes_pairs(d));
      block.columns = d.ow;
      fill_ring(row, block.rows);
      const DepthwiseRows<T>& depthwise = first_.to_half ? half_depthwise_ : depthwise_;
      depthwise.run(block, plan_.s.oc == 0 ? out + row * d.ow * plan_.channels : strip_, depthwise_scratch_);
      if (not_finite_) {
        not_finite_ = first_.to_half = false;
        image_ = -1;  // what the ring holds is float16
        continue;
      }
      if (plan_.s.oc != 0) project(row, block.rows, out + row * d.ow * plan_.s.oc);
      row += block.rows;
      if (row % d.oh == 0) first_.to_half = plan_.s.first.to_half;  // no image's bits depend on the one before it
    }
  }

 private:
  static DepthwiseWeights without_half(DepthwiseWeights weights) {
    weights.half = nullptr;
    return weights;
  }
  static DepthwiseWeights half_alone(const DepthwiseWeights& weights) {
    DepthwiseWeights half;
    half.half = weights.half;
    return half;
  }

  // Makes what rows [row, row + rows) read and the ring has not.
  void fill_ring(int64_t row, int64_t rows) {
    const DepthwiseShape& d = plan_.s.depthwise;
    const int64_t image = row / d.oh, y = row % d.oh;
    const int64_t begin = std::clamp<int64_t>(y * d.stride_h - d.pad_top, 0, d.h);
    const int64_t end = std::clamp<int64_t>(d.read_rows(y + rows) - d.pad_top, begin, d.h);
    made_ = image == image_ ? std::max(made_, begin) : begin;
    image_ = image;
    while (made_ < end) {
      const int64_t at = made_ % plan_.ring, count = std::min(end - made_, plan_.ring - at);
      conv2d_rows(first_, in_, weights_.first, ring_ + at * plan_.ring_row(), epilogues_.first, image * d.h + made_,
                  count, rows_shared_, first_scratch_);
      made_ += count;
    }
  }

  // The 1x1 over what the strip holds.
  void project(int64_t row, int64_t rows, T* out) {
    const PartEpilogue<T> part(epilogues_.last, row * plan_.s.depthwise.ow);
    TileJob<T> job = plan_.job;
    job.rows = rows * plan_.s.depthwise.ow;
    set_stretch(job, job.rows, plan_.channels);
    job.out = out;
    job.epilogue = &part.get();
    gemm_on_caller(job, strip_, plan_.channels, 0, job.b.panels(), tile_scratch_);
  }

  const BottleneckPlan<T>& plan_;
  const In* in_;
  const BottleneckWeights& weights_;
  const BottleneckEpilogues<T>& epilogues_;
  std::byte* rows_shared_;
  T *ring_, *strip_;
  std::byte *first_scratch_, *depthwise_scratch_, *tile_scratch_;
  bool not_finite_ = false;
  Conv2DShape first_;
  DepthwiseRows<T> depthwise_, half_depthwise_;
  int64_t image_ = -1, made_ = 0;  // the ring holds the rows before made_ of this image
};

}  // namespace

int64_t next_strip_rows(int64_t left, int64_t strip_rows, bool pairs) {
  const int64_t rows = ceil_div(left, ceil_div(left, strip_rows)), even = rows + rows % 2;
  return pairs && even <= strip_rows && left > even + 1 ? even : rows;
}

template <class T>
int64_t bottleneck_strip_rows(const BottleneckShape& s) {
  const DepthwiseShape& d = s.depthwise;
  const int64_t by_strip = kStripBytes / std::max<int64_t>(1, d.ow * d.c * int64_t{sizeof(T)});
  const int64_t by_ring = kMinRingBytes / std::max<int64_t>(1, d.stride_h * d.w * d.c * int64_t{sizeof(T)});
  // Two rows at stride 1 are computed together, where the ring with another row stays in L2.
  const bool pairs = d.stride_h == 1 && (d.kh + 1) * d.w * d.c * int64_t{sizeof(T)} <= kMaxRingBytes;
  const int64_t rows = d.blocking.strip > 0 ? d.blocking.strip : std::max({by_strip, by_ring, int64_t{pairs ? 2 : 1}});
  return std::clamp<int64_t>(rows, 1, std::min(kMaxDepthwiseRows, d.oh));
}

template <class T>
int64_t bottleneck_tasks(const BottleneckShape& s, int threads) {
  const DepthwiseShape& d = s.depthwise;
  return std::clamp<int64_t>(d.n * d.oh / bottleneck_strip_rows<T>(s), 1, threads);
}

template <class T>
size_t bottleneck_scratch_bytes(const BottleneckShape& s, int threads) {
  const BottleneckPlan<T> plan(s);
  return plan.shared_bytes() + static_cast<size_t>(threads) * plan.slot_bytes();
}

template <class T, class In>
void bottleneck_conv2d(const BottleneckShape& s, const In* in, const BottleneckWeights& weights, T* out,
                       const BottleneckEpilogues<T>& epilogues, ThreadPool& pool, std::byte* scratch) {
  const BottleneckPlan<T> plan(s, weights.last);
  std::memset(scratch, 0, plan.zero_bytes());
  conv2d_rows_prepare<T>(s.first, scratch + plan.zero_bytes());
  const int64_t rows = s.depthwise.n * s.depthwise.oh, tasks = bottleneck_tasks<T>(s, pool.num_threads());
  pool.parallel_for(static_cast<int>(tasks), [&](int task, int slot) {
    std::byte* mine = scratch + plan.shared_bytes() + slot * plan.slot_bytes();
    BottleneckPart<T, In> part(plan, in, weights, epilogues, scratch, mine);
    part.run(task * rows / tasks, (task + 1) * rows / tasks, out);
  });
}

#define BLADE_INSTANTIATE(T)                                         \
  template int64_t bottleneck_strip_rows<T>(const BottleneckShape&); \
  template int64_t bottleneck_tasks<T>(const BottleneckShape&, int); \
  template size_t bottleneck_scratch_bytes<T>(const BottleneckShape&, int);
BLADE_INSTANTIATE(float)
BLADE_INSTANTIATE(BFloat16)
#undef BLADE_INSTANTIATE
#define BLADE_INSTANTIATE(T, In)                                                                          \
  template void bottleneck_conv2d<T, In>(const BottleneckShape&, const In*, const BottleneckWeights&, T*, \
                                         const BottleneckEpilogues<T>&, ThreadPool&, std::byte*);
BLADE_INSTANTIATE(float, float)
BLADE_INSTANTIATE(BFloat16, BFloat16)
BLADE_INSTANTIATE(BFloat16, float)
#undef BLADE_INSTANTIATE

}  // namespace blade::backends::cpu
