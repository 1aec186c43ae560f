// Data for a model from the command line: files, or generated values of a given shape.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "blade/blade.hpp"
#include "npy.h"

namespace blade::command {

// The options that say what is fed: --data FILE.npz, --input NAME=FILE.npy, --shape NAME=1x224x224x3.
struct FeedOptions {
  std::vector<std::string> data, inputs, shapes;
  void add_to(CLI::App& app);
  bool empty() const { return data.empty() && inputs.empty() && shapes.empty(); }
};

// One array an input of the engine, in its order; what no file gives is generated: unknown dims are 1 unless --shape
// says otherwise, values uniform in [0, 1), seeded.
std::vector<Array> make_feed(const Engine& engine, const FeedOptions& options);
std::vector<blade_tensor> tensors_of(const std::vector<Array>& arrays);

// Arrays by name, as --data and --input give them (for optimizing, before any engine exists).
std::vector<Array> load_feed_files(const FeedOptions& options);

}  // namespace blade::command
