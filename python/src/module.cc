// blade._core: engines and optimize() of the C interface for Python; the package in blade/ gives them their names.
#include <cxxabi.h>
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "blade/blade.hpp"

namespace nb = nanobind;

namespace {

using Array = nb::ndarray<nb::ro, nb::c_contig, nb::device::cpu>;

struct TypeName {
  blade_dtype dtype;
  const char* name;
  nb::dlpack::dtype dlpack;
};

constexpr uint8_t kFloat = static_cast<uint8_t>(nb::dlpack::dtype_code::Float);
constexpr uint8_t kInt = static_cast<uint8_t>(nb::dlpack::dtype_code::Int);
constexpr uint8_t kUInt = static_cast<uint8_t>(nb::dlpack::dtype_code::UInt);
constexpr uint8_t kBfloat = static_cast<uint8_t>(nb::dlpack::dtype_code::Bfloat);
constexpr uint8_t kBool = static_cast<uint8_t>(nb::dlpack::dtype_code::Bool);

constexpr TypeName kTypes[] = {
    {BLADE_FLOAT32, "float32", {kFloat, 32, 1}}, {BLADE_FLOAT64, "float64", {kFloat, 64, 1}},
    {BLADE_FLOAT16, "float16", {kFloat, 16, 1}}, {BLADE_BFLOAT16, "bfloat16", {kBfloat, 16, 1}},
    {BLADE_INT8, "int8", {kInt, 8, 1}},          {BLADE_INT16, "int16", {kInt, 16, 1}},
    {BLADE_INT32, "int32", {kInt, 32, 1}},       {BLADE_INT64, "int64", {kInt, 64, 1}},
    {BLADE_UINT8, "uint8", {kUInt, 8, 1}},       {BLADE_UINT16, "uint16", {kUInt, 16, 1}},
    {BLADE_UINT32, "uint32", {kUInt, 32, 1}},    {BLADE_UINT64, "uint64", {kUInt, 64, 1}},
    {BLADE_BOOL, "bool", {kBool, 8, 1}}};

// Lets other Python threads run. While the interpreter goes down it ends daemon threads that want the GIL back, by an
// exception that passes no noexcept function of the binding: such a thread waits for the process to end instead.
class WithoutGil {
 public:
  WithoutGil() : state_(PyEval_SaveThread()) {}
  ~WithoutGil() {
    try {
      PyEval_RestoreThread(state_);
    } catch (const abi::__forced_unwind&) {
      for (;;) ::pause();
    }
  }
  WithoutGil(const WithoutGil&) = delete;
  WithoutGil& operator=(const WithoutGil&) = delete;

 private:
  PyThreadState* state_;
};

const TypeName& type_of(blade_dtype dtype) {
  for (const TypeName& type : kTypes) {
    if (type.dtype == dtype) return type;
  }
  throw nb::value_error("unknown dtype");
}

// The package turns these into blade.BladeError with the status' name.
[[noreturn]] void raise(blade_status status, const char* sentence) {
  const nb::object error = nb::module_::import_("blade.errors").attr("from_status");
  // A sentence may quote a name from a damaged file: bytes that are no UTF-8 are shown as replacement characters.
  const nb::object text =
      nb::steal(PyUnicode_DecodeUTF8(sentence, static_cast<Py_ssize_t>(std::strlen(sentence)), "replace"));
  const nb::object exception = error(static_cast<int>(status), text);
  PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(exception.ptr())), exception.ptr());
  throw nb::python_error();
}

void check(blade_status status) {
  if (status != BLADE_OK) raise(status, blade_last_error());
}

blade_tensor to_tensor(const Array& array) {
  blade_tensor tensor = {};
  const nb::dlpack::dtype dtype = array.dtype();
  for (const TypeName& type : kTypes) {
    if (type.dlpack == dtype) tensor.dtype = type.dtype;
  }
  if (tensor.dtype == BLADE_INVALID_DTYPE) throw nb::type_error("an array has a dtype that Blade has none for");
  if (array.ndim() > BLADE_MAX_RANK) raise(BLADE_INVALID_ARGUMENT, "an array has more than 16 dims: reshape it");
  tensor.rank = static_cast<int32_t>(array.ndim());
  for (size_t i = 0; i < array.ndim(); ++i) tensor.dims[i] = static_cast<int64_t>(array.shape(i));
  tensor.data = const_cast<void*>(array.data());
  tensor.bytes = array.nbytes();
  return tensor;
}

