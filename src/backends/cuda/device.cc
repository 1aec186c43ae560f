// The device interface over the CUDA runtime: memory, streams and graphs of the first usable card. The runtime is
// linked statically and finds the driver itself, so this library also loads where there is no driver.
#include "backends/device.h"

#include <mutex>
#include <vector>

#include "backends/cuda/compiled_kernels.h"
#include "backends/cuda/cuda_status.h"
#include "backends/cuda/kernel_families.h"
#include "backends/cuda/kernel_support.h"
#include "backends/cuda/module.h"
#include "backends/cuda/nvrtc.h"
#include "backends/cuda/pair_kernels.h"
#include "backends/cuda/small_work.h"

namespace blade::backends::cuda {
namespace {

class Recording final : public DeviceRecording {
 public:
  explicit Recording(cudaGraphExec_t graph) : graph_(graph) {}
  Recording(const Recording&) = delete;
  Recording& operator=(const Recording&) = delete;
  ~Recording() override { cudaGraphExecDestroy(graph_); }
  cudaGraphExec_t graph() const { return graph_; }

 private:
  cudaGraphExec_t graph_;
};

class Queue final : public DeviceQueue {
 public:
  Queue(cudaStream_t stream, bool owned) : stream_(stream), owned_(owned) {}
  Queue(const Queue&) = delete;
  Queue& operator=(const Queue&) = delete;
  ~Queue() override {
    if (owned_) cudaStreamSynchronize(stream_);
    for (cudaEvent_t event : marks_) cudaEventDestroy(event);
    if (owned_) cudaStreamDestroy(stream_);
  }
  void* handle() const override { return stream_; }

  Status copy_to_device(std::byte* to, const std::byte* from, size_t bytes) override {
    return copy(to, from, bytes, cudaMemcpyHostToDevice, "copy from host memory");
  }
  Status copy_to_host(std::byte* to, const std::byte* from, size_t bytes) override {
    return copy(to, from, bytes, cudaMemcpyDeviceToHost, "copy to host memory");
  }
  Status copy_on_device(std::byte* to, const std::byte* from, size_t bytes) override {
    return copy(to, from, bytes, cudaMemcpyDeviceToDevice, "copy its memory");
  }
  Status wait() override { return cuda_status(cudaStreamSynchronize(stream_), "finish its work"); }

  Status begin_recording() override {
    return cuda_status(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal), "begin a recording");
  }
  Result<std::unique_ptr<DeviceRecording>> end_recording() override {
    cudaGraph_t graph = nullptr;
    BLADE_CUDA(cudaStreamEndCapture(stream_, &graph), "end a recording");
    cudaGraphExec_t executable = nullptr;
    const cudaError_t made = cudaGraphInstantiate(&executable, graph, 0);
    cudaGraphDestroy(graph);
    BLADE_CUDA(made, "prepare a recording");
    cudaGraphUpload(executable, stream_);
    return std::unique_ptr<DeviceRecording>(std::make_unique<Recording>(executable));
  }
  Status play(const DeviceRecording& recording) override {
    return cuda_status(cudaGraphLaunch(static_cast<const Recording&>(recording).graph(), stream_), "start a recording");
  }

  Status mark(int number) override {
    while (marks_.size() <= static_cast<size_t>(number)) {
      cudaEvent_t event = nullptr;
      BLADE_CUDA(cudaEventCreate(&event), "make a time mark");
      marks_.push_back(event);
    }
    return cuda_status(cudaEventRecord(marks_[static_cast<size_t>(number)], stream_), "set a time mark");
  }
  Result<double> microseconds_between(int first, int second) override {
    float ms = 0;
    BLADE_CUDA(cudaEventElapsedTime(&ms, marks_[static_cast<size_t>(first)], marks_[static_cast<size_t>(second)]),
               "read its time marks");
    return static_cast<double>(ms) * 1e3;
  }

 private:
  Status copy(std::byte* to, const std::byte* from, size_t bytes, cudaMemcpyKind kind, const char* what) {
    if (bytes == 0) return {};
    return cuda_status(cudaMemcpyAsync(to, from, bytes, kind, stream_), what);
  }

  cudaStream_t stream_;
  bool owned_;
  std::vector<cudaEvent_t> marks_;
};

int& opened_card() {
  static int ordinal = 0;
  return ordinal;
}

void release_device(std::byte* data) { cudaFree(data); }
void release_pinned(std::byte* data) { cudaFreeHost(data); }

class CudaDevice final : public Device {
 public:
  explicit CudaDevice(DeviceInfo info) : info_(std::move(info)) {}
  const DeviceInfo& info() const override { return info_; }
  std::span<const KernelEntry> kernels() const override { return cuda_kernels(); }
  std::span<const KernelEntry> fused_kernels() const override { return cuda_fused_kernels(); }

