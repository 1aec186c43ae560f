// The C++ interface of Blade: RAII and exceptions over blade.h, header-only, C++17.
#pragma once

#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "blade/blade.h"

namespace blade {

// what() is one sentence: what was found, what was expected, what to do.
class Error : public std::runtime_error {
 public:
  Error(blade_status status, const std::string& sentence) : std::runtime_error(sentence), status_(status) {}
  blade_status status() const { return status_; }

 private:
  blade_status status_;
};

inline void check(blade_status status) {
  if (status != BLADE_OK) throw Error(status, blade_last_error());
}

// 16-bit floating-point elements, by their bits; conversions round to the nearest, ties to even.
struct Float16 {
  uint16_t bits = 0;
  Float16() = default;
  explicit Float16(float value) : bits(round(value)) {}
  explicit operator float() const {
    const int exponent = bits >> 10 & 31, fraction = bits & 1023;
    const float magnitude = exponent == 31  ? fraction != 0 ? std::numeric_limits<float>::quiet_NaN()
                                                            : std::numeric_limits<float>::infinity()
                             : exponent == 0 ? std::ldexp(static_cast<float>(fraction), -24)
                                            : std::ldexp(static_cast<float>(fraction + 1024), exponent - 25);
    return (bits & 0x8000) != 0 ? -magnitude : magnitude;
  }

 private:
  static uint16_t round(float value) {
    const uint16_t sign = std::signbit(value) ? 0x8000 : 0;
    const float magnitude = std::fabs(value);
    if (std::isnan(value)) return sign | 0x7e00;
    if (magnitude >= 65520) return sign | 0x7c00;  // beyond the largest value, half a unit on
    // The exponent of the last bit; subnormals share the smallest.
    const int unit = magnitude < 0x1p-13f ? -24 : std::ilogb(magnitude) - 10;
    const float fraction = std::nearbyint(std::ldexp(magnitude, -unit));
    // A fraction that rounds up to 2048 carries into the exponent, as it should.
    return static_cast<uint16_t>(sign + (unit + 24) * 1024 + static_cast<int>(fraction));
  }
};

struct BFloat16 {
  uint16_t bits = 0;
  BFloat16() = default;
  explicit BFloat16(float value) {
    uint32_t wide = 0;
    std::memcpy(&wide, &value, sizeof wide);
    const uint32_t rounded = wide + 0x7fff + (wide >> 16 & 1);
    bits = static_cast<uint16_t>(std::isnan(value) ? wide >> 16 | 0x40 : rounded >> 16);
  }
  explicit operator float() const {
    const uint32_t wide = static_cast<uint32_t>(bits) << 16;
    float value = 0;
    std::memcpy(&value, &wide, sizeof value);
    return value;
  }
};

template <blade_dtype dtype>
struct DTypeIs {
  static constexpr blade_dtype value = dtype;
};
// The blade_dtype of a C++ type.
template <class T>
struct DType;
template <>
struct DType<float> : DTypeIs<BLADE_FLOAT32> {};
template <>
struct DType<double> : DTypeIs<BLADE_FLOAT64> {};
template <>
struct DType<Float16> : DTypeIs<BLADE_FLOAT16> {};
template <>
struct DType<BFloat16> : DTypeIs<BLADE_BFLOAT16> {};
template <>
struct DType<int8_t> : DTypeIs<BLADE_INT8> {};
template <>
struct DType<int16_t> : DTypeIs<BLADE_INT16> {};
template <>
struct DType<int32_t> : DTypeIs<BLADE_INT32> {};
template <>
struct DType<int64_t> : DTypeIs<BLADE_INT64> {};
template <>
struct DType<uint8_t> : DTypeIs<BLADE_UINT8> {};
template <>
struct DType<uint16_t> : DTypeIs<BLADE_UINT16> {};
template <>
struct DType<uint32_t> : DTypeIs<BLADE_UINT32> {};
template <>
struct DType<uint64_t> : DTypeIs<BLADE_UINT64> {};
template <>
struct DType<bool> : DTypeIs<BLADE_BOOL> {};

// A dense row-major tensor over memory that the caller owns.
template <class T>
blade_tensor view(T* data, const std::vector<int64_t>& dims) {
  if (dims.size() > BLADE_MAX_RANK) throw Error(BLADE_INVALID_ARGUMENT, "a tensor has more than 16 dims");
  blade_tensor tensor = {};
  tensor.dtype = DType<std::remove_const_t<T>>::value;
  tensor.rank = static_cast<int32_t>(dims.size());
  size_t elements = 1;
  for (size_t i = 0; i < dims.size(); ++i) {
    tensor.dims[i] = dims[i];
    elements *= static_cast<size_t>(dims[i]);
  }
  tensor.data = const_cast<std::remove_const_t<T>*>(data);
  tensor.bytes = elements * sizeof(T);
  return tensor;
}

// An output of Engine::run: description and data.
class Tensor {
 public:
  const blade_tensor& description() const { return description_; }
  const unsigned char* bytes() const { return memory_.get(); }
  std::vector<int64_t> dims() const { return {description_.dims, description_.dims + description_.rank}; }
  template <class T>
  const T* data() const {
    if (DType<T>::value != description_.dtype)
      throw Error(BLADE_INVALID_ARGUMENT, "an output was read as another dtype than it has");
    return reinterpret_cast<const T*>(memory_.get());
  }
  template <class T>
  size_t size() const {
    return description_.bytes / sizeof(T);
  }