std::vector<blade_tensor> to_tensors(const std::vector<Array>& arrays) {
  std::vector<blade_tensor> tensors;
  tensors.reserve(arrays.size());
  for (const Array& array : arrays) tensors.push_back(to_tensor(array));
  return tensors;
}

// Tensors for given arrays. NumPy has no bfloat16 of its own: for one, uint16 are its bits, and floats are rounded.
class InputTensors {
 public:
  InputTensors(const std::vector<Array>& arrays, const std::vector<blade_dtype>& wanted)
      : tensors_(to_tensors(arrays)), rounded_(arrays.size()) {
    for (size_t i = 0; i < std::min(arrays.size(), wanted.size()); ++i) {
      if (wanted[i] == BLADE_BFLOAT16) to_bfloat16(tensors_[i], rounded_[i]);
    }
  }
  const blade_tensor* data() const { return tensors_.empty() ? nullptr : tensors_.data(); }
  int32_t count() const { return static_cast<int32_t>(tensors_.size()); }

 private:
  static void to_bfloat16(blade_tensor& tensor, std::vector<blade::BFloat16>& rounded) {
    if (tensor.dtype == BLADE_FLOAT32) {
      const auto* values = static_cast<const float*>(tensor.data);
      const size_t count = tensor.bytes / sizeof(float);
      rounded.reserve(count + 1);  // memory for no elements, too
      for (size_t i = 0; i < count; ++i) rounded.emplace_back(values[i]);
      tensor.data = rounded.data();
      tensor.bytes = count * sizeof(blade::BFloat16);
      tensor.dtype = BLADE_BFLOAT16;
    } else if (tensor.dtype == BLADE_UINT16) {
      tensor.dtype = BLADE_BFLOAT16;
    }
  }

  std::vector<blade_tensor> tensors_;
  std::vector<std::vector<blade::BFloat16>> rounded_;
};

std::string take_text(char* text) {
  const std::unique_ptr<char, void (*)(void*)> held(text, blade_free);
  return std::string(held.get());
}

// Memory of large outputs that Python has let go of, for the next run: the system clears each page of new memory, which
// takes as long as many a model. Holds one block an output, of the size that it had last. Lives as long as the last
// array.
class OutputMemory {
 public:
  struct Block {
    size_t bytes = 0;
    std::unique_ptr<std::byte[]> data;
  };

  void set_count(size_t outputs) { slots_.resize(outputs); }

  // Null data where there is no memory.
  Block take(size_t output, size_t bytes) {
    {
      const std::lock_guard<std::mutex> locked(mutex_);
      Slot& slot = slots_[output];
      slot.bytes = bytes;
      Block free = std::exchange(slot.free, Block());
      if (free.data != nullptr && free.bytes == bytes) return free;
    }
    return {bytes, std::unique_ptr<std::byte[]>(new (std::nothrow) std::byte[std::max<size_t>(1, bytes)])};
  }

  void give_back(size_t output, Block block) {
    if (block.bytes < kLeastBytes) return;
    const std::lock_guard<std::mutex> locked(mutex_);
    if (slots_[output].bytes == block.bytes) slots_[output].free = std::move(block);
  }

 private:
  static constexpr size_t kLeastBytes = size_t{64} << 10;  // malloc keeps less by itself
  struct Slot {
    size_t bytes = 0;  // of the last run
    Block free;
  };
  std::mutex mutex_;
  std::vector<Slot> slots_;
};

// One output's memory until NumPy owns it.
struct Output {
  blade_tensor tensor = {};
  OutputMemory::Block block;

