// Data for a model from the command line: files, or generated values of a given shape.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <utility>
#include <vector>

#include "blade/blade.hpp"
#include "npy.h"

namespace blade::command {

// A tensor's name without ":0".
std::string node_name(std::string name);

// An option that takes a list: several values with commas between, or the option again. It takes no argument but the
// one that follows it, so that the model may stand anywhere. Commas inside [ ] divide nothing.
CLI::Option* add_list(CLI::App& app, const std::string& name, std::vector<std::string>& values,
                      const std::string& description);

// Which model, and what of it: the options that most verbs share.
struct ModelOptions {
  std::vector<std::string> outputs;
  std::string signature;
  void add_to(CLI::App& app);
};

// And on what it runs, for the verbs that run it.
struct RunOptions : ModelOptions {
  std::string device;
  int threads = 0;
  void add_to(CLI::App& app);
  Engine::Options engine_options() const;
};

// The options that say what is fed: --data FILE.npz, --input NAME=FILE.npy, --shape NAME=1x224x224x3.
struct FeedOptions {
  std::vector<std::string> data, inputs, shapes;
  void add_to(CLI::App& app);
  bool empty() const { return data.empty() && inputs.empty() && shapes.empty(); }
};

// One array an input of the engine, in its order; what no file gives is generated: unknown dims are 1 unless --shape
// says otherwise, values uniform in [0, 1), seeded.
std::vector<Array> make_feed(const Engine& engine, const FeedOptions& options);
// The arrays of `feed` (inputs of `first`) in the order of the inputs of `second`, by name.
std::vector<blade_tensor> feed_in_order(const Engine& first, const std::vector<Array>& feed, const Engine& second);
std::vector<blade_tensor> tensors_of(const std::vector<Array>& arrays);

// blade_inspect()'s JSON, to be freed with blade_free().
char* inspect_text(const std::string& model, const ModelOptions& options, const std::string& tensorflow_dir = "");

// --shape's names and dims.
using NamedShape = std::pair<std::string, std::vector<int64_t>>;
std::vector<NamedShape> parse_shapes(const FeedOptions& options);

// Arrays by name, as --data and --input give them (for optimizing, before any engine exists).
// The files that they come from.
std::vector<std::string> feed_files(const FeedOptions& options);
std::vector<Array> load_feed_files(const FeedOptions& options);

}  // namespace blade::command
