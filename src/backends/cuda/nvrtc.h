// NVIDIA's run-time compiler for CUDA C++, where the machine has one: a toolkit, the PyPI package nvidia-cuda-nvrtc
// beside Blade, or what the process has loaded already (PyTorch). Found by path at first use and loaded at the first
// compilation.
#pragma once

#include <string>
#include <vector>

#include "base/status.h"

namespace blade::backends::cuda {

class Nvrtc {
 public:
  // Where the library lies; or why there is none, in a sentence.
  static const Result<std::string>& library();
  // Tells one compiler from another without loading it: path, size and time of the file that is tried first.
  static std::string identity();
  // What it is told, in order.
  static std::vector<std::string> options(const std::string& architecture);
  // Machine code ("cubin") for "sm_90". The error of a program that does not compile holds the compiler's log.
  static Result<std::string> compile(const std::string& source, const std::string& architecture);
};

}  // namespace blade::backends::cuda