  nb::object to_numpy(const std::shared_ptr<OutputMemory>& memory, size_t index) {
    struct Owner {
      std::shared_ptr<OutputMemory> memory;
      size_t index;
      OutputMemory::Block block;
    };
    std::vector<size_t> shape(tensor.dims, tensor.dims + tensor.rank);
    auto* owner = new Owner{memory, index, std::move(block)};
    std::byte* raw = owner->block.data.get();
    const nb::capsule capsule(owner, [](void* p) noexcept {
      const std::unique_ptr<Owner> last(static_cast<Owner*>(p));
      last->memory->give_back(last->index, std::move(last->block));
    });
    const blade_dtype dtype = tensor.dtype == BLADE_BFLOAT16 ? BLADE_UINT16 : tensor.dtype;  // its bits
    const nb::ndarray<nb::numpy> array(raw, shape.size(), shape.data(), capsule, nullptr, type_of(dtype).dlpack);
    return nb::cast(array);
  }
};

class Engine {
 public:
  Engine(const nb::bytes& path, const std::vector<std::string>& outputs, int num_threads, bool reference,
         const std::string& signature, const std::string& device) {
    std::vector<const char*> names;
    for (const std::string& output : outputs) names.push_back(output.c_str());
    blade_engine_options options = {};
    options.struct_size = sizeof options;
    options.num_threads = num_threads;
    options.use_reference = reference ? 1 : 0;
    options.outputs = names.empty() ? nullptr : names.data();
    options.num_outputs = static_cast<int32_t>(names.size());
    options.signature = signature.empty() ? nullptr : signature.c_str();
    options.device = device.c_str();
    const char* const name = path.c_str();
    blade_status status;
    {
      const WithoutGil unlocked;
      status = blade_engine_load(name, &options, &engine_);
    }
    check(status);
    memory_->set_count(static_cast<size_t>(blade_engine_num_outputs(engine_)));
    for (int32_t i = 0; i < blade_engine_num_inputs(engine_); ++i) {
      blade_tensor input;
      blade_engine_input(engine_, i, &input);
      input_types_.push_back(input.dtype);
    }
  }
  ~Engine() { blade_engine_free(engine_); }
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // [(name, dtype name, shape with None for unknown dims, or None for unknown rank)]
  nb::list describe(bool inputs) const {
    nb::list result;
    const int32_t count = inputs ? blade_engine_num_inputs(engine_) : blade_engine_num_outputs(engine_);
    for (int32_t i = 0; i < count; ++i) {
      blade_tensor info;
      const char* name = inputs ? blade_engine_input(engine_, i, &info) : blade_engine_output(engine_, i, &info);
      nb::object shape = nb::none();
      if (info.rank >= 0) {
        nb::list dims;
        for (int32_t d = 0; d < info.rank; ++d) {
          if (info.dims[d] >= 0) {
            dims.append(info.dims[d]);
          } else {
            dims.append(nb::none());
          }
        }
        shape = nb::tuple(dims);
      }
      result.append(nb::make_tuple(name, type_of(info.dtype).name, shape));
    }
    return result;
  }

  // The signature's key of each output; None where there is none.
  nb::list output_keys() const {
    nb::list result;
    for (int32_t i = 0; i < blade_engine_num_outputs(engine_); ++i) {
      const char* key = blade_engine_output_key(engine_, i);
      if (key != nullptr) {
        result.append(key);
      } else {
        result.append(nb::none());
      }
    }
    return result;
  }

  // Of each placeholder that the engine is not fed: the dtype name of the default that is built in, or None.
  nb::list built_in_types() const {
    nb::list result;
    blade_tensor value;
    for (int32_t i = 0; blade_engine_unread_input(engine_, i, &value) != nullptr; ++i) {
      nb::object built_in = nb::none();
      if (value.dtype != BLADE_INVALID_DTYPE) built_in = nb::str(type_of(value.dtype).name);
      result.append(built_in);
    }
    return result;
  }

  // See blade_engine_find_inputs.
  std::vector<int32_t> find_inputs(const std::vector<std::string>& names) const {
    std::vector<const char*> texts;
    for (const std::string& name : names) texts.push_back(name.c_str());
    std::vector<int32_t> indices(names.size());
    check(blade_engine_find_inputs(engine_, texts.data(), static_cast<int32_t>(texts.size()), indices.data()));
    return indices;
  }

  int32_t find_output(const std::string& name) const { return blade_engine_find_output(engine_, name.c_str()); }

