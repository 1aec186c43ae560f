// Every layer shape of ResNet-50 as GFLOP/s and as a share of the FMA peak measured in the same run, on two threads (or
// --threads=N; one thread is timed by its CPU clock, which other processes disturb less).
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <type_traits>
#include <vector>

#include "backends/cpu/matrix/conv2d.h"
#include "backends/cpu/matrix/depthwise.h"
#include "backends/cpu/matrix/tile_kernel.h"
#include "backends/cpu/matrix/winograd.h"
#include "base/aligned_buffer.h"

namespace blade::backends::cpu {

int num_threads = 2;

namespace {

ThreadPool& pool() {
  static ThreadPool instance(num_threads);
  return instance;
}

AlignedBuffer filled(size_t floats) {
  AlignedBuffer buffer = AlignedBuffer::allocate(floats * sizeof(float) + 64);
  for (size_t i = 0; i < floats; ++i) buffer.as<float>()[i] = static_cast<float>(i % 17) * 0.01f;
  return buffer;
}

void report(benchmark::State& state, double flops) {
  state.counters["GFLOP/s"] =
      benchmark::Counter(flops * 1e-9, benchmark::Counter::kIsIterationInvariantRate, benchmark::Counter::kIs1000);
}

// A tile whose operands never leave L1: what the micro-kernel can do at best.
template <class T>
void peak(benchmark::State& state) {
  const TileKernels<T>& kernels = tile_kernels<T>();
  constexpr int64_t kLength = 128 * kStepDepth<T>;
  const int rows = kernels.max_rows[2];
  const AlignedBuffer a = filled(static_cast<size_t>(rows * kLength));
  const AlignedBuffer b = filled(static_cast<size_t>(2 * kernels.lanes * kLength));
  ThreadPool::RunScope run(pool());
  for (auto _ : state) {
    pool().parallel_for(num_threads, [&](int, int) {
      alignas(64) T out[kMaxRows * 2 * 16];
      const T* pointers[kMaxRows];
      for (int i = 0; i < rows; ++i) pointers[i] = a.as<T>() + i * kLength;
      TileArgs<T> args;
      args.rows = pointers;
      args.run_length = kLength;
      args.panel = b.as<float>();
      args.columns = 2 * kernels.lanes;
      args.out = out;
      args.out_stride = args.columns;
      for (int i = 0; i < 1000; ++i) kernels.kernel[2][rows](args);
      benchmark::DoNotOptimize(out[0]);
    });
  }
  report(state, 2.0 * num_threads * 1000 * kLength * rows * 2 * kernels.lanes);
}

// Inception-V3's kernels of 5x5 and of one dim (and smaller ones of their kind): size, kernel, channels.
constexpr int64_t kInceptionLayers[][5] = {
    {35, 5, 5, 48, 64},   {17, 1, 7, 128, 128}, {17, 7, 1, 128, 192}, {17, 1, 7, 160, 160},
    {17, 7, 1, 192, 192}, {8, 1, 3, 384, 384},  {8, 3, 1, 384, 384},  {28, 5, 5, 16, 32},
    {56, 3, 1, 64, 64},   {28, 1, 5, 32, 32},   {17, 1, 7, 16, 16},
};

// The levels of a U-Net whose images exceed L2: size, channels of input and output.
constexpr int64_t kUNetLayers[][3] = {{256, 32, 32}, {256, 64, 32}, {128, 32, 64}, {128, 64, 64}, {128, 128, 64}};

Conv2DShape same_conv(int64_t n, int64_t size, int64_t c, int64_t k, int64_t oc, int64_t stride) {
  Conv2DShape s;
  s.n = n;
  s.h = s.w = size;
  s.c = c;
  s.kh = s.kw = k;
  s.oc = oc;
  s.stride_h = s.stride_w = stride;
  s.pad_top = s.pad_left = (k - 1) / 2;
  s.oh = s.ow = (size + stride - 1) / stride;
  return s;
}

template <class T>
void conv(benchmark::State& state, const Conv2DShape& s, bool residual, ConvAlgorithm algorithm) {
  const bool direct = algorithm == ConvAlgorithm::kDirect;
  const AlignedBuffer in = filled(static_cast<size_t>(s.n * s.h * s.w * s.c));
  const AlignedBuffer weights = filled(static_cast<size_t>(s.kh * s.kw * s.c * s.oc));
  const AlignedBuffer bias = filled(static_cast<size_t>(s.oc));
  AlignedBuffer out = filled(static_cast<size_t>(s.output_pixels() * s.oc));
  const AlignedBuffer shortcut = filled(static_cast<size_t>(residual ? s.output_pixels() * s.oc : 0));
  AlignedBuffer packed =
      AlignedBuffer::allocate(direct ? packed_conv_bytes<T>(s) : packed_winograd_bytes<T>(s, algorithm));
  AlignedBuffer scratch = AlignedBuffer::allocate(direct ? conv2d_scratch_bytes<T>(s, num_threads)
                                                         : winograd_scratch_bytes<T>(s, algorithm, num_threads));
  if (direct) {
    pack_conv_weights(s, weights.as<T>(), packed.data());
  } else {
    pack_winograd_weights(s, algorithm, weights.as<T>(), packed.data());
  }
  Epilogue<T> epilogue;
  epilogue.bias = bias.as<float>();
  epilogue.clamp_lo = 0;
  if (residual) {
    epilogue.residual = shortcut.as<T>();
    epilogue.residual_row_stride = s.oc;
  }
  ThreadPool::RunScope run(pool());
  for (auto _ : state) {
    if (direct) {
      conv2d(s, in.as<T>(), packed.data(), out.as<T>(), epilogue, pool(), scratch.data());
    } else {
      winograd_conv2d(s, algorithm, in.as<T>(), packed.data(), out.as<T>(), epilogue, pool(), scratch.data());
    }
  }
  report(state, s.flops());
}

void depthwise(benchmark::State& state, int64_t size, int64_t c, int64_t k, int64_t stride) {
  DepthwiseShape s;
  s.h = s.w = size;
  s.c = c;
  s.kh = s.kw = k;
  s.stride_h = s.stride_w = stride;
  s.pad_top = s.pad_left = k / 2;
  s.oh = s.ow = (size + stride - 1) / stride;
  const AlignedBuffer in = filled(static_cast<size_t>(s.h * s.w * c));
  const AlignedBuffer weights = filled(static_cast<size_t>(k * k * c));
  const AlignedBuffer bias = filled(static_cast<size_t>(c));
  AlignedBuffer out = filled(static_cast<size_t>(s.oh * s.ow * c));
  AlignedBuffer scratch = AlignedBuffer::allocate(depthwise_scratch_bytes<float>(s, num_threads));
  EpilogueF32 epilogue;
  epilogue.bias = bias.as<float>();
  epilogue.clamp_lo = 0;
  epilogue.clamp_hi = 6;
  ThreadPool::RunScope run(pool());
  for (auto _ : state) {
    depthwise_conv2d(s, in.as<float>(), weights.as<float>(), out.as<float>(), epilogue, pool(), scratch.data());
  }
  report(state, 2.0 * static_cast<double>(s.oh * s.ow * c * k * k));
}

struct Layer {
  const char* name;
  int64_t size, c, k, oc, stride;
  bool residual;
  int count;
};

constexpr Layer kLayers[] = {
    {"stem", 224, 3, 7, 64, 2, false, 1},         {"s1.reduce0", 56, 64, 1, 64, 1, false, 1},
    {"s1.conv3", 56, 64, 3, 64, 1, false, 3},     {"s1.expand", 56, 64, 1, 256, 1, true, 4},
    {"s1.reduce", 56, 256, 1, 64, 1, false, 2},   {"s2.reduce0", 56, 256, 1, 128, 1, false, 1},
    {"s2.conv3s2", 56, 128, 3, 128, 2, false, 1}, {"s2.shortcut", 56, 256, 1, 512, 2, false, 1},
    {"s2.conv3", 28, 128, 3, 128, 1, false, 3},   {"s2.expand", 28, 128, 1, 512, 1, true, 4},
    {"s2.reduce", 28, 512, 1, 128, 1, false, 3},  {"s3.reduce0", 28, 512, 1, 256, 1, false, 1},
    {"s3.conv3s2", 28, 256, 3, 256, 2, false, 1}, {"s3.shortcut", 28, 512, 1, 1024, 2, false, 1},
    {"s3.conv3", 14, 256, 3, 256, 1, false, 5},   {"s3.expand", 14, 256, 1, 1024, 1, true, 6},
    {"s3.reduce", 14, 1024, 1, 256, 1, false, 5}, {"s4.reduce0", 14, 1024, 1, 512, 1, false, 1},
    {"s4.conv3s2", 14, 512, 3, 512, 2, false, 1}, {"s4.shortcut", 14, 1024, 1, 2048, 2, false, 1},
    {"s4.conv3", 7, 512, 3, 512, 1, false, 2},    {"s4.expand", 7, 512, 1, 2048, 1, true, 3},
    {"s4.reduce", 7, 2048, 1, 512, 1, false, 2},  {"fc", 1, 2048, 1, 1000, 1, false, 1},
};

// All layers of the network one after the other, each with weights of its own, so that weights are as cold as they are
// in a real run; pooling is left out.
struct NetworkLayer {
  Conv2DShape shape;
  ConvAlgorithm algorithm;
  bool residual;
  AlignedBuffer packed;
};

std::vector<NetworkLayer> make_network(int64_t batch, bool winograd) {
  std::vector<NetworkLayer> network;
  auto append = [&](const char* name) {
    for (const Layer& layer : kLayers) {
      if (std::strcmp(layer.name, name) != 0) continue;
      NetworkLayer l;
      l.shape = same_conv(batch, layer.size, layer.c, layer.k, layer.oc, layer.stride);
      l.algorithm = winograd ? choose_conv_algorithm(l.shape, num_threads) : ConvAlgorithm::kDirect;
      l.residual = layer.residual;
      const bool direct = l.algorithm == ConvAlgorithm::kDirect;
      l.packed =
          filled((direct ? packed_conv_bytes<float>(l.shape) : packed_winograd_bytes<float>(l.shape, l.algorithm)) / 4);
      network.push_back(std::move(l));
    }
  };
  append("stem");
  const int blocks[] = {3, 4, 6, 3};
  for (int stage = 1; stage <= 4; ++stage) {
    const std::string prefix = "s" + std::to_string(stage) + ".";
    for (int block = 0; block < blocks[stage - 1]; ++block) {
      append((prefix + (block == 0 ? "reduce0" : "reduce")).c_str());
      append((prefix + (block == 0 && stage > 1 ? "conv3s2" : "conv3")).c_str());
      if (block == 0) append((prefix + (stage == 1 ? "expand" : "shortcut")).c_str());
      append((prefix + "expand").c_str());
    }
  }
  append("fc");
  return network;
}

void network(benchmark::State& state, int64_t batch, bool winograd) {
  const std::vector<NetworkLayer> layers = make_network(batch, winograd);
  size_t scratch_bytes = 64;
  size_t floats = 0;
  double flops = 0;
  for (const NetworkLayer& l : layers) {
    scratch_bytes = std::max(scratch_bytes, l.algorithm == ConvAlgorithm::kDirect
                                                ? conv2d_scratch_bytes<float>(l.shape, num_threads)
                                                : winograd_scratch_bytes<float>(l.shape, l.algorithm, num_threads));
    floats = std::max(floats, static_cast<size_t>(l.shape.output_pixels() * l.shape.oc));
    flops += l.shape.flops();
  }
  AlignedBuffer scratch = AlignedBuffer::allocate(scratch_bytes);
  AlignedBuffer x = filled(floats);
  AlignedBuffer y = filled(floats);
  AlignedBuffer z = filled(floats);
  const AlignedBuffer bias = filled(2048);
  for (auto _ : state) {
    ThreadPool::RunScope run(pool());
    const float* from = x.as<float>();
    float* to = y.as<float>();
    for (const NetworkLayer& l : layers) {
      EpilogueF32 e;
      e.bias = bias.as<float>();
      e.clamp_lo = 0;
      e.clamp_hi = 1;
      float* out = l.residual ? z.as<float>() : to;
      if (l.residual) {
        e.residual = out;
        e.residual_row_stride = l.shape.oc;
      }
      if (l.algorithm == ConvAlgorithm::kDirect) {
        conv2d(l.shape, from, l.packed.data(), out, e, pool(), scratch.data());
      } else {
        winograd_conv2d(l.shape, l.algorithm, from, l.packed.data(), out, e, pool(), scratch.data());
      }
      from = out;
      to = out == x.as<float>() ? y.as<float>() : x.as<float>();
    }
  }
  report(state, flops);
}

template <class Function>
void add(const std::string& name, Function function) {
  auto* bench = benchmark::RegisterBenchmark(name.c_str(), function)->Unit(benchmark::kMicrosecond);
  if (num_threads > 1) bench->UseRealTime();
}

// A layer by every algorithm that takes it.
void add_conv(const std::string& name, const Conv2DShape& s, bool residual) {
  for (ConvAlgorithm algorithm : {ConvAlgorithm::kDirect, ConvAlgorithm::kWinograd2, ConvAlgorithm::kWinograd4}) {
    if (conv_algorithm_refusal(s, algorithm) != nullptr) continue;
    const bool chosen = choose_conv_algorithm(s, num_threads) == algorithm;
    add(name + "/" + conv_algorithm_name(algorithm) + (chosen ? "*" : ""),
        [=](benchmark::State& state) { conv<float>(state, s, residual, algorithm); });
  }
  if (tile_kernels<BFloat16>().lanes == 0) return;
  for (ConvAlgorithm algorithm : {ConvAlgorithm::kDirect, ConvAlgorithm::kWinograd2}) {
    if (conv_algorithm_refusal(s, algorithm) != nullptr) continue;
    if (algorithm != ConvAlgorithm::kDirect && (s.kh != 3 || s.kw != 3)) continue;
    add(name + "/" + conv_algorithm_name(algorithm) + "_bf16",
        [=](benchmark::State& state) { conv<BFloat16>(state, s, residual, algorithm); });
  }
}

void register_all() {
  add("peak", peak<float>);
  if (tile_kernels<BFloat16>().lanes != 0) add("peak_bf16", peak<BFloat16>);
  static const int64_t depthwise_layers[][4] = {{112, 32, 3, 1}, {112, 96, 3, 2}, {56, 144, 3, 1}, {28, 192, 3, 1},
                                                {14, 576, 3, 1}, {7, 960, 3, 1},  {28, 240, 5, 1}, {32, 24, 3, 1}};
  for (const auto& l : depthwise_layers) {
    std::string name = "depthwise/" + std::to_string(l[0]) + "x" + std::to_string(l[1]) + "_k" + std::to_string(l[2]) +
                       "_s" + std::to_string(l[3]);
    add(name, [&l = l](benchmark::State& state) { depthwise(state, l[0], l[1], l[2], l[3]); });
  }
  for (int64_t batch : {1, 8}) {
    for (bool winograd : {false, true}) {
      add("b" + std::to_string(batch) + "/network" + (winograd ? "" : "_direct"),
          [=](benchmark::State& state) { network(state, batch, winograd); });
    }
    for (const Layer& layer : kLayers) {
      add_conv("b" + std::to_string(batch) + "/" + layer.name + "_x" + std::to_string(layer.count),
               same_conv(batch, layer.size, layer.c, layer.k, layer.oc, layer.stride), layer.residual);
    }
    for (const auto& [size, c, oc] : kUNetLayers) {
      add_conv("b" + std::to_string(batch) + "/unet" + std::to_string(size) + "_c" + std::to_string(c) + "_oc" +
                   std::to_string(oc),
               same_conv(batch, size, c, 3, oc, 1), false);
    }
    for (const auto& [size, kh, kw, c, oc] : kInceptionLayers) {
      Conv2DShape s = same_conv(batch, size, c, kh, oc, 1);
      s.kw = kw;
      s.pad_left = (kw - 1) / 2;
      add_conv("b" + std::to_string(batch) + "/inception" + std::to_string(size) + "_" + std::to_string(kh) + "x" +
                   std::to_string(kw) + "_c" + std::to_string(c) + "_oc" + std::to_string(oc),
               s, false);
    }
  }
}

}  // namespace
}  // namespace blade::backends::cpu

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (argc > 1 && std::strncmp(argv[1], "--threads=", 10) == 0)
    blade::backends::cpu::num_threads = std::atoi(argv[1] + 10);
  blade::backends::cpu::register_all();
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
