// The part of cuDNN's C interface (its graphs of operations) that convolutions need, declared here: Blade builds
// without its headers.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/status.h"

namespace blade::backends::cuda {

struct CudnnFunctions {
  size_t (*version)() = nullptr;
  const char* (*error_string)(int code) = nullptr;
  int (*create)(void** handle) = nullptr;
  int (*set_stream)(void* handle, void* stream) = nullptr;
  int (*descriptor_create)(int type, void** descriptor) = nullptr;
  int (*descriptor_destroy)(void* descriptor) = nullptr;
  int (*finalize)(void* descriptor) = nullptr;
  int (*set)(void* descriptor, int attribute, int type, int64_t count, const void* values) = nullptr;
  int (*get)(const void* descriptor, int attribute, int type, int64_t room, int64_t* count, void* values) = nullptr;
  int (*execute)(void* handle, void* plan, void* variant_pack) = nullptr;
};

// Numbers of the interface.
namespace cudnn {
enum Descriptor {
  kPointwise = 0,
  kConvolution = 1,
  kEngine = 2,
  kEngineConfig = 3,
  kHeuristic = 4,
  kExecutionPlan = 5,
  kConvolutionForward = 10,
  kPointwiseOperation = 13,
  kOperationGraph = 15,
  kVariantPack = 16,
  kTensor = 17
};
enum Type {
  kHandle = 0,
  kDataType = 1,
  kBoolean = 2,
  kInt64 = 3,
  kFloat = 4,
  kDouble = 5,
  kPointer = 6,
  kConvolutionMode = 7,
  kHeuristicMode = 8,
  kNanPropagation = 10,
  kNumericalNote = 11,
  kPointwiseMode = 14,
  kDescriptor = 15,
  kBehaviorNote = 19
};
enum Attribute {
  kPointwiseOf = 0,
  kPointwisePrecision = 1,
  kPointwiseNan = 2,
  kReluUpperClip = 4,
  kReluSlope = 5,
  kConvolutionPrecision = 100,
  kConvolutionModeOf = 101,
  kDilations = 102,
  kStrides = 103,
  kPostPaddings = 104,
  kPrePaddings = 105,
  kSpatialDims = 106,
  kHeuristicModeOf = 200,
  kHeuristicGraph = 201,
  kHeuristicResults = 202,
  kConfigEngine = 300,
  kPlanHandle = 400,
  kPlanConfig = 401,
  kPlanWorkspace = 402,
  kForwardAlpha = 700,
  kForwardBeta = 701,
  kForwardConvolution = 702,
  kForwardWeights = 703,
  kForwardX = 704,
  kForwardY = 705,
  kPointwiseDescriptor = 750,
  kPointwiseX = 751,
  kPointwiseB = 752,
  kPointwiseY = 753,
  kGraphHandle = 800,
  kGraphOperations = 801,
  kTensorAlignment = 900,
  kTensorType = 901,
  kTensorDims = 902,
  kTensorStrides = 903,
  kTensorId = 906,
  kTensorIsVirtual = 907,
  kPackIds = 1000,
  kPackPointers = 1001,
  kPackWorkspace = 1003,
  kEngineNotes = 1303,
  kEngineBehavior = 1305
};
enum DataType { kFloat32 = 0, kFloat16 = 2, kBFloat16 = 9 };
enum Note { kDownConverts = 1, kReducedSums = 2, kFft = 3, kNotDeterministic = 4, kWinograd = 5 };
enum Behavior { kCompiles = 0 };
enum Code {  // of errors
  kFirstRefusal = 2000,
  kLastRefusal = 3999,
  kNotCompiled = 4001,
  kHostMemoryShort = 4003,
  kDeviceMemoryShort = 4004
};
constexpr int kMostNotes = 32;
constexpr int kCrossCorrelation = 1, kPropagateNan = 1;
constexpr int kByHeuristicA = 3, kFallback = 2;  // heuristic modes
}  // namespace cudnn

// kUnavailable: the library refuses this work, today as tomorrow. Else memory was short, or it failed.
inline Status cudnn_status(const CudnnFunctions& f, int code, const char* what) {
  if (code == 0) return {};
  const std::string why = " (" + std::string(f.error_string(code)) + ", status " + std::to_string(code) + ")";
  if (code == cudnn::kHostMemoryShort || code == cudnn::kDeviceMemoryShort) {
    return resource_exhausted("cuDNN has no memory for " + std::string(what) + why +
                              ": free memory of the card or use smaller inputs.");
  }
  const bool is_refusal = (code >= cudnn::kFirstRefusal && code <= cudnn::kLastRefusal) || code == cudnn::kNotCompiled;
  if (is_refusal) return unavailable("cuDNN does not take " + std::string(what) + why);
  return internal_error("cuDNN failed at " + std::string(what) + why);
}

// A descriptor under construction or finished. The first error sticks and is what finalize() returns.
class CudnnDescriptor {
 public:
  CudnnDescriptor(const CudnnFunctions& f, cudnn::Descriptor type) : f_(&f) {
    code_ = f.descriptor_create(type, &descriptor_);
  }
  CudnnDescriptor(CudnnDescriptor&& other) noexcept
      : f_(other.f_), descriptor_(std::exchange(other.descriptor_, nullptr)), code_(other.code_) {}
  CudnnDescriptor& operator=(CudnnDescriptor&& other) noexcept {
    std::swap(f_, other.f_);
    std::swap(descriptor_, other.descriptor_);
    std::swap(code_, other.code_);
    return *this;
  }
  CudnnDescriptor(const CudnnDescriptor&) = delete;
  CudnnDescriptor& operator=(const CudnnDescriptor&) = delete;
  ~CudnnDescriptor() {
    if (descriptor_ != nullptr) f_->descriptor_destroy(descriptor_);
  }
  void* get() const { return descriptor_; }

  template <class T>
  void set(cudnn::Attribute attribute, cudnn::Type type, std::span<const T> values) {
    if (code_ == 0) code_ = f_->set(descriptor_, attribute, type, static_cast<int64_t>(values.size()), values.data());
  }
  template <class T>
  void set(cudnn::Attribute attribute, cudnn::Type type, const T& value) {
    set(attribute, type, std::span<const T>(&value, 1));
  }
  void set(cudnn::Attribute attribute, const CudnnDescriptor& other) {
    set(attribute, cudnn::kDescriptor, other.descriptor_);
  }
  // How many there are, `values` may be too few; -1: it cannot be read.
  template <class T>
  int64_t read(cudnn::Attribute attribute, cudnn::Type type, std::span<T> values) const {
    int64_t count = 0;
    const int code = f_->get(descriptor_, attribute, type, static_cast<int64_t>(values.size()), &count, values.data());
    return code == 0 ? count : -1;
  }
  Status finalize(const char* what) {
    if (code_ == 0) code_ = f_->finalize(descriptor_);
    return cudnn_status(*f_, code_, what);
  }

 private:
  const CudnnFunctions* f_;
  void* descriptor_ = nullptr;
  int code_ = 0;
};

}  // namespace blade::backends::cuda