  void check_unread_input(int index, const Array& array) const {
    blade_tensor built_in = {};
    blade_engine_unread_input(engine_, index, &built_in);
    const InputTensors value({array}, {built_in.dtype});
    check(blade_engine_check_unread_input(engine_, index, value.data()));
  }

  nb::list run(const std::vector<Array>& arrays) {
    const InputTensors inputs(arrays, input_types_);
    struct Outputs {
      OutputMemory& memory;
      std::vector<Output> all;
    } outputs{*memory_, std::vector<Output>(blade_engine_num_outputs(engine_))};
    const auto allocate = [](void* arg, int32_t index, const blade_tensor* description) -> void* {
      auto* to = static_cast<Outputs*>(arg);
      Output& output = to->all[index];
      output.tensor = *description;
      output.block = to->memory.take(static_cast<size_t>(index), description->bytes);
      return output.block.data.get();
    };
    blade_status status;
    {
      const WithoutGil unlocked;
      status = blade_engine_run_with(engine_, inputs.data(), inputs.count(), allocate, &outputs);
    }
    check(status);
    nb::list result;
    for (size_t i = 0; i < outputs.all.size(); ++i) result.append(outputs.all[i].to_numpy(memory_, i));
    return result;
  }

  std::string explain(const std::vector<Array>& arrays) {
    const InputTensors inputs(arrays, input_types_);
    char* json = nullptr;
    check(blade_engine_explain(engine_, inputs.data(), inputs.count(), &json));
    return take_text(json);
  }

  std::string profile(const std::vector<Array>& arrays, int repetitions) {
    const InputTensors inputs(arrays, input_types_);
    char* json = nullptr;
    blade_status status;
    {
      const WithoutGil unlocked;
      status = blade_engine_profile(engine_, inputs.data(), inputs.count(), repetitions, &json);
    }
    check(status);
    return take_text(json);
  }

  std::vector<double> device_times(const std::vector<Array>& arrays, int repetitions) {
    const InputTensors inputs(arrays, input_types_);
    std::vector<double> times(static_cast<size_t>(repetitions > 0 ? repetitions : 0));
    blade_status status;
    {
      const WithoutGil unlocked;
      status = blade_engine_device_times(engine_, inputs.data(), inputs.count(), static_cast<int32_t>(times.size()),
                                         times.data());
    }
    check(status);
    return times;
  }

 private:
  blade_engine* engine_ = nullptr;
  std::vector<blade_dtype> input_types_;
  std::shared_ptr<OutputMemory> memory_ = std::make_shared<OutputMemory>();
};

// For each feed and array: None, or the shape of strings that the array (uint8) holds packed as blade.h says.
using StringShapes = std::vector<std::vector<std::optional<std::vector<int64_t>>>>;

// Feeds as the C interface takes them, with the memory they point into.
struct Feeds {
  std::vector<std::vector<const char*>> names;
  std::vector<std::vector<blade_tensor>> tensors;
  std::vector<blade_feed> feeds;

  Feeds(const std::vector<std::vector<std::string>>& given_names, const std::vector<std::vector<Array>>& arrays,
        const StringShapes& string_shapes)
      : names(given_names.size()), tensors(given_names.size()) {
    for (size_t i = 0; i < given_names.size(); ++i) {
      for (const std::string& name : given_names[i]) names[i].push_back(name.c_str());
      tensors[i] = to_tensors(arrays[i]);
      for (size_t k = 0; k < tensors[i].size(); ++k) {
        if (string_shapes[i][k]) as_strings(tensors[i][k], *string_shapes[i][k]);
      }
      feeds.push_back({names[i].data(), tensors[i].data(), static_cast<int32_t>(names[i].size())});
    }
  }

 private:
  static void as_strings(blade_tensor& tensor, const std::vector<int64_t>& shape) {
    if (shape.size() > BLADE_MAX_RANK) throw nb::value_error("an array of strings has more than 16 dims");
    tensor.dtype = BLADE_STRING;
    tensor.rank = static_cast<int32_t>(shape.size());
    for (size_t i = 0; i < shape.size(); ++i) tensor.dims[i] = shape[i];
  }
};

