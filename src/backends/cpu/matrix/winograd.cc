// Winograd's convolution: input transform, one product a point on the tile driver, output transform with the epilogue.
// Small weights: each thread takes chunks of tiles through all three, inside its L2. Large weights: all threads go
// through the three together, so that each point's weights are read once.
#include "backends/cpu/matrix/winograd.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "backends/cpu/matrix/convert.h"
#include "backends/cpu/matrix/tile_driver.h"
#include "backends/cpu/matrix/winograd_kernel.h"
#include "base/checked_math.h"

namespace blade::backends::cpu {
namespace {

constexpr int64_t kChunkBytes = 720 << 10;                // transformed tiles, before and after the product, in L2
constexpr int64_t kSharedWeightBytes = int64_t{3} << 20;  // beyond this the threads work point by point
constexpr int64_t kSharedTileBytes = int64_t{12} << 20;   // transformed tiles of a pass of all threads, in L3

// A tile along one dim: outputs, and inputs, which are as many as points.
struct TileAxis {
  int outputs, inputs;
  TileAxis(int64_t taps, ConvAlgorithm algorithm)
      : outputs(taps == 1 ? 1 : winograd_outputs(algorithm)), inputs(outputs + static_cast<int>(taps) - 1) {}
};

// Everything that follows from the shape.
template <class T>
struct Plan {
  const Conv2DShape& s;
  TileAxis y, x;
  int points;           // of a tile, both ways
  int64_t in_channels;  // of all images that a result reads
  int64_t tiles_y, tiles_x, tiles;
  int64_t in_pitch, out_pitch;  // elements (of T, floats) from tile to tile of a transformed operand
  PackedB layout;               // of a point's weights
  size_t point_bytes;           // packed weights of a point
  bool shared;
  int64_t pass_tiles;  // tiles of a chunk, or of a pass of all threads

  Plan(const Conv2DShape& shape, ConvAlgorithm algorithm, int threads)
      : s(shape),
        y(s.kh, algorithm),
        x(s.kw, algorithm),
        points(y.inputs * x.inputs),
        in_channels(shape.depth.taps * shape.c),
        tiles_y(ceil_div(s.oh, y.outputs)),
        tiles_x(ceil_div(s.ow, x.outputs)),
        tiles(s.n * tiles_y * tiles_x),
        in_pitch(pitch<T>(in_channels)),
        out_pitch(pitch<float>(s.oc)),
        layout(packed_b_view(packed_steps<T>(1, in_channels), s.oc, nullptr, MatrixUnit::kVectors, s.blocking.vectors)),
        point_bytes(align_up(layout.bytes(), 64)),
        shared(static_cast<int64_t>(point_bytes) * points > kSharedWeightBytes) {
    const int64_t tile_bytes = points * (in_pitch * int64_t{sizeof(T)} + out_pitch * int64_t{sizeof(float)});
    const int64_t most = std::max<int64_t>(shared ? 28 : 14, (shared ? kSharedTileBytes : kChunkBytes) / tile_bytes);
    int64_t passes = ceil_div(tiles, s.blocking.strip > 0 ? std::min<int64_t>(s.blocking.strip, most * 4) : most);
    if (!shared) passes = ceil_div(passes, threads) * threads;  // an even share for each thread
    pass_tiles = ceil_div(tiles, std::max<int64_t>(1, passes));
  }

  // Rows that do not compete for the same sets of L1.
  template <class E>
  static int64_t pitch(int64_t channels) {
    constexpr int64_t kLine = 64 / sizeof(E);
    const int64_t padded = ceil_div(channels, kLine) * kLine;
    return padded % (16 * kLine) == 0 ? padded + kLine : padded;
  }
  // Elements from a point to the next: an odd number of cache lines, for the same reason.
  template <class E>
  static int64_t odd_lines(int64_t elements) {
    constexpr int64_t kLine = 64 / sizeof(E);
    return (elements / kLine | 1) * kLine;
  }
  int64_t in_stride() const { return odd_lines<T>(pass_tiles * in_pitch); }
  int64_t out_stride() const { return odd_lines<float>(pass_tiles * out_pitch); }
  size_t in_bytes() const { return static_cast<size_t>(in_stride() * points) * sizeof(T); }
  size_t out_bytes() const { return static_cast<size_t>(out_stride() * points) * sizeof(float); }
  size_t zero_bytes() const { return align_up(static_cast<size_t>(s.c) * sizeof(T), 64); }
  // Transformed dims, and the points and outputs along each.
  int dims() const { return y.outputs > 1 && x.outputs > 1 ? 2 : 1; }
  int axis_points() const { return std::max(y.inputs, x.inputs); }
  int axis_outputs() const { return std::max(y.outputs, x.outputs); }
  // Results of a tile that wait for the rest of the epilogue before they are rounded.
  size_t held_bytes() const {
    return sizeof(T) < sizeof(float) ? align_up(static_cast<size_t>(y.outputs * x.outputs * s.oc) * sizeof(float), 64)
                                     : 0;
  }

