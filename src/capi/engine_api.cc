// blade.h: loading and running engines.
#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <span>
#include <utility>
#include <vector>

#include "base/log.h"
#include "capi/built_in_value.h"
#include "capi/handles.h"
#include "optimizer/load_engine.h"

namespace {

using blade::Status;
using blade::capi::check_handle;
using blade::capi::describe;
using blade::capi::guarded;
using blade::tensorflow::node_name;
namespace engine = blade::engine;
namespace ir = blade::ir;

std::atomic<uint64_t> engine_runs{0};
std::atomic<uint64_t> fallback_runs{0};

// Old callers have shorter structs: fields past struct_size keep their defaults.
blade::Result<engine::EngineOptions> to_options(const blade_engine_options* options) {
  engine::EngineOptions result;
  result.device_as_decided = true;
  if (options == nullptr) return result;
  blade_engine_options known = {};
  __builtin_memcpy(&known, options, std::min(options->struct_size, sizeof known));
  result.num_threads = known.num_threads;
  if (known.max_cached_plans > 0) result.max_cached_plans = known.max_cached_plans;
  result.reference_only = known.use_reference != 0;
  if (known.device_memory_limit < 0) {
    return blade::invalid_argument("device_memory_limit is " + std::to_string(known.device_memory_limit) +
                                   "; expected bytes, or 0 for no limit");
  }
  result.device_memory_limit = static_cast<size_t>(known.device_memory_limit);
  if (known.device == nullptr) return result;
  result.device_as_decided = false;
  BLADE_ASSIGN_OR_RETURN(result.device, engine::device_by_name(known.device));
  return result;
}

// Writes into the caller's blade_tensors and checks their capacity.
class CallerMemory : public engine::OutputSink {
 public:
  CallerMemory(blade_tensor* outputs, int32_t count) : outputs_(outputs), count_(count) {}
  void* allocate(int index, ir::DType dtype, const ir::Dims& dims) override {
    if (outputs_ == nullptr || index >= count_) {
      error_ = "the model has an output " + std::to_string(index) + ", the caller gave memory for " +
               std::to_string(outputs_ != nullptr ? count_ : 0) + " outputs; ask blade_engine_num_outputs";
      return nullptr;
    }
    blade_tensor& out = outputs_[index];
    const size_t capacity = out.bytes;
    if (const Status status = describe(dtype, dims, &out); !status.ok()) {
      error_ = status.message();
      return nullptr;
    }
    if (out.bytes <= capacity && out.data != nullptr) return out.data;
    error_ = "output " + std::to_string(index) + " needs " + std::to_string(out.bytes) + " bytes, the caller gave " +
             std::to_string(out.data != nullptr ? capacity : 0) + "; ask blade_engine_prepare for the sizes";
    out.bytes = capacity;  // still what the caller owns: the same struct may be used again
    return nullptr;
  }
  const std::string& error() const { return error_; }

 private:
  blade_tensor* outputs_;
  int32_t count_;
  std::string error_;
};

class CallbackMemory : public engine::OutputSink {
 public:
  CallbackMemory(blade_allocate_output allocate, void* arg) : allocate_(allocate), arg_(arg) {}
  void* allocate(int index, ir::DType dtype, const ir::Dims& dims) override {
    blade_tensor description = {};
    if (!describe(dtype, dims, &description).ok()) return nullptr;
    return allocate_(arg_, index, &description);
  }

