// What one launch that walks many layers gains over one launch a layer: the third stage of ResNet-50 at batch 1 (six
// blocks of 1x1, 3x3 and 1x1 convolutions) with one tile, as a recording of launches that begin early, and as a launch
// whose blocks meet at a barrier of the whole card between layers. Both fetch a layer's weights before they wait.
//
//   gpu_persistent            prints microseconds a layer, or why it did not run
#define BLADE_CONV_GROUPS
#include <cuda.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "backends/cuda/kernels/conv_kernel.cuh"

namespace blade::backends::cuda {
namespace {

using Tile = ConvTile<__half, 64, 32, 1, 1, 1, true>;
constexpr int kCluster = 4, kBlocks = 128, kSize = 14, kPixels = kSize * kSize, kRuns = 200, kRounds = 5;
// All blocks of the one launch must stand beside each other, two on an SM; a launch a layer may take a whole SM.
constexpr int kStages = 6, kMostStages = 12;

constexpr int shared_bytes(int stages) { return stages * Tile::kStageBytes + Tile::kRows * Tile::kColumns * 4; }

struct Layer {
  PixelMaps maps;
  ConvParams params;
};

void check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  std::printf("%s: %s\n", what, cudaGetErrorString(error));
  std::exit(1);
}

__global__ void __launch_bounds__(Tile::kThreads) one_layer(const __grid_constant__ Layer layer) {
  conv_body<Tile>(layer.params, layer.maps);
}

#ifdef __CUDA_ARCH_FEAT_SM90_ALL
// Blocks of layers before this one that are done.
struct WaitForBlocks {
  const unsigned* done;
  unsigned expected;
  __device__ __forceinline__ void operator()() const {
    if (threadIdx.x == 0) {
      unsigned seen;
      do {
        asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(seen) : "l"(done) : "memory");
      } while (seen < expected);
      // What others wrote is read by the tensor copy engine.
      asm volatile("fence.proxy.async;" ::: "memory");
    }
    __syncthreads();
  }
};
#endif

__global__ void __launch_bounds__(Tile::kThreads) all_layers(const Layer* layers, int count, unsigned* done) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  __shared__ ConvParams params;
  for (int i = 0; i < count; ++i) {
    const auto* from = reinterpret_cast<const uint32_t*>(&layers[i].params);
    for (int word = static_cast<int>(threadIdx.x); word < static_cast<int>(sizeof(ConvParams) / 4);
         word += Tile::kThreads) {
      reinterpret_cast<uint32_t*>(&params)[word] = from[word];
    }
    fence_for_copies();  // chunks come to where sums have been
    __syncthreads();
    conv_body<Tile>(params, layers[i].maps, WaitForBlocks{done, static_cast<unsigned>(i) * gridDim.x});
    asm volatile("fence.proxy.async;" ::: "memory");
    __syncthreads();
    if (threadIdx.x == 0) asm volatile("red.release.gpu.global.add.u32 [%0], 1;" ::"l"(done) : "memory");
  }
#endif
}

TensorMap pixel_map(const ConvParams& p) {
  void* address = nullptr;
  cudaDriverEntryPointQueryResult found{};
  check(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeIm2col", &address, 12000, cudaEnableDefault, &found),
        "no tensor maps");
  const auto encode = reinterpret_cast<decltype(&cuTensorMapEncodeIm2col)>(address);
  const auto c = static_cast<cuuint64_t>(p.in_channels);
  const cuuint64_t dims[] = {c, static_cast<cuuint64_t>(p.width), static_cast<cuuint64_t>(p.height), 1};
  const cuuint64_t strides[] = {c * 2, dims[1] * c * 2, dims[2] * dims[1] * c * 2};
  const int lower[] = {-p.pad_left, -p.pad_top}, upper[] = {-p.pad_left, -p.pad_top};
  const cuuint32_t steps[] = {1, 1, 1, 1};
  TensorMap map;
  if (encode(reinterpret_cast<CUtensorMap*>(&map), CU_TENSOR_MAP_DATA_TYPE_FLOAT16, 4, const_cast<void*>(p.x), dims,
             strides, lower, upper, 64, Tile::kRows, steps, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
             CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) != CUDA_SUCCESS) {
    std::printf("the driver refused a tensor map\n");
    std::exit(1);
  }
  return map;
}