  TileJob<T> job(const void* packed, int64_t rows) const {
    TileJob<T> j;
    j.rows = rows;
    j.run_length = in_channels;
    j.input_bytes = rows * in_channels * int64_t{sizeof(T)};
    j.b = layout;
    j.b.data = static_cast<const float*>(packed);
    j.out_stride = out_pitch;
    set_stretch(j, rows, in_pitch);
    return j;
  }
  size_t slot_bytes() const { return std::max(tile_slot_scratch_bytes(job(nullptr, pass_tiles)), held_bytes()); }
};

// A tile's image and first output pixel, from tile to tile without divisions.
template <class T>
class TilePosition {
 public:
  TilePosition(const Plan<T>& p, int64_t tile)
      : image(tile / p.tiles_x / p.tiles_y),
        y(tile / p.tiles_x % p.tiles_y * p.y.outputs),
        x(tile % p.tiles_x * p.x.outputs),
        p_(p) {}
  void next() {
    if ((x += p_.x.outputs) < p_.s.ow) return;
    x = 0;
    if ((y += p_.y.outputs) < p_.s.oh) return;
    y = 0;
    ++image;
  }

  int64_t image, y, x;

 private:
  const Plan<T>& p_;
};

template <class T>
struct Operands {
  const T* in;
  const std::byte* packed;
  T* out;
  const Epilogue<T>& epilogue;
  const T* zeros;
};

// The image that tap `tap` of a result's depth reads; -1 where it lies outside the volume.
int64_t input_image(const DepthAxis& depth, int64_t result, int64_t tap) {
  const int64_t z = result % depth.out * depth.stride + tap * depth.dilation - depth.pad_before;
  return z < 0 || z >= depth.in ? -1 : result / depth.out * depth.in + z;
}

// pixels[i][j] = first + i * row + j * pixel for [height][width] of them.
template <class T>
void fill_pixels(T* first, int64_t row, int64_t pixel, int height, int width, T** pixels) {
  for (int i = 0; i < height; ++i, first += row) {
    for (int j = 0; j < width; ++j) *pixels++ = first + j * pixel;
  }
}

// What all tiles of a thread share is filled in once.
template <class T>
class InputTransform {
 public:
  InputTransform(const Plan<T>& p, const Operands<T>& o)
      : p_(p), o_(o), kernel_(winograd_kernels<T>().input[p.dims()][p.axis_points()]) {
    args_.channels = p.s.c;
    args_.out_stride = p.in_stride();
  }

  void run(const TilePosition<T>& at, T* to) {
    const Conv2DShape& s = p_.s;
    for (int64_t tap = 0; tap < s.depth.taps; ++tap, to += s.c) {
      const int64_t image = input_image(s.depth, at.image, tap);
      if (image >= 0) {
        transform(o_.in + image * s.h * s.w * s.input_pitch(), at.y - s.pad_top, at.x - s.pad_left, to);
        continue;
      }
      for (int point = 0; point < p_.points; ++point) std::fill_n(to + point * p_.in_stride(), s.c, T(0.0f));
    }
  }

 private:
  // The tile whose first input pixel is (y0, x0), which may lie outside.
  void transform(const T* image, int64_t y0, int64_t x0, T* to) {
    const Conv2DShape& s = p_.s;
    const int height = p_.y.inputs, width = p_.x.inputs;
    if (y0 >= 0 && x0 >= 0 && y0 + height <= s.h && x0 + width <= s.w) {
      fill_pixels(image + (y0 * s.w + x0) * s.input_pitch(), s.w * s.input_pitch(), s.input_pitch(), height, width,
                  args_.pixels);
    } else {
      for (int i = 0; i < height * width; ++i) {
        const int64_t y = y0 + i / width, x = x0 + i % width;
        const bool inside = y >= 0 && y < s.h && x >= 0 && x < s.w;
        args_.pixels[i] = inside ? image + (y * s.w + x) * s.input_pitch() : o_.zeros;
      }
    }
    args_.out = to;
    kernel_(args_);
  }