 private:
  blade_allocate_output allocate_;
  void* arg_;
};

Status run(blade_engine* handle, const blade_tensor* inputs, int32_t num_inputs, engine::OutputSink& sink) {
  BLADE_RETURN_IF_ERROR(check_handle(handle, "engine"));
  BLADE_ASSIGN_OR_RETURN(const auto refs, blade::capi::to_tensor_refs(inputs, num_inputs));
  BLADE_RETURN_IF_ERROR(handle->engine->run(refs, sink));
  engine_runs.fetch_add(1, std::memory_order_relaxed);
  return {};
}

// dims of -1 and a rank of -1 stand for what is not known; bytes are 0.
void describe_unknown(ir::DType dtype, const ir::Shape& shape, blade_tensor* out) {
  *out = {};
  out->dtype = static_cast<blade_dtype>(dtype);
  out->rank = shape.has_rank() ? std::min(shape.rank(), BLADE_MAX_RANK) : -1;
  for (int i = 0; i < out->rank; ++i) out->dims[i] = shape.dim(i).is_known() ? shape.dim(i).value() : -1;
}

const char* info(const std::vector<engine::TensorInfo>& infos, int32_t index, blade_tensor* out) {
  if (index < 0 || index >= static_cast<int32_t>(infos.size())) return nullptr;
  const engine::TensorInfo& one = infos[index];
  if (out != nullptr) {
    describe_unknown(one.dtype, one.shape, out);
  }
  return one.name.c_str();
}

// NULL where there is none.
const char* key_at(const std::vector<std::string>& keys, int32_t index) {
  if (index < 0 || index >= static_cast<int32_t>(keys.size())) return nullptr;
  const std::string& key = keys[static_cast<size_t>(index)];
  return key.empty() ? nullptr : key.c_str();
}

}  // namespace

const char* blade_version(void) { return BLADE_VERSION; }

void blade_free(void* memory) { std::free(memory); }

blade_status blade_engine_load(const char* path, const blade_engine_options* options, blade_engine** out) {
  return guarded([&]() -> Status {
    BLADE_RETURN_IF_ERROR(check_handle(path, "path"));
    BLADE_RETURN_IF_ERROR(check_handle(out, "engine"));
    BLADE_ASSIGN_OR_RETURN(const auto wanted, blade::capi::to_wanted(options));
    BLADE_ASSIGN_OR_RETURN(const engine::EngineOptions engine_options, to_options(options));
    BLADE_ASSIGN_OR_RETURN(auto loaded, blade::optimizer::load_engine(path, wanted, engine_options));
    *out = new blade_engine{std::move(loaded.engine), std::move(loaded.input_keys), std::move(loaded.output_keys),
                            std::move(loaded.unread), std::move(loaded.names)};
    return {};
  });
}

blade_status blade_engine_load_memory(const void* bytes, size_t size, void (*release)(void*), void* release_arg,
                                      const blade_engine_options* options, blade_engine** out) {
  const blade_bytes piece = {bytes, size};
  return blade_engine_load_pieces(&piece, 1, release, release_arg, options, out);
}

blade_status blade_engine_load_pieces(const blade_bytes* pieces, int32_t num_pieces, void (*release)(void*),
                                      void* release_arg, const blade_engine_options* options, blade_engine** out) {
  return guarded([&]() -> Status {
    const auto free_bytes = [release, release_arg](const void*) {
      if (release != nullptr) release(release_arg);
    };
    const std::shared_ptr<const void> owner(pieces, free_bytes);
    BLADE_RETURN_IF_ERROR(check_handle(pieces, "pieces"));
    BLADE_RETURN_IF_ERROR(check_handle(out, "engine"));
    if (num_pieces < 1)
      return blade::invalid_argument("num_pieces is " + std::to_string(num_pieces) + "; expected 1 or more");
    std::vector<std::span<const std::byte>> spans;
    for (const blade_bytes& piece : std::span(pieces, static_cast<size_t>(num_pieces))) {
      BLADE_RETURN_IF_ERROR(check_handle(piece.data, "bytes"));
      spans.emplace_back(static_cast<const std::byte*>(piece.data), piece.size);
    }
    BLADE_ASSIGN_OR_RETURN(const engine::EngineOptions engine_options, to_options(options));
    BLADE_ASSIGN_OR_RETURN(auto loaded, engine::Engine::load(blade::Pieces(std::move(spans)), owner, engine_options));
    *out = new blade_engine{std::move(loaded), {}, {}, {}, {}};
    return {};
  });
}

void blade_engine_free(blade_engine* engine) { delete engine; }

