// Every option of optimize(), once: what the doors (blade.Config and blade.optimize, the command, options_json) accept,
// their defaults, and what the documentation says about them.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"

namespace blade::optimizer {

enum class OptionKind { kBool, kInteger, kNumber, kText, kShapes, kList };

struct OptionRow {
  const char* name;  // "verbose", or the place in nested objects: "config.accuracy.rtol"
  OptionKind kind;
  const char* default_value;  // JSON
  const char* doc;
  const char* device = "";     // "cpu" or "gpu" where it has an effect on that alone
  const char* no_effect = "";  // why setting it changes nothing yet
};

std::span<const OptionRow> option_table();

// Unknown names (the nearest known one is named) and values of the wrong type are errors. null stands for "not given".
Status check_options(const nlohmann::ordered_json& root);

// Names of the rows that `root` sets to something else than the default.
std::vector<std::string> changed_options(const nlohmann::ordered_json& root);

// A sentence for each of `changed` that has no effect on `device` ("cpu" or "gpu").
std::vector<std::string> without_effect(const std::vector<std::string>& changed, const std::string& device);

// [{"name", "kind", "default", "doc", "device"}, ...]
std::string option_table_json();

}  // namespace blade::optimizer
