// What the user asked of optimize(): parsed from JSON and checked before any work is done.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status.h"
#include "engine/decisions.h"
#include "engine/engine.h"
#include "frontends/tensorflow/model_names.h"
#include "ir/types.h"

namespace blade::optimizer {

using tensorflow::node_name;

// Of integers that floats decide.
struct Rounding {
  double difference = 0;  // that an element may have
  double share = 0;       // of the elements that may have it
};

// When the answers of an optimized model "still hold" (docs/report.md): the largest absolute difference of a
// floating-point output is at most atol + rtol * (largest absolute expected value); integers and booleans are equal,
// but for few that floats decide.
struct AccuracyOptions {
  double rtol = 1e-3;
  double atol = 1e-6;
  std::string metric = "max_relative";        // or "max_absolute": rtol is not used
  std::map<std::string, Rounding> roundings;  // by output; see rounding_outputs()
};

// A shape per input, by placeholder order or by name, as the user wrote it.
struct NamedShapes {
  std::vector<ir::Dims> by_order;
  std::map<std::string, ir::Dims> by_name;
  bool empty() const { return by_order.empty() && by_name.empty(); }
  // Of the input `name`, which may be named as node or as tensor here and there, or else of the input `index`; null:
  // not given.
  const ir::Dims* find(size_t index, const std::string& name) const;
  // An error where a name is none of `inputs`.
  Status check_names(const std::vector<std::string>& inputs) const;
};

struct TuningShapes {
  NamedShapes min, max;
  std::vector<NamedShapes> opts;
  bool empty() const { return min.empty() && max.empty() && opts.empty(); }
};

struct OptimizeOptions {
  std::string level = "o1";
  std::string device = "cpu";                                        // "cpu" or "gpu" once "auto" is resolved
  std::vector<std::string> inputs, outputs;                          // node or tensor names; empty: inferred
  std::vector<NamedShapes> input_shapes;                             // groups; one shape an input
  std::vector<std::vector<std::pair<double, double>>> input_ranges;  // groups; one [low, high] an input
  TuningShapes tuning_shapes;
  AccuracyOptions accuracy;
  double tolerance_factor = 1;         // of rtol and atol, for what the model itself rounds; see accuracy_in()
  std::string precision = "auto";      // on a CPU
  std::string gpu_precision = "auto";  // on a GPU
  bool model_in_bfloat16 = false;      // most of its own products are
  bool check_fp16_accuracy = true, check_fp16_speed = true;  // before float16 is kept on a GPU
  bool compile_chains = true;  // whether tuning on a GPU tries kernels that are compiled for the model
  int num_threads = 0;         // for measuring: bounded by the CPUs that this process may use
  int asked_threads = 0;       // for the optimized model, which may go elsewhere
  double time_limit_s = 60;
  std::string cache_dir;    // of measured choices; empty: the user's, "off": none
  bool check_speed = true;  // false: what holds is kept whether or not it is measured faster
  std::string user_config;  // as given, for the report
  std::string model_name;
  std::string output;                     // where the caller will write the model; empty: not known
  std::vector<std::string> also_written;  // and where other files
  std::vector<std::string> also_read;     // files beside the model, none of which may be written over
  std::string original_path;              // of the model, where the one given is a frozen copy
  std::string signature;                  // of a SavedModel; empty: its default
  std::string tensorflow_dir, op_library;
  std::vector<std::string> custom_ops;
  bool verbose = false;
  std::vector<std::string> changed;  // names of the options (option_table.h) that are not at their defaults
  std::vector<std::string> notes;    // sentences about options that were not taken as they stand
};

// Errors name the field, what was found and what was expected.
Result<OptimizeOptions> parse_options(std::string_view json);

// "1*224*224*3" -> {1,224,224,3}; "[0,255]" -> {0,255}.
Result<ir::Dims> parse_shape(std::string_view text);
Result<std::pair<double, double>> parse_range(std::string_view text);

// Puts tensors where `options` has users' names for inputs and outputs.
Status replace_names(const tensorflow::ModelNames& names, OptimizeOptions& options);

// The profile over `inputs` (placeholder order), checked: shapes that the model takes, min <= max, every opts dim
// between them.
Result<engine::Profile> resolve_profile(const TuningShapes& shapes, const std::vector<engine::TensorInfo>& inputs);

}  // namespace blade::optimizer