int32_t blade_engine_num_inputs(const blade_engine* engine) {
  return engine != nullptr ? static_cast<int32_t>(engine->engine->inputs().size()) : 0;
}
int32_t blade_engine_num_outputs(const blade_engine* engine) {
  return engine != nullptr ? static_cast<int32_t>(engine->engine->outputs().size()) : 0;
}
const char* blade_engine_input(const blade_engine* engine, int32_t index, blade_tensor* description) {
  return engine != nullptr ? info(engine->engine->inputs(), index, description) : nullptr;
}
const char* blade_engine_input_key(const blade_engine* engine, int32_t index) {
  return engine != nullptr ? key_at(engine->input_keys, index) : nullptr;
}
const char* blade_engine_output_key(const blade_engine* engine, int32_t index) {
  return engine != nullptr ? key_at(engine->output_keys, index) : nullptr;
}
blade_status blade_engine_find_inputs(const blade_engine* engine, const char* const* names, int32_t count,
                                      int32_t* indices) {
  return guarded([&]() -> Status {
    BLADE_RETURN_IF_ERROR(check_handle(engine, "engine"));
    if (count <= 0) return {};
    BLADE_RETURN_IF_ERROR(check_handle(names, "names"));
    BLADE_RETURN_IF_ERROR(check_handle(indices, "indices"));
    std::vector<std::string> given;
    for (const char* name : std::span(names, static_cast<size_t>(count))) {
      BLADE_RETURN_IF_ERROR(check_handle(name, "a name"));
      given.emplace_back(name);
    }
    BLADE_ASSIGN_OR_RETURN(const std::vector<std::string> tensors, engine->names.inputs(given));
    std::vector<std::string> inputs;
    for (const engine::TensorInfo& input : engine->engine->inputs()) inputs.push_back(node_name(input.name));
    std::vector<std::string> all = inputs;
    for (const auto& placeholder : engine->unread) all.push_back(placeholder.name);
    for (size_t i = 0; i < tensors.size(); ++i) {
      const auto found = std::find(all.begin(), all.end(), node_name(tensors[i]));
      if (found == all.end()) return blade::tensorflow::no_such_input(given[i], inputs);
      indices[i] = static_cast<int32_t>(found - all.begin());
    }
    return {};
  });
}
const char* blade_engine_unread_input(const blade_engine* engine, int32_t index, blade_tensor* value) {
  if (engine == nullptr || index < 0 || index >= static_cast<int32_t>(engine->unread.size())) return nullptr;
  const auto& [name, tensor] = engine->unread[static_cast<size_t>(index)];
  if (value != nullptr) {
    *value = {};
    if (tensor != nullptr && describe(tensor->dtype, tensor->dims, value).ok()) {
      value->data = const_cast<std::byte*>(tensor->data);  // the struct is the one of outputs, too; see blade.h
    }
  }
  return name.c_str();
}
blade_status blade_engine_check_unread_input(const blade_engine* engine, int32_t index, const blade_tensor* value) {
  return guarded([&]() -> Status {
    BLADE_RETURN_IF_ERROR(check_handle(engine, "engine"));
    BLADE_RETURN_IF_ERROR(check_handle(value, "value"));
    if (index < 0 || index >= static_cast<int32_t>(engine->unread.size()))
      return blade::invalid_argument("there is no unread input " + std::to_string(index));
    BLADE_ASSIGN_OR_RETURN(const engine::TensorRef given, blade::capi::to_tensor_ref(*value, 0));
    return blade::capi::check_built_in_value(engine->unread[static_cast<size_t>(index)], given);
  });
}
const char* blade_engine_output(const blade_engine* engine, int32_t index, blade_tensor* description) {
  return engine != nullptr ? info(engine->engine->outputs(), index, description) : nullptr;
}

int32_t blade_engine_find_output(const blade_engine* engine, const char* name) {
  if (engine == nullptr || name == nullptr) return -1;
  const std::vector<std::string>& keys = engine->output_keys;
  if (const auto key = std::find(keys.begin(), keys.end(), name); key != keys.end())
    return static_cast<int32_t>(key - keys.begin());
  const std::string node = node_name(engine->names.output(name));
  const auto& infos = engine->engine->outputs();
  const auto found =
      std::find_if(infos.begin(), infos.end(), [&](const auto& info) { return node_name(info.name) == node; });
  return found == infos.end() ? -1 : static_cast<int32_t>(found - infos.begin());
}

