// Parses and checks the options of optimize().
#include "optimizer/options.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "engine/thread_count.h"
#include "ir/plain_text.h"
#include "optimizer/option_table.h"
#include "optimizer/test_data.h"

namespace blade::optimizer {
namespace {

using json = nlohmann::ordered_json;

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text;
}

std::string_view trim(std::string_view text) {
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.front()))) text.remove_prefix(1);
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back()))) text.remove_suffix(1);
  return text;
}

template <class T>
bool parse_number(std::string_view text, T& value) {
  text = trim(text);
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size();
}

// The value at a dotted path of nested objects, or null.
const json* find(const json& root, std::initializer_list<const char*> path) {
  const json* at = &root;
  for (const char* key : path) {
    if (!at->is_object() || !at->contains(key)) return nullptr;
    at = &(*at)[key];
  }
  return at->is_null() ? nullptr : at;
}

Result<ir::Dims> dims_of(const json& value, const std::string& where) {
  ir::Dims dims;
  for (const json& dim : value) {
    if (!dim.is_number_integer() || dim.get<int64_t>() < 0) {
      return invalid_argument(where + " has a dim " + dim.dump() + "; dims are integers of at least 0");
    }
    dims.push_back(dim.get<int64_t>());
  }
  return dims;
}

bool is_flat_list(const json& value) {
  return value.is_array() && std::none_of(value.begin(), value.end(), [](const json& v) { return v.is_array(); });
}

// [1,224,224,3] (one input), [[1,3,224,224],[1,50]] (placeholder order) or {"input:0": [1,224,224,3]}.
Result<NamedShapes> named_shapes(const json& value, const std::string& where) {
  NamedShapes shapes;
  if (is_flat_list(value)) {
    BLADE_ASSIGN_OR_RETURN(ir::Dims dims, dims_of(value, where));
    shapes.by_order.push_back(std::move(dims));
    return shapes;
  }
  if (value.is_array()) {
    for (const json& one : value) {
      if (!is_flat_list(one)) return invalid_argument(where + " holds " + one.dump() + "; a list of dims was expected");
      BLADE_ASSIGN_OR_RETURN(ir::Dims dims, dims_of(one, where));
      shapes.by_order.push_back(std::move(dims));
    }
    return shapes;
  }
  if (value.is_object()) {
    for (const auto& [name, one] : value.items()) {
      if (!is_flat_list(one)) {
        return invalid_argument(where + "['" + name + "'] is " + one.dump() + "; a list of dims was expected");
      }
      BLADE_ASSIGN_OR_RETURN(ir::Dims dims, dims_of(one, where + "['" + name + "']"));
      shapes.by_name[name] = std::move(dims);
    }
    return shapes;
  }
  return invalid_argument(where + " is " + value.dump() +
                          "; expected a list of dims, a list of such lists (one an input) or a dict by input name");
}

Result<TuningShapes> tuning_shapes(const json& value, const std::string& field) {
  TuningShapes shapes;
  if (value.is_null() || (value.is_object() && value.empty())) return shapes;
  if (!value.is_object())
    return invalid_argument(field + " is " + value.dump() + "; expected a dict with min, opts and max");
  for (const auto& [key, unused] : value.items()) {
    if (key != "min" && key != "max" && key != "opts") {
      return invalid_argument(field + " has the key '" + key + "'; only min, opts and max are known");
    }
  }
  for (const char* key : {"min", "max", "opts"}) {
    if (!value.contains(key)) return invalid_argument(field + " lacks '" + key + "'; min, opts and max are all needed");
  }
  BLADE_ASSIGN_OR_RETURN(shapes.min, named_shapes(value["min"], field + "['min']"));
  BLADE_ASSIGN_OR_RETURN(shapes.max, named_shapes(value["max"], field + "['max']"));
  if (!value["opts"].is_array() || value["opts"].empty()) {
    return invalid_argument(field + "['opts'] is " + value["opts"].dump() + "; expected a list of shape groups");
  }
  for (size_t i = 0; i < value["opts"].size(); ++i) {
    BLADE_ASSIGN_OR_RETURN(NamedShapes group,
                           named_shapes(value["opts"][i], field + "['opts'][" + std::to_string(i) + "]"));
    shapes.opts.push_back(std::move(group));
  }
  return shapes;
}

