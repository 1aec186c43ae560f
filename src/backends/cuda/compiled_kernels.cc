// Finds, compiles and loads machine code; one lock, because equal chains ask for equal code.
#include "backends/cuda/compiled_kernels.h"

#include <map>
#include <mutex>

#include "backends/cuda/code_cache.h"
#include "backends/cuda/cuda_status.h"
#include "backends/cuda/nvrtc.h"
#include "base/cache_folder.h"
#include "base/log.h"

namespace blade::backends::cuda {
namespace {

struct Held {
  std::mutex mutex;
  CodeCache cache{user_cache_folder()};
  std::map<std::string, const void*> kernels;  // by what was compiled
};
// Never destroyed: engines may outlive statics.
Held& held() {
  static Held* const only = new Held;
  return *only;
}

Result<const void*> load(const std::string& code, const std::string& name) {
  cudaLibrary_t library = nullptr;
  BLADE_CUDA(cudaLibraryLoadData(&library, code.data(), nullptr, nullptr, 0, nullptr, nullptr, 0),
             "load compiled code");
  cudaKernel_t kernel = nullptr;
  BLADE_CUDA(cudaLibraryGetKernel(&kernel, library, name.c_str()), "find a compiled kernel");
  return reinterpret_cast<const void*>(kernel);
}

Result<const void*> make(const CodeCache& cache, const std::string& key, const std::string& source,
                         const std::string& name, const std::string& architecture) {
  if (const auto known = cache.find(key)) {
    if (auto kernel = load(*known, name); kernel.ok()) return kernel;
  }
  BLADE_ASSIGN_OR_RETURN(const std::string code, Nvrtc::compile(source, architecture));
  if (const Status status = cache.put(key, code); !status.ok()) {
    log_info("compiled code is not kept: " + status.message());
  }
  return load(code, name);
}

}  // namespace

Result<const void*> compiled_kernel(const std::string& source, const std::string& name,
                                    const std::string& architecture) {
  std::string key = Nvrtc::identity() + "\n";
  for (const std::string& option : Nvrtc::options(architecture)) key += option + "\n";
  key += source;
  const std::lock_guard<std::mutex> lock(held().mutex);
  if (const auto it = held().kernels.find(key); it != held().kernels.end()) return it->second;
  BLADE_ASSIGN_OR_RETURN(const void* kernel, make(held().cache, key, source, name, architecture));
  held().kernels[key] = kernel;
  return kernel;
}

void keep_compiled_in(const std::string& folder) {
  const std::lock_guard<std::mutex> lock(held().mutex);
  held().cache = CodeCache(folder);
}

}  // namespace blade::backends::cuda