  const Plan<T>& p_;
  const Operands<T>& o_;
  void (*kernel_)(const WinogradInputArgs<T>&);
  WinogradInputArgs<T> args_;
};

template <class T>
class OutputTransform {
 public:
  // `held`: Plan::held_bytes().
  OutputTransform(const Plan<T>& p, const Operands<T>& o, float* held)
      : p_(p), o_(o), held_(held), kernel_(winograd_kernels<T>().output[p.dims()][p.axis_points()][p.axis_outputs()]) {
    const Epilogue<T>& e = o.epilogue;
    args_.wide_out = kNarrow && e.generic != nullptr ? held : nullptr;
    args_.in_stride = p.out_stride();
    args_.channels = p.s.oc;
    args_.residual_channels = std::min(e.residual_channels, p.s.oc);
    args_.bias = e.bias;
    args_.slope = e.slope;
    args_.scale = e.scale;
    args_.shift = e.shift;
    args_.lo = e.clamp_lo;
    args_.hi = e.clamp_hi;
    args_.gate = e.gate;
    args_.residual_last = e.residual_last;
    std::fill(std::begin(args_.residual), std::end(args_.residual), nullptr);
  }

  void run(const float* from, const TilePosition<T>& at) {
    const Conv2DShape& s = p_.s;
    const Epilogue<T>& e = o_.epilogue;
    const int64_t first = (at.image * s.oh + at.y) * s.ow + at.x;
    const int height = p_.y.outputs, width = p_.x.outputs;
    fill_pixels(o_.out + first * s.output_pitch(), s.ow * s.output_pitch(), s.output_pitch(), height, width, args_.out);
    if (e.residual != nullptr) {
      fill_pixels(e.residual + first * e.residual_row_stride, s.ow * e.residual_row_stride, e.residual_row_stride,
                  height, width, args_.residual);
    }
    const int64_t rows = std::min<int64_t>(height, s.oh - at.y), columns = std::min<int64_t>(width, s.ow - at.x);
    if (rows < height || columns < width) leave_out(rows, columns);
    args_.in = from;
    kernel_(args_);
    if (e.generic == nullptr) return;
    for (int64_t i = 0; i < rows; ++i) finish_row(i, first + i * s.ow, columns);
  }

 private:
  static constexpr bool kNarrow = sizeof(T) < sizeof(float);

  // Pixels outside the image.
  void leave_out(int64_t rows, int64_t columns) {
    for (int i = 0; i < p_.y.outputs * p_.x.outputs; ++i) {
      if (i / p_.x.outputs < rows && i % p_.x.outputs < columns) continue;
      args_.out[i] = nullptr;
      args_.residual[i] = nullptr;
    }
  }

  // The rest of the epilogue for row `i` of the tile.
  void finish_row(int64_t i, int64_t first_pixel, int64_t pixels) {
    const Epilogue<T>& e = o_.epilogue;
    const int64_t channels = p_.s.oc;
    T* const* to = args_.out + i * p_.x.outputs;
    if constexpr (kNarrow) {
      float* row = held_ + i * p_.x.outputs * channels;
      e.generic(e.context, {row, channels, first_pixel, 1, pixels, 0, channels});
      for (int64_t j = 0; j < pixels; ++j) narrow(row + j * channels, to[j], channels);
    } else {
      e.generic(e.context, {to[0], p_.s.output_pitch(), first_pixel, 1, pixels, 0, channels});
    }
  }