  Result<DeviceBuffer> allocate(size_t bytes) override {
    if (bytes == 0) return DeviceBuffer();
    BLADE_RETURN_IF_ERROR(select_card());
    void* data = nullptr;
    BLADE_CUDA(cudaMalloc(&data, bytes), ("give " + std::to_string(bytes) + " bytes of its memory").c_str());
    return DeviceBuffer(static_cast<std::byte*>(data), bytes, release_device);
  }
  Result<DeviceBuffer> allocate_pinned(size_t bytes) override {
    if (bytes == 0) return DeviceBuffer();
    BLADE_RETURN_IF_ERROR(select_card());
    void* data = nullptr;
    BLADE_CUDA(cudaMallocHost(&data, bytes), ("pin " + std::to_string(bytes) + " bytes of host memory").c_str());
    return DeviceBuffer(static_cast<std::byte*>(data), bytes, release_pinned);
  }
  Result<DeviceBuffer> upload(const std::byte* from, size_t bytes) override {
    BLADE_ASSIGN_OR_RETURN(DeviceBuffer buffer, allocate(bytes));
    if (bytes == 0) return buffer;
    BLADE_CUDA(cudaMemcpy(buffer.data(), from, bytes, cudaMemcpyHostToDevice), "take a constant");
    // The call may return while the bytes are still on their way, and queues do not wait for it.
    BLADE_CUDA(cudaStreamSynchronize(cudaStreamLegacy), "take a constant");
    return buffer;
  }
  Result<std::unique_ptr<DeviceQueue>> create_queue() override {
    BLADE_RETURN_IF_ERROR(select_card());
    cudaStream_t stream = nullptr;
    BLADE_CUDA(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "make a stream");
    return std::unique_ptr<DeviceQueue>(std::make_unique<Queue>(stream, true));
  }
  Result<std::unique_ptr<DeviceQueue>> borrow_queue(void* stream) override {
    BLADE_RETURN_IF_ERROR(select_card());
    cudaStreamCaptureStatus capture = cudaStreamCaptureStatusNone;
    BLADE_CUDA(cudaStreamIsCapturing(static_cast<cudaStream_t>(stream), &capture), "look at a stream");
    if (capture != cudaStreamCaptureStatusNone) {
      return failed_precondition(
          "The stream is being captured into a CUDA graph, which takes none of the recordings that the engine starts: "
          "run outside of the capture.");
    }
    return std::unique_ptr<DeviceQueue>(std::make_unique<Queue>(static_cast<cudaStream_t>(stream), false));
  }
  Status can_compile() const override { return Nvrtc::library().status(); }
  void keep_compiled_in(const std::string& folder) override { cuda::keep_compiled_in(folder); }
  Result<std::unique_ptr<JoinedKernels>> join(Device& memory, std::span<const BoundKernel> kernels,
                                              size_t* taken) override {
    BLADE_RETURN_IF_ERROR(select_card());
    return can_pair(kernels.front()) ? pair_kernels(memory, kernels, taken) : join_kernels(memory, kernels, taken);
  }

 private:
  DeviceInfo info_;
};

constexpr int kOldestCapability = 80;

std::string describe(const cudaDeviceProp& card) {
  return std::string(card.name) + " (compute capability " + std::to_string(card.major) + "." +
         std::to_string(card.minor) + ")";
}

// The first card that is new enough.
std::unique_ptr<Device> open_first(std::string& reason) {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error == cudaErrorInsufficientDriver) {
    int driver = 0;
    cudaDriverGetVersion(&driver);
    reason = driver == 0 ? "no NVIDIA driver was found: install one of CUDA 13 or later"
                         : "the NVIDIA driver is of CUDA " + std::to_string(driver / 1000) + "." +
                               std::to_string(driver % 1000 / 10) + ", expected CUDA 13 or later: update it";
    return nullptr;
  }
  if (error != cudaSuccess || count == 0) {
    reason = std::string("no NVIDIA card was found: ") +
             cudaGetErrorString(error == cudaSuccess ? cudaErrorNoDevice : error);
    return nullptr;
  }
  for (int i = 0; i < count; ++i) {
    cudaDeviceProp card{};
    if (cudaGetDeviceProperties(&card, i) != cudaSuccess) continue;
    const int capability = card.major * 10 + card.minor;
    if (capability < kOldestCapability) {
      reason = "the card " + describe(card) + " is too old: compute capability 8.0 or later is needed";
      continue;
    }
    DeviceInfo info;
    info.name = card.name;
    info.architecture = "sm_" + std::to_string(capability);
    info.capability = capability;
    info.multiprocessors = card.multiProcessorCount;
    info.memory_bytes = card.totalGlobalMem;
    info.shared_bytes_per_block = card.sharedMemPerBlockOptin;
    opened_card() = i;
    return std::make_unique<CudaDevice>(std::move(info));
  }
  if (reason.empty()) reason = "the NVIDIA cards of this machine do not answer";
  return nullptr;
}

}  // namespace

Status select_card() { return cuda_status(cudaSetDevice(opened_card()), "be selected"); }

}  // namespace blade::backends::cuda

void blade_cuda_open(const char* blade_version, blade::backends::Device** device, std::string* reason) {
  using blade::backends::Device;
  if (std::string(blade_version) != BLADE_VERSION) {
    *reason = std::string("libblade_cuda.so is of Blade " BLADE_VERSION ", this is Blade ") + blade_version +
              ": install them together";
    return;
  }
  static std::string why;
  // Never destroyed: engines may outlive statics.
  static Device* const only = blade::backends::cuda::open_first(why).release();
  *device = only;
  *reason = why;
}

int blade_cuda_version() {
  int version = 0;
  return cudaDriverGetVersion(&version) == cudaSuccess ? version : 0;
}
