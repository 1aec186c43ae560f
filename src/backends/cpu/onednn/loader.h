// Finds the optional oneDNN module beside the library (or program) that this code is part of.
#pragma once

#include <string>

#include "backends/cpu/onednn/module_table.h"

namespace blade::backends::cpu {

struct OneDnnModule {
  const BladeOneDnnTable* table = nullptr;
  std::string refusal;  // why there is no table
};

// Loaded once, at first use.
const OneDnnModule& onednn_module();

}  // namespace blade::backends::cpu