// dynamic_tuning_shapes may stand at either place; they may not disagree.
Result<TuningShapes> find_tuning_shapes(const json& config) {
  const json* general = find(config, {"dynamic_tuning_shapes"});
  const json* tensorrt = find(config, {"gpu_config", "tensorrt", "dynamic_tuning_shapes"});
  const bool has_general = general != nullptr && !general->empty();
  const bool has_tensorrt = tensorrt != nullptr && !tensorrt->empty();
  if (has_general && has_tensorrt && *general != *tensorrt) {
    return invalid_argument(
        "config.dynamic_tuning_shapes and config.gpu_config.tensorrt.dynamic_tuning_shapes are both set and differ; "
        "set one");
  }
  if (has_general) return tuning_shapes(*general, "config.dynamic_tuning_shapes");
  if (has_tensorrt) return tuning_shapes(*tensorrt, "config.gpu_config.tensorrt.dynamic_tuning_shapes");
  return TuningShapes{};
}

Status parse_strings(const json& root, const char* key, std::vector<std::string>& out) {
  const json* value = find(root, {key});
  if (value == nullptr) return {};
  if (!value->is_array())
    return invalid_argument(std::string(key) + " is " + value->dump() + "; expected a list of names");
  for (const json& one : *value) {
    if (!one.is_string()) return invalid_argument(std::string(key) + " holds " + one.dump() + "; expected names");
    out.push_back(one.get<std::string>());
  }
  return {};
}

// A list of groups, in which each string is handed on with its name, which is null in lists.
template <class Begin, class Add>
Status parse_groups(const json& root, const char* key, bool may_name, Begin begin, Add add) {
  const json* value = find(root, {key});
  if (value == nullptr) return {};
  const std::string expected = std::string("; expected a list of groups, each a list of strings, one an input") +
                               (may_name ? ", or a dict of strings by input name" : "");
  if (!value->is_array()) return invalid_argument(std::string(key) + " is " + value->dump() + expected);
  for (const json& group : *value) {
    if (!group.is_array() && !(may_name && group.is_object()))
      return invalid_argument(std::string(key) + " holds " + group.dump() + expected);
    begin();
    for (const auto& [name, one] : group.items()) {
      if (!one.is_string()) return invalid_argument(std::string(key) + " holds " + one.dump() + expected);
      const Status added = add(group.is_object() ? &name : nullptr, one.template get<std::string>());
      if (!added.ok()) return added.with_context(key);
    }
  }
  return {};
}

Status parse_input_shapes(const json& root, std::vector<NamedShapes>& groups) {
  const auto add = [&](const std::string* name, const std::string& text) -> Status {
    BLADE_ASSIGN_OR_RETURN(ir::Dims dims, parse_shape(text));
    if (name == nullptr) {
      groups.back().by_order.push_back(std::move(dims));
    } else {
      groups.back().by_name[*name] = std::move(dims);
    }
    return {};
  };
  return parse_groups(
      root, "input_shapes", /*may_name=*/true, [&] { groups.emplace_back(); }, add);
}

Status parse_input_ranges(const json& root, std::vector<std::vector<std::pair<double, double>>>& groups) {
  const auto add = [&](const std::string*, const std::string& text) -> Status {
    BLADE_ASSIGN_OR_RETURN(const auto range, parse_range(text));
    groups.back().push_back(range);
    return {};
  };
  return parse_groups(
      root, "input_ranges", /*may_name=*/false, [&] { groups.emplace_back(); }, add);
}

std::string number_text(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%g", value);
  return text;
}

Status check_not_negative(double value, const char* field) {
  if (value >= 0) return {};
  return invalid_argument(std::string(field) + " is " + number_text(value) + "; expected a number of at least 0");
}

