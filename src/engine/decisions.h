// What optimizing decided, stored in the engine as JSON: nothing in it is needed for right answers, all of it for speed
// and for the report.
#pragma once

#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "ir/types.h"
#include "passes/balanced_rounding.h"

namespace blade::engine {

// Bounds of input shapes: min and max have one entry an input; opts are groups that are planned like static shapes.
struct Profile {
  std::vector<ir::Dims> min, max;
  std::vector<std::vector<ir::Dims>> opts;

  bool contains(std::span<const ir::Dims> input_dims) const;
};

// What tuning measured where it overrode the static choice.
struct TunedFigures {
  std::string static_choice;
  double static_us = 0, us = 0;
};

struct Decisions {
  std::string blade_version;
  std::string tuned_on;                      // machine_signature() of where `kernels` were measured
  std::vector<std::string> disabled_passes;  // tried and rolled back
  std::map<std::string, std::string>
      kernels;  // kernel_signature() -> KernelChoice or kApart: what overrides the static choice; a GPU keeps all
  std::map<std::string, TunedFigures> figures;  // of those, for people
  std::optional<Profile> profile;
  std::string device = "cpu";             // what was optimized for; elsewhere the other choices about it are left aside
  std::string precision = "fp32";         // or "bf16", or "fp16", for a GPU
  std::vector<std::string> keep_float32;  // nodes that these spare
  bool for_tiles = false;                 // "bf16" was decided on where tile registers (AMX) multiply
  // Of nodes that read what is rounded to bfloat16, by name: by which their weights are rounded. In numbers that
  // bfloat16 holds, so that they come back from the file as they are.
  std::map<std::string, passes::InputMoments> input_moments;
  int num_threads = 0;  // that the user wants it to run on; 0: as many as the process may use

  std::string to_json() const;
  static Result<Decisions> from_json(std::string_view json);
};

}  // namespace blade::engine