struct DeleteResult {
  void operator()(blade_optimize_result* r) const { blade_optimize_free(r); }
};

class OptimizeResult {
 public:
  explicit OptimizeResult(blade_optimize_result* result) : result_(result) {}
  nb::bytes model() const {
    size_t size = 0;
    const void* data = blade_optimize_model(result_.get(), &size);
    return nb::bytes(data, size);
  }
  std::string report() const { return blade_optimize_report(result_.get()); }
  std::string report_html() const { return blade_optimize_report_html(result_.get()); }
  void write(const std::string& path) const { check(blade_optimize_write(result_.get(), path.c_str())); }

 private:
  std::unique_ptr<blade_optimize_result, DeleteResult> result_;
};

// `progress(percent, phase) -> bool`: true asks to stop. Python signals are looked at between steps.
int32_t call_progress(void* arg, int32_t percent, const char* phase) {
  const nb::gil_scoped_acquire locked;
  try {
    return nb::cast<bool>((*static_cast<nb::callable*>(arg))(percent, phase)) ? 1 : 0;
  } catch (nb::python_error& error) {
    error.discard_as_unraisable("blade progress callback");
    return 0;
  }
}

OptimizeResult optimize(const std::string& path, nb::bytes model, const std::string& options,
                        const std::vector<std::vector<std::string>>& names,
                        const std::vector<std::vector<Array>>& arrays, const StringShapes& string_shapes,
                        nb::callable progress) {
  const Feeds feeds(names, arrays, string_shapes);
  blade_optimize_request request = {};
  request.struct_size = sizeof request;
  request.model_path = path.empty() ? nullptr : path.c_str();
  request.model_bytes = model.c_str();
  request.model_size = model.size();
  request.options_json = options.c_str();
  request.test_data = feeds.feeds.data();
  request.num_test_data = static_cast<int32_t>(feeds.feeds.size());
  request.progress = call_progress;
  request.progress_arg = &progress;
  blade_optimize_result* result = nullptr;
  blade_status status;
  {
    const WithoutGil unlocked;
    status = blade_optimize(&request, &result);
  }
  check(status);
  return OptimizeResult(result);
}

}  // namespace

NB_MODULE(_core, m) {
  nb::set_leak_warnings(false);  // what daemon threads hold while the interpreter ends is no fault of the user's
  m.def("version", &blade_version);
  m.def("engine_runs", &blade_engine_runs);
  m.def("fallback_runs", &blade_fallback_runs);
  m.def("option_table", [] {
    char* json = nullptr;
    check(blade_option_table(&json));
    return take_text(json);
  });
  m.def("placeholder_types", [](const std::string& path, nb::bytes model, const std::string& signature) {
    char* json = nullptr;
    check(blade_placeholder_types(path.empty() ? nullptr : path.c_str(), model.c_str(), model.size(), signature.c_str(),
                                  &json));
    return take_text(json);
  });
  m.def("doctor", [](const std::string& tensorflow_dir) {
    char* json = nullptr;
    check(blade_doctor(tensorflow_dir.empty() ? nullptr : tensorflow_dir.c_str(), &json));
    return take_text(json);
  });
  nb::class_<Engine>(m, "Engine")
      .def(nb::init<const nb::bytes&, const std::vector<std::string>&, int, bool, const std::string&,
                    const std::string&>())
      .def("describe", &Engine::describe)
      .def("output_keys", &Engine::output_keys)
      .def("built_in_types", &Engine::built_in_types)
      .def("find_inputs", &Engine::find_inputs)
      .def("find_output", &Engine::find_output)
      .def("check_unread_input", &Engine::check_unread_input)
      .def("run", &Engine::run)
      .def("explain", &Engine::explain)
      .def("profile", &Engine::profile)
      .def("device_times", &Engine::device_times);
  nb::class_<OptimizeResult>(m, "OptimizeResult")
      .def_prop_ro("model", &OptimizeResult::model)
      .def_prop_ro("report", &OptimizeResult::report)
      .def_prop_ro("report_html", &OptimizeResult::report_html)
      .def("write", &OptimizeResult::write);
  m.def("optimize", &optimize);
}