Status parse_config(const json& config, OptimizeOptions& options) {
  BLADE_ASSIGN_OR_RETURN(options.tuning_shapes, find_tuning_shapes(config));
  if (const json* v = find(config, {"cpu_config", "precision"})) options.precision = v->get<std::string>();
  if (const json* v = find(config, {"gpu_config", "precision"})) options.gpu_precision = v->get<std::string>();
  if (const json* v = find(config, {"gpu_config", "disable_fp16_accuracy_check"}))
    options.check_fp16_accuracy = !v->get<bool>();
  if (const json* v = find(config, {"gpu_config", "disable_fp16_perf_check"}))
    options.check_fp16_speed = !v->get<bool>();
  if (const json* v = find(config, {"gpu_config", "aicompiler", "enable"})) options.compile_chains = v->get<bool>();
  if (const json* v = find(config, {"cpu_config", "num_threads"})) options.num_threads = v->get<int>();
  if (const json* v = find(config, {"accuracy", "rtol"})) options.accuracy.rtol = v->get<double>();
  if (const json* v = find(config, {"accuracy", "atol"})) options.accuracy.atol = v->get<double>();
  if (const json* v = find(config, {"accuracy", "metric"})) options.accuracy.metric = v->get<std::string>();
  if (const json* v = find(config, {"tuning", "time_limit_s"})) options.time_limit_s = v->get<double>();
  if (const json* v = find(config, {"tuning", "cache_dir"})) options.cache_dir = v->get<std::string>();
  if (const json* v = find(config, {"tuning", "disable_perf_check"})) options.check_speed = !v->get<bool>();
  if (options.precision != "auto" && options.precision != "fp32" && options.precision != "bf16") {
    return invalid_argument("config.cpu_config.precision is '" + options.precision +
                            "'; expected 'auto', 'fp32' or 'bf16'");
  }
  const std::string& on_gpu = options.gpu_precision;
  if (on_gpu != "auto" && on_gpu != "fp32" && on_gpu != "fp16" && on_gpu != "bf16") {
    return invalid_argument("config.gpu_config.precision is '" + on_gpu +
                            "'; expected 'auto', 'fp32', 'fp16' or 'bf16'");
  }
  std::string said;
  options.asked_threads = options.num_threads;
  BLADE_ASSIGN_OR_RETURN(options.num_threads,
                         engine::threads_to_use(options.asked_threads, "config.cpu_config.num_threads", &said));
  if (!said.empty()) options.notes.push_back(std::move(said));
  if (options.accuracy.metric != "max_relative" && options.accuracy.metric != "max_absolute") {
    return invalid_argument("config.accuracy.metric is '" + options.accuracy.metric +
                            "'; expected 'max_relative' or 'max_absolute'");
  }
  BLADE_RETURN_IF_ERROR(check_not_negative(options.accuracy.rtol, "config.accuracy.rtol"));
  BLADE_RETURN_IF_ERROR(check_not_negative(options.accuracy.atol, "config.accuracy.atol"));
  BLADE_RETURN_IF_ERROR(check_not_negative(options.time_limit_s, "config.tuning.time_limit_s"));
  return {};
}

Result<OptimizeOptions> parse_object(const json& root) {
  BLADE_RETURN_IF_ERROR(check_options(root));
  OptimizeOptions options;
  options.changed = changed_options(root);
  if (const json* v = find(root, {"optimization_level"})) options.level = lower(v->get<std::string>());
  if (options.level != "o1" && options.level != "o2") {
    return invalid_argument("optimization_level is '" + options.level + "'; expected 'o1' or 'o2'");
  }
  if (const json* v = find(root, {"device_type"})) options.device = lower(v->get<std::string>());
  if (options.device != "cpu" && options.device != "gpu" && options.device != "auto") {
    return invalid_argument("device_type is '" + options.device + "'; expected 'cpu', 'gpu' or 'auto'");
  }
  BLADE_RETURN_IF_ERROR(parse_strings(root, "inputs", options.inputs));
  BLADE_RETURN_IF_ERROR(parse_strings(root, "outputs", options.outputs));
  BLADE_RETURN_IF_ERROR(parse_strings(root, "custom_ops", options.custom_ops));
  BLADE_RETURN_IF_ERROR(parse_input_shapes(root, options.input_shapes));
  BLADE_RETURN_IF_ERROR(parse_input_ranges(root, options.input_ranges));
  if (const json* v = find(root, {"model_name"})) options.model_name = v->get<std::string>();
  if (const json* v = find(root, {"output"})) options.output = v->get<std::string>();
  BLADE_RETURN_IF_ERROR(parse_strings(root, "also_written", options.also_written));
  BLADE_RETURN_IF_ERROR(parse_strings(root, "also_read", options.also_read));
  if (const json* v = find(root, {"original_path"})) options.original_path = v->get<std::string>();
  if (const json* v = find(root, {"signature"})) options.signature = v->get<std::string>();
  if (const json* v = find(root, {"tensorflow_dir"})) options.tensorflow_dir = v->get<std::string>();
  if (const json* v = find(root, {"op_library"})) options.op_library = v->get<std::string>();
  if (const json* v = find(root, {"verbose"})) options.verbose = v->get<bool>();
  if (const json* config = find(root, {"config"})) {
    const json* shown = find(root, {"user_config"});
    options.user_config = shown != nullptr ? shown->get<std::string>() : config->dump();
    BLADE_RETURN_IF_ERROR(parse_config(*config, options));
  }
  return options;
}

