// blade.h: texts about engines, models and the machine.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "capi/handles.h"
#include "optimizer/describe.h"
#include "optimizer/option_table.h"

using blade::Status;
using blade::capi::check_handle;
using blade::capi::copy_text;
using blade::capi::guarded;

namespace {

Status check_text(char** json) { return check_handle(json, "json"); }

nlohmann::ordered_json profile_rows(const std::vector<blade::engine::StepTime>& steps) {
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  for (const auto& step : steps) {
    const double seconds = step.median_us * 1e-6;
    rows.push_back({{"node", step.node},
                    {"op", step.op},
                    {"kernel", step.kernel},
                    {"median_us", step.median_us},
                    {"gflops", seconds > 0 ? step.flops / seconds * 1e-9 : 0},
                    {"gbytes", seconds > 0 ? step.bytes / seconds * 1e-9 : 0},
                    {"choice", step.choice}});
    if (!step.inner.empty()) rows.back()["steps"] = profile_rows(step.inner);
    if (!step.tuned) continue;
    rows.back()["static_choice"] = step.tuned->static_choice;
    rows.back()["tuned_gain"] = step.tuned->us > 0 ? step.tuned->static_us / step.tuned->us : 1.0;
  }
  return rows;
}

}  // namespace

blade_status blade_engine_explain(blade_engine* engine, const blade_tensor* inputs, int32_t num_inputs, char** json) {
  return guarded([&]() -> Status {
    BLADE_RETURN_IF_ERROR(check_text(json));
    BLADE_RETURN_IF_ERROR(check_handle(engine, "engine"));
    std::vector<blade::ir::Dims> dims;
    if (inputs != nullptr) {
      BLADE_ASSIGN_OR_RETURN(const auto refs, blade::capi::to_tensor_refs(inputs, num_inputs));
      for (const auto& ref : refs) dims.push_back(ref.dims);
    }
    BLADE_ASSIGN_OR_RETURN(const std::string text,
                           blade::optimizer::explain_engine(*engine->engine, inputs != nullptr ? &dims : nullptr));
    return copy_text(text, json);
  });
}

blade_status blade_engine_profile(blade_engine* engine, const blade_tensor* inputs, int32_t num_inputs,
                                  int32_t repetitions, char** json) {
  return guarded([&]() -> Status {
    BLADE_RETURN_IF_ERROR(check_text(json));
    BLADE_RETURN_IF_ERROR(check_handle(engine, "engine"));
    BLADE_ASSIGN_OR_RETURN(const auto refs, blade::capi::to_tensor_refs(inputs, num_inputs));
    std::vector<blade::engine::StepTime> steps;
    BLADE_RETURN_IF_ERROR(engine->engine->profile(refs, repetitions, &steps));
    return copy_text(profile_rows(steps).dump(), json);
  });
}

blade_status blade_engine_device_times(blade_engine* engine, const blade_tensor* inputs, int32_t num_inputs,
                                       int32_t repetitions, double* microseconds) {
  return guarded([&]() -> Status {
    BLADE_RETURN_IF_ERROR(check_handle(engine, "engine"));
    BLADE_RETURN_IF_ERROR(check_handle(microseconds, "microseconds"));
    BLADE_ASSIGN_OR_RETURN(const auto refs, blade::capi::to_tensor_refs(inputs, num_inputs));
    std::vector<double> times;
    BLADE_RETURN_IF_ERROR(engine->engine->device_times(refs, repetitions, &times));
    std::copy(times.begin(), times.end(), microseconds);
    return {};
  });
}

blade_status blade_inspect(const char* path, const blade_engine_options* options, char** json) {
  return guarded([&]() -> Status {
    BLADE_RETURN_IF_ERROR(check_text(json));
    BLADE_RETURN_IF_ERROR(check_handle(path, "path"));
    BLADE_ASSIGN_OR_RETURN(const auto wanted, blade::capi::to_wanted(options));
    BLADE_ASSIGN_OR_RETURN(const std::string text, blade::optimizer::inspect_model(path, wanted));
    return copy_text(text, json);
  });
}

blade_status blade_placeholder_types(const char* path, const void* bytes, size_t size, const char* signature,
                                     char** json) {
  return guarded([&]() -> Status {
    BLADE_RETURN_IF_ERROR(check_text(json));
    if (path == nullptr) BLADE_RETURN_IF_ERROR(check_handle(bytes, "bytes"));
    BLADE_ASSIGN_OR_RETURN(
        const std::string text,
        blade::optimizer::placeholder_types(path != nullptr ? path : "", {static_cast<const char*>(bytes), size},
                                            signature != nullptr ? signature : ""));
    return copy_text(text, json);
  });
}

blade_status blade_op_table(char** json) {
  return guarded([&]() -> Status {
    BLADE_RETURN_IF_ERROR(check_text(json));
    return copy_text(blade::optimizer::op_table(), json);
  });
}

blade_status blade_option_table(char** json) {
  return guarded([&]() -> Status {
    BLADE_RETURN_IF_ERROR(check_text(json));
    return copy_text(blade::optimizer::option_table_json(), json);
  });
}

blade_status blade_doctor(const char* tensorflow_dir, char** json) {
  return guarded([&]() -> Status {
    BLADE_RETURN_IF_ERROR(check_text(json));
    return copy_text(blade::optimizer::doctor(tensorflow_dir != nullptr ? tensorflow_dir : ""), json);
  });
}