void* filled(size_t halves) {
  std::vector<__half> values(halves);
  for (__half& value : values) value = __float2half(static_cast<float>(std::rand() % 2001 - 1000) * 4e-5f);
  void* data = nullptr;
  check(cudaMalloc(&data, halves * 2), "no memory");
  check(cudaMemcpy(data, values.data(), halves * 2, cudaMemcpyHostToDevice), "copy");
  return data;
}

Layer make_layer(const void* x, void* y, int in, int out, int kernel) {
  Layer layer;
  ConvParams& p = layer.params;
  p.x = x;
  p.y = y;
  p.weights = filled(static_cast<size_t>(kernel * kernel * in) * static_cast<size_t>(out));
  p.rows = kPixels;
  p.channels = p.channels_padded = out;
  p.height = p.width = kSize;
  p.in_channels = in;
  p.pieces_per_tap = in / 8;
  p.kernel_h = p.kernel_w = kernel;
  p.pad_top = p.pad_left = kernel / 2;
  p.out_width = FastDivisor(kSize);
  p.out_pixels = FastDivisor(kPixels);
  p.taps_w = FastDivisor(kernel);
  p.tap_pieces = FastDivisor(in / 8);
  p.column_tiles = FastDivisor(out / Tile::kColumns);
  p.chunks = p.own_chunks = kernel * kernel * in / 64;
  p.split_log2 = out == 1024 ? 0 : 2;
  p.stages = std::min(p.chunks >> p.split_log2, kStages);
  p.epilogue.has_clamp = true;
  p.epilogue.lo = -8;
  p.epilogue.hi = 8;
  layer.maps.image = pixel_map(p);
  return layer;
}

// Medians of microseconds of each form, by turns.
template <class First, class Second>
void race(cudaStream_t stream, const First& first, const Second& second, float (&us)[2]) {
  cudaEvent_t begin, end;
  cudaEventCreate(&begin);
  cudaEventCreate(&end);
  std::vector<float> times[2];
  for (int round = 0; round < kRounds; ++round) {
    for (int form = 0; form < 2; ++form) {
      for (int run = 0; run < kRuns; ++run) {
        cudaEventRecord(begin, stream);
        form == 0 ? first() : second();
        cudaEventRecord(end, stream);
        check(cudaEventSynchronize(end), "run");
        float ms = 0;
        cudaEventElapsedTime(&ms, begin, end);
        times[form].push_back(ms * 1e3f);
      }
    }
  }
  for (int form = 0; form < 2; ++form) {
    std::sort(times[form].begin(), times[form].end());
    us[form] = times[form][times[form].size() / 2];
  }
}

std::vector<__half> copied(const void* from, size_t halves) {
  std::vector<__half> values(halves);
  check(cudaMemcpy(values.data(), from, halves * 2, cudaMemcpyDeviceToHost), "copy");
  return values;
}