Result<std::vector<ir::Dims>> in_placeholder_order(const NamedShapes& shapes, const std::vector<std::string>& names,
                                                   const std::string& what) {
  if (!shapes.by_name.empty()) {
    std::vector<ir::Dims> ordered;
    for (const std::string& name : names) {
      const ir::Dims* dims = shapes.find(ordered.size(), name);
      if (dims == nullptr) {
        return invalid_argument("dynamic_tuning_shapes['" + what + "'] has no shape for the input '" + name + "'");
      }
      ordered.push_back(*dims);
    }
    BLADE_RETURN_IF_ERROR(shapes.check_names(names).with_context("dynamic_tuning_shapes['" + what + "']"));
    return ordered;
  }
  if (shapes.by_order.size() != names.size()) {
    return invalid_argument("dynamic_tuning_shapes['" + what + "'] has shapes for " +
                            std::to_string(shapes.by_order.size()) + " inputs, the model has " +
                            std::to_string(names.size()) + "; give one shape an input");
  }
  return shapes.by_order;
}

Status check_against_model(const ir::Dims& dims, const engine::TensorInfo& input, const char* which) {
  const ir::Shape& shape = input.shape;
  if (!shape.has_rank()) return {};
  bool fits = static_cast<int>(dims.size()) == shape.rank();
  for (int d = 0; fits && d < shape.rank(); ++d) fits = !shape.dim(d).is_known() || shape.dim(d).value() == dims[d];
  if (fits) return {};
  return invalid_argument(std::string("dynamic_tuning_shapes['") + which + "'] gives the input '" + input.name +
                          "' the shape " + ir::plain_text(ir::Shape::of(dims)) + ", the model expects " +
                          ir::plain_text(shape));
}

Status check_between(const engine::Profile& profile, const std::vector<ir::Dims>& shapes,
                     const std::vector<std::string>& names) {
  for (size_t i = 0; i < shapes.size(); ++i) {
    if (shapes[i].size() != profile.min[i].size()) {
      return invalid_argument("dynamic_tuning_shapes['opts'] gives the input '" + names[i] + "' " +
                              std::to_string(shapes[i].size()) + " dims where min has " +
                              std::to_string(profile.min[i].size()));
    }
    for (size_t d = 0; d < shapes[i].size(); ++d) {
      const int64_t low = profile.min[i][d], high = profile.max[i][d], got = shapes[i][d];
      if (got >= low && got <= high) continue;
      return invalid_argument("Dim value in 'opts' is not between min_dim and max_dim: input '" + names[i] + "', dim " +
                              std::to_string(d) + ": " + std::to_string(got) + " is not between " +
                              std::to_string(low) + " and " + std::to_string(high));
    }
  }
  return {};
}

}  // namespace

const ir::Dims* NamedShapes::find(size_t index, const std::string& name) const {
  if (by_name.empty()) return index < by_order.size() ? &by_order[index] : nullptr;
  const auto found = std::find_if(by_name.begin(), by_name.end(),
                                  [&](const auto& given) { return node_name(given.first) == node_name(name); });
  return found != by_name.end() ? &found->second : nullptr;
}

Status NamedShapes::check_names(const std::vector<std::string>& inputs) const {
  for (const auto& [name, dims] : by_name) {
    const auto is_it = [node = node_name(name)](const std::string& input) { return node_name(input) == node; };
    if (std::none_of(inputs.begin(), inputs.end(), is_it)) return tensorflow::no_such_input(name, inputs);
  }
  return {};
}

