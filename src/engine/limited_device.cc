// Refuses, with a sentence, memory beyond an engine's share.
#include "engine/limited_device.h"

namespace blade::engine {
namespace {

using backends::DeviceBudget;
using backends::DeviceBuffer;

class LimitedDevice final : public backends::Device {
 public:
  LimitedDevice(backends::Device& device, size_t limit_bytes)
      : device_(device), budget_(std::make_shared<DeviceBudget>(limit_bytes)) {}
  const backends::DeviceInfo& info() const override { return device_.info(); }
  std::span<const backends::KernelEntry> kernels() const override { return device_.kernels(); }
  std::span<const backends::KernelEntry> fused_kernels() const override { return device_.fused_kernels(); }
  Result<DeviceBuffer> allocate(size_t bytes) override {
    return counted(bytes, [&] { return device_.allocate(bytes); });
  }
  Result<DeviceBuffer> allocate_pinned(size_t bytes) override { return device_.allocate_pinned(bytes); }
  Result<DeviceBuffer> upload(const std::byte* from, size_t bytes) override {
    return counted(bytes, [&] { return device_.upload(from, bytes); });
  }
  Result<std::unique_ptr<backends::DeviceQueue>> create_queue() override { return device_.create_queue(); }
  Result<std::unique_ptr<backends::DeviceQueue>> borrow_queue(void* stream) override {
    return device_.borrow_queue(stream);
  }
  Result<std::unique_ptr<backends::JoinedKernels>> join(Device& memory, std::span<const backends::BoundKernel> kernels,
                                                        size_t* taken) override {
    return device_.join(memory, kernels, taken);
  }
  Status can_compile() const override { return device_.can_compile(); }
  void keep_compiled_in(const std::string& folder) override { device_.keep_compiled_in(folder); }

 private:
  template <class Make>
  Result<DeviceBuffer> counted(size_t bytes, const Make& make) {
    if (!budget_->take(bytes)) {
      return resource_exhausted("The engine needs " + std::to_string(bytes) +
                                " bytes more of the GPU's memory and holds " + std::to_string(budget_->used) +
                                " of the " + std::to_string(budget_->limit) +
                                " that it may: raise device_memory_limit or use smaller inputs.");
    }
    auto buffer = make();
    if (!buffer.ok() || buffer->size() != bytes) {
      budget_->used -= bytes;
      return buffer;
    }
    buffer->count_in(budget_);
    return buffer;
  }

  backends::Device& device_;
  std::shared_ptr<DeviceBudget> budget_;
};

}  // namespace

std::unique_ptr<backends::Device> limited_device(backends::Device& device, size_t limit_bytes) {
  return std::make_unique<LimitedDevice>(device, limit_bytes);
}

}  // namespace blade::engine
