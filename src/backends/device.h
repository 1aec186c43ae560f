// An accelerator as the engine sees it: its memory, queues of work on it, recorded sequences of that work, and the
// kernels it offers. The engine knows devices by this interface alone.
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "base/status.h"

namespace blade::backends {

struct KernelEntry;
struct BoundKernel;

struct DeviceInfo {
  std::string name;          // "NVIDIA H200"
  std::string architecture;  // "sm_90"
  int capability = 0;        // 90: major * 10 + minor
  int multiprocessors = 0;
  size_t memory_bytes = 0;
  size_t shared_bytes_per_block = 0;  // the most a block may ask for
};

// How much of a device's memory may be held, and is.
struct DeviceBudget {
  explicit DeviceBudget(size_t most) : limit(most) {}
  bool take(size_t bytes) {
    size_t held = used.load();
    while (bytes <= limit && held <= limit - bytes) {
      if (used.compare_exchange_weak(held, held + bytes)) return true;
    }
    return false;
  }
  const size_t limit;
  std::atomic<size_t> used = 0;
};

// Device memory, or host memory that the device copies from and to directly; freed with the object.
class DeviceBuffer {
 public:
  using Release = void (*)(std::byte*);
  DeviceBuffer() = default;
  DeviceBuffer(std::byte* data, size_t size, Release release) : data_(data), size_(size), release_(release) {}
  DeviceBuffer(DeviceBuffer&& other) noexcept { swap(other); }
  DeviceBuffer& operator=(DeviceBuffer&& other) noexcept {
    swap(other);
    return *this;
  }
  DeviceBuffer(const DeviceBuffer&) = delete;
  DeviceBuffer& operator=(const DeviceBuffer&) = delete;
  ~DeviceBuffer() {
    if (data_ != nullptr) release_(data_);
    if (budget_ != nullptr) budget_->used -= size_;
  }
  // `budget` has given these bytes and gets them back.
  void count_in(std::shared_ptr<DeviceBudget> budget) { budget_ = std::move(budget); }
  std::byte* data() const { return data_; }
  size_t size() const { return size_; }

 private:
  void swap(DeviceBuffer& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    std::swap(release_, other.release_);
    std::swap(budget_, other.budget_);
  }
  std::byte* data_ = nullptr;
  size_t size_ = 0;
  Release release_ = nullptr;
  std::shared_ptr<DeviceBudget> budget_;
};

// Work that was recorded once and is started by one call.
class DeviceRecording {
 public:
  virtual ~DeviceRecording() = default;
};

// Small kernels with their operands, started together: less than each of them would take by itself.
class JoinedKernels {
 public:
  virtual ~JoinedKernels() = default;
  virtual Status run(void* queue, size_t count) const = 0;  // the first `count` of them
};

// Work in order; everything here but wait() returns before the device is done.
class DeviceQueue {
 public:
  virtual ~DeviceQueue() = default;
  virtual void* handle() const = 0;  // what KernelArgs::queue carries
  virtual Status copy_to_device(std::byte* to, const std::byte* from_pinned, size_t bytes) = 0;
  virtual Status copy_to_host(std::byte* to_pinned, const std::byte* from, size_t bytes) = 0;
  virtual Status copy_on_device(std::byte* to, const std::byte* from, size_t bytes) = 0;
  virtual Status wait() = 0;

  // Between the two calls work is recorded, not run.
  virtual Status begin_recording() = 0;
  virtual Result<std::unique_ptr<DeviceRecording>> end_recording() = 0;
  virtual Status play(const DeviceRecording& recording) = 0;

  // Microseconds of device time between two marks, after wait(). Marks are numbers from 0.
  virtual Status mark(int number) = 0;
  virtual Result<double> microseconds_between(int first, int second) = 0;
};

// Thread-safe; lives as long as the process.
class Device {
 public:
  virtual ~Device() = default;
  virtual const DeviceInfo& info() const = 0;
  virtual std::span<const KernelEntry> kernels() const = 0;
  // Rows that compute a node and the only producer of one of its inputs in one step.
  virtual std::span<const KernelEntry> fused_kernels() const = 0;
  virtual Result<DeviceBuffer> allocate(size_t bytes) = 0;
  virtual Result<DeviceBuffer> allocate_pinned(size_t bytes) = 0;
  // A new buffer holding a copy of host bytes.
  virtual Result<DeviceBuffer> upload(const std::byte* from, size_t bytes) = 0;
  virtual Result<std::unique_ptr<DeviceQueue>> create_queue() = 0;
  // A queue over the caller's own: a CUDA stream, nullptr for the default one. It stays the caller's.
  virtual Result<std::unique_ptr<DeviceQueue>> borrow_queue(void* stream) = 0;
  // Kernels that say can_join(), in the order in which they would run; takes as many from the front as fit together and
  // says how many: one, and nullptr, where the first has nothing to be joined with. The kernels have to outlive the
  // result, which is held in the memory of `memory`: this device, or what counts its memory.
  virtual Result<std::unique_ptr<JoinedKernels>> join(Device& memory, std::span<const BoundKernel> kernels,
                                                      size_t* taken) = 0;
  // Whether rows may compile kernels for their work (KernelEntry::compiles); or why not.
  virtual Status can_compile() const { return unavailable("the device has no compiler"); }
  // Where such code is kept for other processes, from now on and by this one as a whole; empty: nowhere.
  virtual void keep_compiled_in(const std::string& folder) { (void)folder; }
};

}  // namespace blade::backends