  const Plan<T>& p_;
  const Operands<T>& o_;
  float* held_;
  void (*kernel_)(const WinogradOutputArgs<T>&);
  WinogradOutputArgs<T> args_;
};

// Tiles [first, first + count) to `v` and from `products`, which begin with the first of them.
template <class T>
void transform_inputs(const Plan<T>& p, const Operands<T>& o, int64_t first, int64_t count, T* v) {
  InputTransform<T> transform(p, o);
  TilePosition<T> at(p, first);
  for (int64_t i = 0; i < count; ++i, at.next(), v += p.in_pitch) transform.run(at, v);
}
template <class T>
void transform_outputs(const Plan<T>& p, const Operands<T>& o, int64_t first, int64_t count, const float* products,
                       float* held) {
  OutputTransform<T> transform(p, o, held);
  TilePosition<T> at(p, first);
  for (int64_t i = 0; i < count; ++i, at.next(), products += p.out_pitch) transform.run(products, at);
}

template <class T>
void multiply_point(const Plan<T>& p, const Operands<T>& o, int point, int64_t rows, const T* v, float* products,
                    std::byte* scratch) {
  TileJob<T> job = p.job(o.packed + point * p.point_bytes, rows);
  const Epilogue<T> none;
  job.epilogue = &none;
  job.prefetch_after = point + 1 < p.points;  // points lie one after the other
  job.panels_warm = point > 0;
  job.set_out(products + point * p.out_stride());
  const T* from = v + point * p.in_stride();
  run_tile_range(
      job, {0, tile_count(job), 0, job.b.panels()},
      [&](int64_t first, int count, const T** pointers) {
        for (int i = 0; i < count; ++i) pointers[i] = from + (first + i) * p.in_pitch;
        return true;
      },
      scratch);
}

// Each thread takes its own chunks of tiles all the way.
template <class T>
void run_chunks(const Plan<T>& p, const Operands<T>& o, ThreadPool& pool, std::byte* scratch) {
  const size_t slot_bytes = p.in_bytes() + p.out_bytes() + p.slot_bytes();
  const auto chunks = static_cast<int>(ceil_div(p.tiles, p.pass_tiles));
  pool.parallel_for(chunks, [&](int chunk, int slot) {
    std::byte* mine = scratch + slot * slot_bytes;
    auto* v = reinterpret_cast<T*>(mine);
    auto* products = reinterpret_cast<float*>(mine + p.in_bytes());
    const int64_t first = chunk * p.tiles / chunks;
    const int64_t count = (chunk + 1) * p.tiles / chunks - first;
    transform_inputs(p, o, first, count, v);
    std::byte* rest = mine + p.in_bytes() + p.out_bytes();
    for (int x = 0; x < p.points; ++x) multiply_point(p, o, x, count, v, products, rest);
    transform_outputs(p, o, first, count, products, reinterpret_cast<float*>(rest));
  });
}

// All threads transform, then multiply point by point, then transform back.
template <class T>
void run_shared(const Plan<T>& p, const Operands<T>& o, ThreadPool& pool, std::byte* scratch) {
  auto* v = reinterpret_cast<T*>(scratch);
  auto* products = reinterpret_cast<float*>(scratch + p.in_bytes());
  std::byte* slots = scratch + p.in_bytes() + p.out_bytes();
  for (int64_t first = 0; first < p.tiles; first += p.pass_tiles) {
    const int64_t count = std::min(p.pass_tiles, p.tiles - first);
    const auto tasks = static_cast<int>(std::min<int64_t>(count, int64_t{pool.num_threads()} * 2));
    pool.parallel_for(tasks, [&](int task, int) {
      const int64_t begin = task * count / tasks, end = (task + 1) * count / tasks;
      transform_inputs(p, o, first + begin, end - begin, v + begin * p.in_pitch);
    });
    pool.parallel_for(
        p.points, [&](int x, int slot) { multiply_point(p, o, x, count, v, products, slots + slot * p.slot_bytes()); });
    pool.parallel_for(tasks, [&](int task, int slot) {
      const int64_t begin = task * count / tasks, end = (task + 1) * count / tasks;
      transform_outputs(p, o, first + begin, end - begin, products + begin * p.out_pitch,
                        reinterpret_cast<float*>(slots + slot * p.slot_bytes()));
    });
  }
}

template <class T>
constexpr bool kRoundsPoints = sizeof(T) < sizeof(float);

// G g G^T at one point; g: the taps of one pair of channels, with a stride.
template <class T>
double transformed_weight(const Plan<T>& p, const T* g, int64_t stride, int point) {
  const auto kh = static_cast<int>(p.s.kh), kw = static_cast<int>(p.s.kw);
  const int y = point / p.x.inputs, x = point % p.x.inputs;
  double sum = 0;
  for (int i = 0; i < kh; ++i) {
    for (int j = 0; j < kw; ++j) {
      const double factor = winograd_weight_factor(p.y.inputs, kh, y, i, kRoundsPoints<T>) *
                            winograd_weight_factor(p.x.inputs, kw, x, j, kRoundsPoints<T>);
      sum += factor * double{static_cast<float>(g[(i * kw + j) * stride])};
    }
  }
  return sum;
}

}  // namespace

// Root mean squares of the errors that roundings to bfloat16 make, of the results (simulated, 64 to 192 channels; that
// of a result is 1.7e-3): 1.9e-3 F(2, 3), 3.9e-3 F(2x2, 3x3); coarse: 5.6e-3 F(4, 3) and F(2, 5), 1.0e-2 F(4x4, 3x3),
// 1.1e-2 F(2, 7), 1.3e-2 F(2x2, 5x5); never: 8.6e-3 F(4, 5), which F(2, 5) nearly equals in time, 2.4e-2 F(4, 7).
template <class T>
WinogradRounding winograd_rounding(const Conv2DShape& s, ConvAlgorithm algorithm) {
  if (!kRoundsPoints<T>) return WinogradRounding::kFine;
  const bool four = algorithm == ConvAlgorithm::kWinograd4, three_taps = std::max(s.kh, s.kw) == 3;
  if (four) return three_taps ? WinogradRounding::kCoarse : WinogradRounding::kNever;
  return three_taps ? WinogradRounding::kFine : WinogradRounding::kCoarse;
}
template WinogradRounding winograd_rounding<float>(const Conv2DShape&, ConvAlgorithm);
template WinogradRounding winograd_rounding<BFloat16>(const Conv2DShape&, ConvAlgorithm);

template <class T>
size_t packed_winograd_bytes(const Conv2DShape& s, ConvAlgorithm algorithm) {
  const Plan<T> p(s, algorithm, 1);
  return p.point_bytes * static_cast<size_t>(p.points);
}

template <class T>
void pack_winograd_weights(const Conv2DShape& s, ConvAlgorithm algorithm, const T* weights, void* to) {
  const Plan<T> p(s, algorithm, 1);
  const int64_t pairs = s.c * s.oc;  // of channels
  std::vector<T> point(static_cast<size_t>(p.in_channels * s.oc));
  for (int x = 0; x < p.points; ++x) {
    for (int64_t i = 0; i < p.in_channels * s.oc; ++i) {
      const T* first = weights + i / pairs * s.kh * s.kw * pairs + i % pairs;
      point[static_cast<size_t>(i)] = T(static_cast<float>(transformed_weight(p, first, pairs, x)));
    }
    pack_runs(point.data(), 1, p.in_channels, s.oc, s.oc, 1, static_cast<std::byte*>(to) + x * p.point_bytes,
              s.blocking.vectors);
  }
}

int64_t winograd_tiles(const Conv2DShape& s, ConvAlgorithm algorithm) { return Plan<float>(s, algorithm, 1).tiles; }

template <class T>
int64_t winograd_pass_tiles(const Conv2DShape& s, ConvAlgorithm algorithm, int threads) {
  return Plan<T>(s, algorithm, threads).pass_tiles;
}

template <class T>
size_t winograd_scratch_bytes(const Conv2DShape& s, ConvAlgorithm algorithm, int threads) {
  if (s.output_pixels() <= 0 || s.oc <= 0) return 0;
  const Plan<T> p(s, algorithm, threads);
  const auto count = static_cast<size_t>(threads);
  const size_t tiles = p.in_bytes() + p.out_bytes();
  return p.zero_bytes() + count * p.slot_bytes() + (p.shared ? 1 : count) * tiles;
}

template <class T>
void winograd_conv2d(const Conv2DShape& s, ConvAlgorithm algorithm, const T* in, const void* packed, T* out,
                     const Epilogue<T>& epilogue, ThreadPool& pool, std::byte* scratch) {
  if (s.output_pixels() <= 0 || s.oc <= 0) return;
  const Plan<T> p(s, algorithm, pool.num_threads());
  auto* zeros = reinterpret_cast<T*>(scratch);
  std::memset(static_cast<void*>(zeros), 0, p.zero_bytes());
  const Operands<T> operands{in, static_cast<const std::byte*>(packed), out, epilogue, zeros};
  (p.shared ? run_shared<T> : run_chunks<T>)(p, operands, pool, scratch + p.zero_bytes());
}

#define BLADE_INSTANTIATE(T)                                                                                         \
  template size_t packed_winograd_bytes<T>(const Conv2DShape&, ConvAlgorithm);                                       \
  template void pack_winograd_weights<T>(const Conv2DShape&, ConvAlgorithm, const T*, void*);                        \
  template int64_t winograd_pass_tiles<T>(const Conv2DShape&, ConvAlgorithm, int);                                   \
  template size_t winograd_scratch_bytes<T>(const Conv2DShape&, ConvAlgorithm, int);                                 \
  template void winograd_conv2d<T>(const Conv2DShape&, ConvAlgorithm, const T*, const void*, T*, const Epilogue<T>&, \
                                   ThreadPool&, std::byte*);
BLADE_INSTANTIATE(float)
BLADE_INSTANTIATE(BFloat16)
#undef BLADE_INSTANTIATE

}  // namespace blade::backends::cpu
