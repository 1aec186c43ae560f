// The symbols by which libblade.so reaches libblade_cuda.so; both are built from one tree, so C++ objects cross.
#pragma once

#include <string>

#include "backends/device.h"

namespace blade::backends::cuda {

// Gives the device, or leaves it null and says why in one sentence.
using OpenFunction = void (*)(const char* blade_version, Device** device, std::string* reason);

// CUDA's version that the driver runs, 13000 for 13.0; 0 where it does not say.
using VersionFunction = int (*)();

}  // namespace blade::backends::cuda

extern "C" __attribute__((visibility("default"))) void blade_cuda_open(const char* blade_version,
                                                                       blade::backends::Device** device,
                                                                       std::string* reason);
extern "C" __attribute__((visibility("default"))) int blade_cuda_version();