Result<ir::Dims> parse_shape(std::string_view text) {
  ir::Dims dims;
  std::string_view rest = trim(text);
  bool more = !rest.empty();  // the empty text is a scalar's shape
  while (more) {
    const size_t star = rest.find('*');
    int64_t dim = 0;
    if (!parse_number(rest.substr(0, star), dim) || dim < 0) {
      return invalid_argument("'" + std::string(text) +
                              "' is no shape; expected dims with * between them, as 1*224*224*3");
    }
    dims.push_back(dim);
    more = star != std::string_view::npos;
    if (more) rest.remove_prefix(star + 1);
  }
  return dims;
}

Result<std::pair<double, double>> parse_range(std::string_view text) {
  std::string_view inner = trim(text);
  std::pair<double, double> range;
  bool ok = inner.size() > 2 && inner.front() == '[' && inner.back() == ']';
  if (ok) {
    inner = inner.substr(1, inner.size() - 2);
    const size_t comma = inner.find(',');
    ok = comma != std::string_view::npos && parse_number(inner.substr(0, comma), range.first) &&
         parse_number(inner.substr(comma + 1), range.second) && range.first <= range.second &&
         std::isfinite(range.second - range.first);
  }
  if (!ok) return invalid_argument("'" + std::string(text) + "' is no range; expected [low,high], as [0,255]");
  return range;
}

Result<OptimizeOptions> parse_options(std::string_view text) {
  const json root = json::parse(text.empty() ? "{}" : text, nullptr, /*allow_exceptions=*/false);
  if (!root.is_object())
    return invalid_argument(
        "the options are no JSON object; expected one with the names of blade_option_table(), as "
        "{\"device_type\": \"cpu\"}");
  return parse_object(root);
}

Status replace_names(const tensorflow::ModelNames& names, OptimizeOptions& options) {
  BLADE_ASSIGN_OR_RETURN(options.inputs, names.inputs(options.inputs));
  for (std::string& name : options.outputs) name = names.output(name);
  std::vector<NamedShapes*> all = {&options.tuning_shapes.min, &options.tuning_shapes.max};
  for (NamedShapes& group : options.tuning_shapes.opts) all.push_back(&group);
  for (NamedShapes& group : options.input_shapes) all.push_back(&group);
  for (NamedShapes* shapes : all) {
    std::vector<std::string> given;
    for (const auto& [name, dims] : shapes->by_name) given.push_back(name);
    BLADE_ASSIGN_OR_RETURN(const std::vector<std::string> tensors, names.inputs(given));
    std::map<std::string, ir::Dims> by_tensor;
    for (size_t i = 0; i < given.size(); ++i) by_tensor[tensors[i]] = std::move(shapes->by_name[given[i]]);
    shapes->by_name = std::move(by_tensor);
  }
  return {};
}

Result<engine::Profile> resolve_profile(const TuningShapes& shapes, const std::vector<engine::TensorInfo>& inputs) {
  engine::Profile profile;
  std::vector<std::string> names;
  for (const engine::TensorInfo& input : inputs) names.push_back(input.name);
  BLADE_ASSIGN_OR_RETURN(profile.min, in_placeholder_order(shapes.min, names, "min"));
  BLADE_ASSIGN_OR_RETURN(profile.max, in_placeholder_order(shapes.max, names, "max"));
  for (size_t i = 0; i < names.size(); ++i) {
    BLADE_RETURN_IF_ERROR(check_against_model(profile.min[i], inputs[i], "min"));
    BLADE_RETURN_IF_ERROR(check_against_model(profile.max[i], inputs[i], "max"));
    bool ordered = profile.min[i].size() == profile.max[i].size();
    for (size_t d = 0; ordered && d < profile.min[i].size(); ++d) ordered = profile.min[i][d] <= profile.max[i][d];
    if (!ordered) {
      return invalid_argument("dynamic_tuning_shapes: the min shape of the input '" + names[i] +
                              "' is not at most its max shape in every dim");
    }
  }
  for (const NamedShapes& group : shapes.opts) {
    BLADE_ASSIGN_OR_RETURN(std::vector<ir::Dims> ordered, in_placeholder_order(group, names, "opts"));
    BLADE_RETURN_IF_ERROR(check_between(profile, ordered, names));
    profile.opts.push_back(std::move(ordered));
  }
  return profile;
}

}  // namespace blade::optimizer
