// Loads libblade_cuda.so and asks it for the card.
#include "backends/cuda/loader.h"

#include "backends/cuda/module.h"
#include "base/own_module.h"

namespace blade::backends {
namespace {

Result<Device*> load() {
  auto address = load_own_module("libblade_cuda.so", "blade_cuda_open");
  if (!address.ok()) return address.status().with_context("this installation of Blade has no CUDA engine");
  const auto open = reinterpret_cast<cuda::OpenFunction>(*address);
  Device* device = nullptr;
  std::string reason;
  open(BLADE_VERSION, &device, &reason);
  if (device == nullptr) return unavailable(std::move(reason));
  return device;
}

}  // namespace

const Result<Device*>& cuda_device() {
  static const Result<Device*> device = load();
  return device;
}

std::string cuda_version() {
  const auto address = load_own_module("libblade_cuda.so", "blade_cuda_version");
  const int version = address.ok() ? reinterpret_cast<cuda::VersionFunction>(*address)() : 0;
  return version == 0 ? "" : std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

}  // namespace blade::backends