int run() {
  cudaDeviceProp card{};
  if (cudaGetDeviceProperties(&card, 0) != cudaSuccess || card.major != 9) {
    std::printf("skipped: needs a card of compute capability 9.0\n");
    return 0;
  }
  void *wide[2] = {filled(kPixels * 1024), filled(kPixels * 1024)},
       *narrow[2] = {filled(kPixels * 256), filled(kPixels * 256)};
  std::vector<Layer> layers;
  for (int block = 0; block < 6; ++block) {
    layers.push_back(make_layer(wide[block % 2], narrow[0], 1024, 256, 1));
    layers.push_back(make_layer(narrow[0], narrow[1], 256, 256, 3));
    layers.push_back(make_layer(narrow[1], wide[1 - block % 2], 256, 1024, 1));
  }
  const int count = static_cast<int>(layers.size());
  std::vector<Layer> deep = layers;
  for (Layer& layer : deep) {
    layer.params.stages = std::min(layer.params.chunks >> layer.params.split_log2, kMostStages);
  }
  for (const void* kernel : {reinterpret_cast<const void*>(&one_layer), reinterpret_cast<const void*>(&all_layers)}) {
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes(kMostStages)),
          "shared memory");
  }
  cudaStream_t stream;
  check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "stream");
  cudaLaunchAttribute attributes[2];
  attributes[0].id = cudaLaunchAttributeClusterDimension;
  attributes[0].val.clusterDim.x = kCluster;
  attributes[0].val.clusterDim.y = attributes[0].val.clusterDim.z = 1;
  attributes[1].id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attributes[1].val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = kBlocks;
  config.blockDim = Tile::kThreads;
  config.stream = stream;
  config.attrs = attributes;

  const auto record = [&](auto&& launch) {
    cudaGraph_t graph;
    cudaGraphExec_t executable;
    check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "capture");
    launch();
    check(cudaStreamEndCapture(stream, &graph), "capture");
    check(cudaGraphInstantiate(&executable, graph, 0), "graph");
    return executable;
  };
  config.numAttrs = 2;
  const auto launches_of = [&](const std::vector<Layer>& all, int stages) {
    config.dynamicSmemBytes = static_cast<size_t>(shared_bytes(stages));
    return record([&] {
      for (const Layer& layer : all) check(cudaLaunchKernelEx(&config, one_layer, layer), "launch");
    });
  };
  const cudaGraphExec_t deep_launches = launches_of(deep, kMostStages), launches = launches_of(layers, kStages);
  Layer* on_card = nullptr;
  unsigned* done = nullptr;
  check(cudaMalloc(&on_card, layers.size() * sizeof(Layer)), "no memory");
  check(cudaMemcpy(on_card, layers.data(), layers.size() * sizeof(Layer), cudaMemcpyHostToDevice), "copy");
  check(cudaMalloc(&done, sizeof(unsigned)), "no memory");
  config.numAttrs = 1;
  const cudaGraphExec_t persistent = record([&] {
    check(cudaMemsetAsync(done, 0, sizeof(unsigned), stream), "clear");
    check(cudaLaunchKernelEx(&config, all_layers, static_cast<const Layer*>(on_card), count, done), "launch");
  });
  const cudaGraphExec_t nothing = record([&] { check(cudaMemsetAsync(done, 0, sizeof(unsigned), stream), "clear"); });
  const std::vector<__half> input = copied(wide[0], kPixels * 1024);  // which the last layer overwrites
  const auto answer = [&](cudaGraphExec_t form) {
    check(cudaMemcpy(wide[0], input.data(), input.size() * 2, cudaMemcpyHostToDevice), "copy");
    check(cudaGraphLaunch(form, stream), "run");
    check(cudaStreamSynchronize(stream), "run");
    return copied(wide[0], input.size());
  };
  const std::vector<__half> want = answer(launches), got = answer(persistent);
  if (!std::equal(want.begin(), want.end(), got.begin(),
                  [](__half a, __half b) { return __half2float(a) == __half2float(b); })) {
    std::printf("the two forms differ\n");
    return 1;
  }
  float us[2], deep_us[2], clear_us[2];
  race(
      stream, [&] { cudaGraphLaunch(launches, stream); }, [&] { cudaGraphLaunch(persistent, stream); }, us);
  race(
      stream, [&] { cudaGraphLaunch(deep_launches, stream); }, [&] { cudaGraphLaunch(persistent, stream); }, deep_us);
  race(
      stream, [&] { cudaGraphLaunch(nothing, stream); }, [&] { cudaGraphLaunch(nothing, stream); }, clear_us);
  const auto each = [&](float time) { return time / static_cast<float>(count); };
  std::printf("%d layers, us (a layer): launches %.1f (%.2f), with a whole SM each %.1f (%.2f)\n", count, us[0],
              each(us[0]), deep_us[0], each(deep_us[0]));
  std::printf("one launch %.1f (%.2f), of which %.1f clear its counter\n", us[1], each(us[1]), clear_us[0]);
  return 0;
}

}  // namespace
}  // namespace blade::backends::cuda

int main() { return blade::backends::cuda::run(); }
