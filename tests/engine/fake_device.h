// A device whose memory is the host's and which runs everything at once, for tests of what the engine asks of one.
#pragma once

#include <algorithm>
#include <cstring>
#include <memory>
#include <span>
#include <vector>

#include "backends/kernel.h"

namespace blade::engine::testing {

using backends::DeviceBuffer;
using backends::KernelEntry;

struct FakeRecording final : backends::DeviceRecording {};

// Runs everything at once; counts what the engine asks of it.
class FakeQueue final : public backends::DeviceQueue {
 public:
  void* handle() const override { return const_cast<FakeQueue*>(this); }
  Status copy_to_device(std::byte* to, const std::byte* from, size_t bytes) override { return copy(to, from, bytes); }
  Status copy_to_host(std::byte* to, const std::byte* from, size_t bytes) override { return copy(to, from, bytes); }
  Status copy_on_device(std::byte* to, const std::byte* from, size_t bytes) override { return copy(to, from, bytes); }
  Status wait() override { return {}; }
  Status begin_recording() override { return {}; }
  Result<std::unique_ptr<backends::DeviceRecording>> end_recording() override {
    ++recordings;
    return std::unique_ptr<backends::DeviceRecording>(std::make_unique<FakeRecording>());
  }
  Status play(const backends::DeviceRecording&) override { return {}; }
  Status mark(int) override { return {}; }
  Result<double> microseconds_between(int, int) override { return microseconds *= speedup; }

  static inline int recordings = 0;
  static inline double microseconds = 1, speedup = 1;  // speedup: of each time that is read

 private:
  static Status copy(std::byte* to, const std::byte* from, size_t bytes) {
    if (bytes > 0) std::memcpy(to, from, bytes);
    return {};
  }
};

// Runs the kernels one after another; counts the launches that a device would make of them.
class FakeJoined final : public backends::JoinedKernels {
 public:
  FakeJoined(std::span<const backends::BoundKernel> kernels, DeviceBuffer table)
      : kernels_(kernels.begin(), kernels.end()), table_(std::move(table)) {}
  Status run(void*, size_t count) const override {
    ++launches;
    for (size_t i = 0; i < count; ++i) BLADE_RETURN_IF_ERROR(kernels_[i].kernel->run(kernels_[i].args));
    return {};
  }

  static inline int launches = 0;

 private:
  std::vector<backends::BoundKernel> kernels_;
  DeviceBuffer table_;
};

class FakeDevice final : public backends::Device {
 public:
  explicit FakeDevice(std::span<const KernelEntry> kernels, std::span<const KernelEntry> fused = {})
      : kernels_(kernels), fused_(fused) {
    info_.name = "fake";
    info_.architecture = "none";
  }
  const backends::DeviceInfo& info() const override { return info_; }
  std::span<const KernelEntry> kernels() const override { return kernels_; }
  std::span<const KernelEntry> fused_kernels() const override { return fused_; }
  Result<DeviceBuffer> allocate(size_t bytes) override {
    return DeviceBuffer(new std::byte[bytes], bytes, [](std::byte* p) { delete[] p; });
  }
  Result<DeviceBuffer> allocate_pinned(size_t bytes) override { return allocate(bytes); }
  Result<DeviceBuffer> upload(const std::byte* from, size_t bytes) override {
    BLADE_ASSIGN_OR_RETURN(DeviceBuffer buffer, allocate(bytes));
    if (bytes > 0) std::memcpy(buffer.data(), from, bytes);
    return buffer;
  }
  Result<std::unique_ptr<backends::DeviceQueue>> create_queue() override {
    return std::unique_ptr<backends::DeviceQueue>(std::make_unique<FakeQueue>());
  }
  Result<std::unique_ptr<backends::DeviceQueue>> borrow_queue(void*) override { return create_queue(); }
  Result<std::unique_ptr<backends::JoinedKernels>> join(Device& memory, std::span<const backends::BoundKernel> kernels,
                                                        size_t* taken) override {
    *taken = std::min(kernels.size(), most_joined);
    BLADE_ASSIGN_OR_RETURN(DeviceBuffer table, memory.allocate(table_bytes));
    return std::unique_ptr<backends::JoinedKernels>(
        std::make_unique<FakeJoined>(kernels.first(*taken), std::move(table)));
  }
  size_t most_joined = 3, table_bytes = 16;

 private:
  std::span<const KernelEntry> kernels_, fused_;
  backends::DeviceInfo info_;
};

}  // namespace blade::engine::testing
