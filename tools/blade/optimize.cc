// blade optimize: an optimized model file and its report.
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/paths.h"
#include "feeds.h"
#include "freeze.h"
#include "progress.h"
#include "tensorflow_dir.h"
#include "verbs.h"

namespace blade::command {
namespace {

using json = nlohmann::ordered_json;

struct DeleteResult {
  void operator()(blade_optimize_result* r) const { blade_optimize_free(r); }
};

struct Options {
  std::string model, model_name, original_path, output, signature, level = "o1", device = "cpu", config, report, html;
  std::vector<std::string> inputs, outputs, input_shapes, input_ranges, custom_ops;
  int threads = 0;
  bool verbose = false;
  FeedOptions feed;
};

// What --shape says, by input.
json shapes_by_name(const FeedOptions& feed) {
  json shapes = json::object();
  for (const auto& [name, dims] : parse_shapes(feed)) {
    std::string text;
    for (const int64_t dim : dims) text += (text.empty() ? "" : "*") + std::to_string(dim);
    shapes[name] = text;
  }
  return shapes;
}

// --config: the JSON object itself, or the file that holds it.
bool is_inline(const std::string& config) {
  const size_t first = config.find_first_not_of(" \n\t");
  return first != std::string::npos && config[first] == '{';
}

json config_of(const Options& options) {
  if (options.config.empty()) return json::object();
  json config;
  if (is_inline(options.config)) {
    config = json::parse(options.config, nullptr, false);
  } else {
    std::ifstream file(options.config);
    if (!file) throw Error(BLADE_NOT_FOUND, "--config names '" + options.config + "', which cannot be opened");
    config = json::parse(file, nullptr, false);
  }
  if (config.is_object()) return config;
  throw Error(BLADE_INVALID_ARGUMENT, "--config: '" + options.config +
                                          "' is not a JSON object with the fields of blade.Config, as "
                                          "{\"accuracy\": {\"rtol\": 0.01}}");
}

std::string options_json(const Options& options) {
  json config = config_of(options);
  if (options.threads != 0) {
    json& cpu = config["cpu_config"];
    if (cpu.is_null() || cpu.is_object()) cpu["num_threads"] = options.threads;
  }
  json root = {{"model_name", options.model_name},
               {"output", options.output},
               {"also_written", json::array()},
               {"also_read", feed_files(options.feed)},
               {"original_path", options.original_path},
               {"verbose", options.verbose},
               {"optimization_level", options.level},
               {"device_type", options.device},
               {"config", config},
               {"user_config", config.empty() ? "" : config.dump()},
               {"tensorflow_dir", find_tensorflow_dir()},
               {"custom_ops", options.custom_ops}};
  for (const std::string& path : {options.report, options.html}) {
    if (!path.empty()) root["also_written"].push_back(path);
  }
  if (!options.config.empty() && !is_inline(options.config)) root["also_read"].push_back(options.config);
  if (!options.signature.empty()) root["signature"] = options.signature;
  if (!options.inputs.empty()) root["inputs"] = options.inputs;
  if (!options.outputs.empty()) root["outputs"] = options.outputs;
  if (!options.feed.shapes.empty()) root["input_shapes"] = json::array({shapes_by_name(options.feed)});
  if (!options.input_shapes.empty()) root["input_shapes"] = json::array({options.input_shapes});
  if (!options.input_ranges.empty()) root["input_ranges"] = json::array({options.input_ranges});
  try {
    return root.dump();
  } catch (const json::type_error&) {
    throw Error(BLADE_INVALID_ARGUMENT,
                "a path or name given is not UTF-8, as optimizing needs it; rename the file, or link to it");
  }
}

// A file appears whole or not at all; what is no plain file (a pipe, a link) is written to as it is.
void write_text(const std::string& path, const std::string& text) {
  std::error_code error;
  const auto status = std::filesystem::symlink_status(path, error);
  const bool plain = !std::filesystem::exists(status) || std::filesystem::is_regular_file(status);
  const std::string made = plain ? path + ".tmp-" + std::to_string(::getpid()) : path;
  std::ofstream file(made);
  file << text;
  file.close();
  bool written = !file.fail();
  if (plain && written) {
    std::filesystem::rename(made, path, error);
    written = !error;
  }
  if (plain && !written) std::filesystem::remove(made, error);
  if (!written) throw Error(BLADE_RESOURCE_EXHAUSTED, "'" + path + "' could not be written; is the disk full?");
}

std::string last_part(const std::string& given) {
  const std::string path = without_slashes(given);
  return path.substr(path.rfind('/') + 1);
}

std::unique_ptr<blade_optimize_result, DeleteResult> optimized(blade_optimize_request request, bool verbose) {
  Progress progress(/*may_draw=*/!verbose);  // lines of the log would stick to a bar
  request.progress = Progress::show;
  request.progress_arg = &progress;
  blade_optimize_result* result = nullptr;
  check(blade_optimize(&request, &result));
  return std::unique_ptr<blade_optimize_result, DeleteResult>(result);
}

void run(Options options) {
  options.model_name = last_part(options.model);
  options.original_path = options.model;
  std::optional<FrozenCopy> frozen;
  if (must_be_frozen(options.model))
    options.model = frozen.emplace(options.model, options.signature, options.custom_ops).path();
  const std::vector<Array> arrays = load_feed_files(options.feed);
  std::vector<const char*> names;
  std::vector<blade_tensor> tensors;
  for (const Array& array : arrays) {
    names.push_back(array.name.c_str());
    tensors.push_back(array.tensor());
  }
  const blade_feed feed = {names.data(), tensors.data(), static_cast<int32_t>(names.size())};
  const std::string json_options = options_json(options);
  blade_optimize_request request = {};
  request.struct_size = sizeof request;
  request.model_path = options.model.c_str();
  request.options_json = json_options.c_str();
  request.test_data = &feed;
  request.num_test_data = arrays.empty() ? 0 : 1;
  const auto result = optimized(request, options.verbose);
  check(blade_optimize_write(result.get(), options.output.c_str()));
  if (!options.report.empty()) write_text(options.report, blade_optimize_report(result.get()));
  if (!options.html.empty()) write_text(options.html, blade_optimize_report_html(result.get()));
  std::cout << blade_optimize_report(result.get()) << "\n";
}

}  // namespace

void add_optimize(CLI::App& app, Context& context) {
  const auto options = std::make_shared<Options>();
  CLI::App* verb = app.add_subcommand("optimize", "Write an optimized model and print its report");
  verb->add_option("model", options->model,
                   ".pb, .pbtxt or SavedModel directory (one with variables is frozen through Python's TensorFlow)")
      ->required();
  verb->add_option("-o,--output", options->output, "Where the optimized model goes")->required();
  verb->add_option("--level", options->level, "o1 or o2")->capture_default_str();
  verb->add_option("--device", options->device, "cpu, gpu or auto")->capture_default_str();
  add_list(*verb, "--inputs", options->inputs, "Node names, with commas between; inferred when absent");
  add_list(*verb, "--outputs", options->outputs, "Node names, with commas between; inferred when absent");
  verb->add_option("--signature", options->signature, "Which of a SavedModel's signatures (default: serving_default)");
  add_list(*verb, "--input-shapes", options->input_shapes, "Likely shapes, one an input: 1*224*224*3,1*50");
  add_list(*verb, "--input-ranges", options->input_ranges, "Value ranges, one an input: [0,255],[-1,1]");
  verb->add_option("--config", options->config, "The fields of blade.Config as JSON, or a file that holds them");
  add_list(*verb, "--custom-ops", options->custom_ops, "TensorFlow op libraries that the model needs");
  verb->add_option("--threads", options->threads, "0: as many as the process may use")->capture_default_str();
  verb->add_option("--report", options->report, "Also write the report to this file, as JSON");
  verb->add_option("--html", options->html, "Also write the report to this file, as a page");
  verb->add_flag("--verbose", options->verbose, "Log what each step did");
  verb->add_flag("--json", context.json, "The report is JSON in any case");
  options->feed.add_to(*verb);
  verb->callback([options] {
    if (options->output.empty())
      throw Error(BLADE_INVALID_ARGUMENT, "--output is empty; give the path of the new model");
    if (!options->feed.shapes.empty() && !options->input_shapes.empty())
      throw Error(BLADE_INVALID_ARGUMENT, "--shape and --input-shapes both give shapes; leave one of them out");
    run(*options);
  });
}

}  // namespace blade::command
