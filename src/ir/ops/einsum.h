// The parsed form of an Einsum equation, shared by inference, cost and the kernels.
#pragma once

#include <string>
#include <vector>

#include "base/status.h"

namespace blade::ir {

// Labels are letters; '.' stands for the ellipsis.
struct EinsumEquation {
  std::vector<std::string> inputs;  // "ab." for "ab..."
  std::string output;
};
// "ab...,bc->ac...", spaces ignored; the output must be given.
Result<EinsumEquation> parse_einsum(const std::string& equation);

}  // namespace blade::ir