blade_status blade_engine_prepare(blade_engine* handle, const blade_tensor* inputs, int32_t num_inputs,
                                  blade_tensor* outputs, int32_t num_outputs) {
  bool in_profile = true;
  const blade_status status = guarded([&]() -> Status {
    BLADE_RETURN_IF_ERROR(check_handle(handle, "engine"));
    BLADE_ASSIGN_OR_RETURN(const auto refs, blade::capi::to_tensor_refs(inputs, num_inputs));
    std::vector<ir::Dims> dims;
    for (const auto& ref : refs) dims.push_back(ref.dims);
    in_profile = handle->engine->in_profile(dims);
    if (!in_profile) return blade::invalid_argument(handle->engine->outside_profile(dims));
    BLADE_ASSIGN_OR_RETURN(const auto plan, handle->engine->plan_for(dims));
    for (size_t i = 0; i < refs.size(); ++i) {
      if (plan->inputs[i].dtype != refs[i].dtype) {
        return blade::invalid_argument("the input '" + handle->engine->inputs()[i].name + "' has dtype " +
                                       ir::dtype_name(refs[i].dtype) + ", expected " +
                                       ir::dtype_name(plan->inputs[i].dtype) + ": convert it");
      }
    }
    handle->engine->expect_run();
    if (outputs == nullptr) return {};
    BLADE_ASSIGN_OR_RETURN(const auto shapes, handle->engine->output_shapes(dims));
    for (int32_t i = 0; i < num_outputs && i < static_cast<int32_t>(shapes.size()); ++i) {
      const ir::DType dtype = handle->engine->outputs()[i].dtype;
      if (const auto known = shapes[i].static_dims()) {
        BLADE_RETURN_IF_ERROR(describe(dtype, *known, &outputs[i]));
      } else {
        describe_unknown(dtype, shapes[i], &outputs[i]);
      }
    }
    return {};
  });
  return in_profile ? status : BLADE_OUT_OF_PROFILE;
}

blade_status blade_engine_run(blade_engine* engine, const blade_tensor* inputs, int32_t num_inputs,
                              blade_tensor* outputs, int32_t num_outputs) {
  return guarded([&]() -> Status {
    CallerMemory memory(outputs, num_outputs);
    Status status = run(engine, inputs, num_inputs, memory);
    if (!status.ok() && !memory.error().empty()) return blade::invalid_argument(memory.error());
    return status;
  });
}

blade_status blade_engine_run_with(blade_engine* engine, const blade_tensor* inputs, int32_t num_inputs,
                                   blade_allocate_output allocate, void* arg) {
  return guarded([&]() -> Status {
    BLADE_RETURN_IF_ERROR(check_handle(reinterpret_cast<const void*>(allocate), "allocate"));
    CallbackMemory memory(allocate, arg);
    return run(engine, inputs, num_inputs, memory);
  });
}

blade_status blade_engine_run_on_device(blade_engine* handle, const blade_tensor* inputs, int32_t num_inputs,
                                        blade_tensor* outputs, int32_t num_outputs, void* stream) {
  return guarded([&]() -> Status {
    BLADE_RETURN_IF_ERROR(check_handle(handle, "engine"));
    BLADE_ASSIGN_OR_RETURN(const auto refs, blade::capi::to_tensor_refs(inputs, num_inputs));
    CallerMemory memory(outputs, num_outputs);
    const Status status = handle->engine->run_on_device(refs, memory, stream);
    if (!status.ok() && !memory.error().empty()) return blade::invalid_argument(memory.error());
    if (status.ok()) engine_runs.fetch_add(1, std::memory_order_relaxed);
    return status;
  });
}

void blade_count_fallback(const char* why) {
  fallback_runs.fetch_add(1, std::memory_order_relaxed);
  if (why != nullptr) blade::log_warning(std::string("the original graph runs instead of the engine: ") + why);
}

uint64_t blade_engine_runs(void) { return engine_runs.load(std::memory_order_relaxed); }
uint64_t blade_fallback_runs(void) { return fallback_runs.load(std::memory_order_relaxed); }
