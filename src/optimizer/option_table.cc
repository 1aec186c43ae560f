// The options and what is checked about them.
#include "optimizer/option_table.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <string_view>

#include "frontends/tensorflow/node_index.h"

namespace blade::optimizer {
namespace {

using json = nlohmann::ordered_json;
using enum OptionKind;

constexpr char kShapesDoc[] = "shapes that the model is prepared for: min, opts and max, see below";

constexpr OptionRow kRows[] = {
    {"optimization_level", kText, R"("o1")", "'o1' (lossless) or 'o2' (and int8, which is not available yet)"},
    {"device_type", kText, R"("cpu")", "'cpu', 'gpu' or 'auto' (a GPU if one is usable, else the CPU)"},
    {"inputs", kList, "[]", "node or tensor names; inferred when empty"},
    {"outputs", kList, "[]", "node or tensor names; inferred when empty"},
    {"input_shapes", kList, "[]", "groups of likely shapes, one an input: [['1*224*224*3']] or [{'x': '1*224*224*3'}]"},
    {"input_ranges", kList, "[]", "value ranges of generated data, one an input: [['[0,255]']]"},
    {"custom_ops", kList, "[]", "paths of TensorFlow op libraries that the model needs"},
    {"calib_data", kInteger, "0", "how many feeds of calibration data there are", "", "int8 is not available yet"},
    {"verbose", kBool, "false", "log what each step did"},
    {"signature", kText, R"("")", "which of a SavedModel's signatures; 'serving_default', or the only one, when empty"},
    {"output", kText, R"("")", "where the model will be written: whether it can be is then checked before any work"},
    {"also_written", kList, "[]", "paths of other files that will be written, checked like 'output'"},
    {"also_read", kList, "[]", "paths of files that are read beside the model: nothing is written over them"},
    {"original_path", kText, R"("")", "of the model, where the one given is a frozen copy of it"},
    {"model_name", kText, R"("")", "how the report calls the model"},
    {"user_config", kText, R"("")", "the config as the report shows it"},
    {"tensorflow_dir", kText, R"("")", "where libtensorflow_cc.so.2 lies"},
    {"op_library", kText, R"("")", "libblade_tf.so; beside libblade.so when empty"},
    {"config.dynamic_tuning_shapes", kShapes, "{}", kShapesDoc},
    {"config.accuracy.rtol", kNumber, "0.001",
     "largest difference allowed, relative to the output's largest value; 10 times that in fp16, 20 times in bf16 that "
     "was asked for"},
    {"config.accuracy.atol", kNumber, "1e-06", "largest absolute difference allowed; both are added"},
    {"config.accuracy.metric", kText, R"("max_relative")", "'max_relative', or 'max_absolute' (rtol is not used)"},
    {"config.cpu_config.precision", kText, R"("auto")",
     "'fp32', 'bf16' (where the processor has it and the answers hold) or 'auto' (bf16 where it is also faster and the "
     "answers hold within accuracy.rtol itself)",
     "cpu"},
    {"config.cpu_config.num_threads", kInteger, "0", "0 (as many as the process may use) to 1024"},
    {"config.gpu_config.precision", kText, R"("auto")",
     "'fp32', 'fp16', 'bf16' (where the answers hold) or 'auto' (bf16 for a model most of whose products are "
     "of bfloat16, else fp16, where the answers hold and it is faster)",
     "gpu"},
    {"config.gpu_config.disable_fp16_accuracy_check", kBool, "false", "keep fp16 or bf16 without checking the answers",
     "gpu"},
    {"config.gpu_config.disable_fp16_perf_check", kBool, "false",
     "keep fp16 or bf16 without checking that it is faster", "gpu"},
    {"config.gpu_config.aicompiler.enable", kBool, "true",
     "compiled kernels for elementwise chains, where NVRTC is found and tuning finds them faster", "gpu"},
    {"config.gpu_config.tensorrt.enable", kBool, "true",
     "accepted for scripts that set it: Blade's own engine takes every region", "",
     "TensorRT is not used, Blade's own engine takes every region"},
    {"config.gpu_config.tensorrt.dynamic_tuning_shapes", kShapes, "{}",
     "another place for dynamic_tuning_shapes, for any device; set one of the two"},
    {"config.tuning.time_limit_s", kNumber, "60", "bound on the time spent measuring, in seconds"},
    {"config.tuning.disable_perf_check", kBool, "false",
     "keep what holds without checking that it is faster, where a busy machine cannot tell"},
    {"config.tuning.cache_dir", kText, R"("")",
     "where tuning keeps measured choices and compiled kernels: '' for the user's cache folder, 'off' to keep none; "
     "engines loaded later keep kernels in the user's"},
    {"config.quantization.enable", kBool, "false", "int8, at level o2", "", "int8 is not available yet"},
};

const char* kind_name(OptionKind kind) {
  switch (kind) {
    case kBool:
      return "bool";
    case kInteger:
      return "integer";
    case kNumber:
      return "number";
    case kText:
      return "text";
    case kShapes:
      return "shapes";
    case kList:
      return "list";
  }
  return "";
}

// Shapes and lists are looked at where they are parsed, which says more about them.
bool has_kind(const json& value, OptionKind kind) {
  switch (kind) {
    case kBool:
      return value.is_boolean();
    case kInteger:
      return value.is_number_integer() && std::fabs(value.get<double>()) < 2147483648.0;
    case kNumber:
      return value.is_number();
    case kText:
      return value.is_string();
    case kShapes:
    case kList:
      return true;
  }
  return false;
}

const char* expectation(OptionKind kind) {
  switch (kind) {
    case kBool:
      return "true or false";
    case kInteger:
      return "an integer";
    case kNumber:
      return "a number";
    case kText:
      return "a text";
    case kShapes:
    case kList:
      break;
  }
  return "";
}

const OptionRow* find_row(const std::string& name) {
  const auto found =
      std::find_if(std::begin(kRows), std::end(kRows), [&](const auto& row) { return row.name == name; });
  return found != std::end(kRows) ? found : nullptr;
}

// The names that may stand in the object at `prefix` ("" or "config.accuracy.").
std::vector<std::string> names_in(const std::string& prefix) {
  std::vector<std::string> names;
  for (const OptionRow& row : kRows) {
    const std::string_view name = row.name;
    if (!name.starts_with(prefix)) continue;
    const std::string_view rest = name.substr(prefix.size());
    const std::string first(rest.substr(0, rest.find('.')));
    if (std::find(names.begin(), names.end(), first) == names.end()) names.push_back(first);
  }
  return names;
}

std::string quoted(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "'" : ", '") + name + "'";
  return text;
}

Status unknown(const std::string& prefix, const std::string& key) {
  const std::vector<std::string> names = names_in(prefix);
  const std::vector<std::string> close = tensorflow::closest_names(key, names);
  const std::string where = prefix.empty() ? "the options have" : prefix.substr(0, prefix.size() - 1) + " has";
  return invalid_argument(where + " no field '" + key + "'; " +
                          (close.empty() ? "its fields are " + quoted(names) : "did you mean '" + close[0] + "'?"));
}

Status check_object(const json& object, const std::string& prefix) {
  for (const auto& [key, value] : object.items()) {
    const std::string name = prefix + key;
    if (key.find('.') != std::string::npos) {
      return invalid_argument("'" + key + "' is no field: nest it, as in {\"" + key.substr(0, key.find('.')) +
                              "\": {\"" + key.substr(key.find('.') + 1) + "\": ...}}");
    }
    if (const OptionRow* row = find_row(name)) {
      if (value.is_null() || has_kind(value, row->kind)) continue;
      return invalid_argument(name + " is " + value.dump() + "; expected " + expectation(row->kind));
    }
    if (names_in(name + ".").empty()) return unknown(prefix, key);
    if (value.is_null()) continue;
    if (!value.is_object()) {
      return invalid_argument(name + " is " + value.dump() + "; expected an object with the fields " +
                              quoted(names_in(name + ".")));
    }
    BLADE_RETURN_IF_ERROR(check_object(value, name + "."));
  }
  return {};
}

const json* value_at(const json& root, std::string_view name) {
  const json* at = &root;
  while (!name.empty()) {
    const size_t dot = std::min(name.find('.'), name.size());
    const std::string key(name.substr(0, dot));
    if (!at->is_object() || !at->contains(key)) return nullptr;
    at = &(*at)[key];
    name.remove_prefix(std::min(dot + 1, name.size()));
  }
  return at->is_null() ? nullptr : at;
}

}  // namespace