 private:
  friend class Engine;
  blade_tensor description_ = {};
  std::unique_ptr<unsigned char[]> memory_;
};

// A loaded model. run() may be called from many threads at once.
class Engine {
 public:
  struct Options {
    int num_threads = 0;               // 0: as many as the process may use
    std::vector<std::string> outputs;  // node or tensor names; empty: the model's own
    std::string signature;             // of a SavedModel; empty: 'serving_default', or the only one
    std::string device;                // 'cpu', 'gpu' or 'auto'; empty: what the model was optimized for
    int max_cached_plans = 0;          // kept for shapes met; 0: the default, 16
    int64_t device_memory_limit = 0;   // bytes of the GPU's memory; 0: no limit
  };

  explicit Engine(const std::string& path) : Engine(path, Options()) {}
  Engine(const std::string& path, const Options& options) {
    std::vector<const char*> names;
    for (const std::string& name : options.outputs) names.push_back(name.c_str());
    blade_engine_options c_options = {};
    c_options.struct_size = sizeof c_options;
    c_options.num_threads = options.num_threads;
    c_options.outputs = names.empty() ? nullptr : names.data();
    c_options.num_outputs = static_cast<int32_t>(names.size());
    c_options.signature = options.signature.empty() ? nullptr : options.signature.c_str();
    c_options.device = options.device.empty() ? nullptr : options.device.c_str();
    c_options.max_cached_plans = options.max_cached_plans;
    c_options.device_memory_limit = options.device_memory_limit;
    blade_engine* engine = nullptr;
    check(blade_engine_load(path.c_str(), &c_options, &engine));
    engine_.reset(engine);
  }

  struct Info {
    std::string name;
    blade_tensor description;  // dims of -1 and a rank of -1 are unknown
  };
  std::vector<Info> inputs() const { return infos(blade_engine_num_inputs(engine_.get()), blade_engine_input); }
  std::vector<Info> outputs() const { return infos(blade_engine_num_outputs(engine_.get()), blade_engine_output); }
  // The key of inputs()[index] in the SavedModel's signature; empty where there is none (see blade_engine_input_key).
  std::string input_key(size_t index) const {
    const char* key = blade_engine_input_key(engine_.get(), static_cast<int32_t>(index));
    return key != nullptr ? key : "";
  }
  // The same of outputs()[index]; also empty where Options name the outputs.
  std::string output_key(size_t index) const {
    const char* key = blade_engine_output_key(engine_.get(), static_cast<int32_t>(index));
    return key != nullptr ? key : "";
  }

  // The inputs that users' names mean, as indices of inputs() and what follows them (see blade_engine_find_inputs).
  std::vector<int32_t> find_inputs(const std::vector<std::string>& names) const {
    std::vector<const char*> texts;
    for (const std::string& name : names) texts.push_back(name.c_str());
    std::vector<int32_t> indices(names.size());
    check(blade_engine_find_inputs(engine_.get(), texts.data(), static_cast<int32_t>(texts.size()), indices.data()));
    return indices;
  }

  // Inputs in the order of inputs(); outputs in the order of outputs(). Takes every model: an output whose size depends
  // on the inputs' elements gets its memory when its size is known.
  std::vector<Tensor> run(const std::vector<blade_tensor>& inputs) {
    std::vector<Tensor> outputs(static_cast<size_t>(blade_engine_num_outputs(engine_.get())));
    const auto allocate = [](void* arg, int32_t index, const blade_tensor* description) -> void* {
      Tensor& output = (*static_cast<std::vector<Tensor>*>(arg))[static_cast<size_t>(index)];
      output.description_ = *description;
      output.memory_.reset(new (std::nothrow) unsigned char[description->bytes + 1]);
      return output.memory_.get();
    };
    check(blade_engine_run_with(engine_.get(), inputs.data(), static_cast<int32_t>(inputs.size()), allocate, &outputs));
    return outputs;
  }

  // Into memory that the caller owns (see blade_engine_run): nothing is allocated. Each output needs enough for the
  // size that the run finds.
  void run(const std::vector<blade_tensor>& inputs, std::vector<blade_tensor>& outputs) {
    check(blade_engine_run(engine_.get(), inputs.data(), static_cast<int32_t>(inputs.size()), outputs.data(),
                           static_cast<int32_t>(outputs.size())));
  }

  // On a GPU, from and to device memory, on the caller's CUDA stream (see blade_engine_run_on_device): returns at once.
  void run_on_device(const std::vector<blade_tensor>& inputs, std::vector<blade_tensor>& outputs, void* stream) {
    check(blade_engine_run_on_device(engine_.get(), inputs.data(), static_cast<int32_t>(inputs.size()), outputs.data(),
                                     static_cast<int32_t>(outputs.size()), stream));
  }

  blade_engine* get() const { return engine_.get(); }

 private:
  struct Free {
    void operator()(blade_engine* engine) const { blade_engine_free(engine); }
  };
  template <class Get>
  std::vector<Info> infos(int32_t count, Get get) const {
    std::vector<Info> result;
    for (int32_t i = 0; i < count; ++i) {
      Info info;
      info.name = get(engine_.get(), i, &info.description);
      result.push_back(info);
    }
    return result;
  }
  std::unique_ptr<blade_engine, Free> engine_;
};

}  // namespace blade
