// The few functions of NVRTC's C interface that are needed, declared here: Blade builds without its header.
#include "backends/cuda/nvrtc.h"

#include <filesystem>
#include <mutex>

#include "backends/cuda/vendor_library.h"

namespace blade::backends::cuda {
namespace {

// Of CUDA 13 or 12: a driver of CUDA 13 takes the machine code of both.
const VendorLibrary& description() {
  static const auto* const nvrtc = new VendorLibrary{"NVRTC, which compiles kernels,",
                                                     {"libnvrtc.so.13", "libnvrtc.so.12"},
                                                     {"cu13", "cuda_nvrtc"},
                                                     "nvrtcVersion",
                                                     "nvidia-cuda-nvrtc"};
  return *nvrtc;
}

using NvrtcProgram = struct OpaqueNvrtcProgram*;

struct Functions {
  int (*create)(NvrtcProgram*, const char* source, const char* name, int, const char* const*,
                const char* const*) = nullptr;
  int (*compile)(NvrtcProgram, int, const char* const*) = nullptr;
  int (*code_size)(NvrtcProgram, size_t*) = nullptr;
  int (*code)(NvrtcProgram, char*) = nullptr;
  int (*log_size)(NvrtcProgram, size_t*) = nullptr;
  int (*log)(NvrtcProgram, char*) = nullptr;
  int (*destroy)(NvrtcProgram*) = nullptr;
};

Result<Functions> load_functions() {
  BLADE_ASSIGN_OR_RETURN(void* const library, load_vendor_library(description()));
  Functions f;
  const bool complete =
      find_function(library, "nvrtcCreateProgram", f.create) &&
      find_function(library, "nvrtcCompileProgram", f.compile) &&
      find_function(library, "nvrtcGetCUBINSize", f.code_size) && find_function(library, "nvrtcGetCUBIN", f.code) &&
      find_function(library, "nvrtcGetProgramLogSize", f.log_size) &&
      find_function(library, "nvrtcGetProgramLog", f.log) && find_function(library, "nvrtcDestroyProgram", f.destroy);
  if (!complete) return unavailable("NVRTC was found, but lacks functions");
  return f;
}

std::string log_of(const Functions& nvrtc, NvrtcProgram program) {
  size_t size = 0;
  if (nvrtc.log_size(program, &size) != 0 || size == 0) return "no log";
  std::string log(size, 0);
  if (nvrtc.log(program, log.data()) != 0) return "no log";
  log.resize(size - 1);
  return log;
}

Result<std::string> compile_with(const Functions& nvrtc, NvrtcProgram program, const std::string& architecture) {
  const std::vector<std::string> texts = Nvrtc::options(architecture);
  std::vector<const char*> options;
  for (const std::string& text : texts) options.push_back(text.c_str());
  if (nvrtc.compile(program, static_cast<int>(options.size()), options.data()) != 0) {
    return internal_error("A generated kernel does not compile for " + architecture + ": " + log_of(nvrtc, program));
  }
  size_t size = 0;
  if (nvrtc.code_size(program, &size) != 0 || size == 0) {
    return unavailable("NVRTC gives no machine code for " + architecture);
  }
  std::string code(size, 0);
  if (nvrtc.code(program, code.data()) != 0) return unavailable("NVRTC keeps its machine code to itself");
  return code;
}

}  // namespace

const Result<std::string>& Nvrtc::library() {
  static const auto* const path = new Result<std::string>(find_vendor_library(description()));
  return *path;
}

// Instructions of a program round one by one, as interpreted and on the host: none are fused.
std::vector<std::string> Nvrtc::options(const std::string& architecture) {
  return {"--gpu-architecture=" + architecture, "--std=c++17", "--fmad=false"};
}

std::string Nvrtc::identity() {
  if (!library().ok()) return "";
  std::error_code error;
  const std::string& path = *library();
  const auto bytes = std::filesystem::file_size(path, error);
  const auto time = std::filesystem::last_write_time(path, error).time_since_epoch().count();
  return path + " " + std::to_string(bytes) + " " + std::to_string(time);
}

Result<std::string> Nvrtc::compile(const std::string& source, const std::string& architecture) {
  // Never destroyed: engines may outlive statics.
  static const auto* const loaded = new Result<Functions>(load_functions());
  BLADE_RETURN_IF_ERROR(loaded->status());
  const Functions& nvrtc = **loaded;
  static std::mutex mutex;
  const std::lock_guard<std::mutex> lock(mutex);
  NvrtcProgram program = nullptr;
  if (nvrtc.create(&program, source.c_str(), "generated.cu", 0, nullptr, nullptr) != 0) {
    return unavailable("NVRTC takes no program");
  }
  Result<std::string> code = compile_with(nvrtc, program, architecture);
  nvrtc.destroy(&program);
  return code;
}

}  // namespace blade::backends::cuda