std::span<const OptionRow> option_table() { return kRows; }

Status check_options(const json& root) { return check_object(root, ""); }

std::vector<std::string> changed_options(const json& root) {
  std::vector<std::string> changed;
  for (const OptionRow& row : kRows) {
    const json* value = value_at(root, row.name);
    if (value != nullptr && *value != json::parse(row.default_value)) changed.emplace_back(row.name);
  }
  return changed;
}

std::vector<std::string> without_effect(const std::vector<std::string>& changed, const std::string& device) {
  std::vector<std::string> sentences;
  for (const std::string& name : changed) {
    const OptionRow* row = find_row(name);
    if (row->no_effect[0] != '\0') {
      sentences.push_back(name + " has no effect: " + row->no_effect);
    } else if (row->device[0] != '\0' && row->device != device) {
      sentences.push_back(name + " has no effect on device_type '" + device + "'");
    }
  }
  return sentences;
}

std::string option_table_json() {
  json rows = json::array();
  for (const OptionRow& row : kRows) {
    rows.push_back({{"name", row.name},
                    {"kind", kind_name(row.kind)},
                    {"default", json::parse(row.default_value)},
                    {"doc", row.doc},
                    {"device", row.device}});
  }
  return rows.dump();
}

}  // namespace blade::optimizer
