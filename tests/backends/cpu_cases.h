// The generated single-node cases on which every CPU row is compared with the reference.
#pragma once

#include <vector>

#include "backends/kernel_runner.h"

namespace blade::backends {

std::vector<Case> pointwise_cases();
std::vector<Case> matrix_cases();  // attention_cases() among them
std::vector<Case> attention_cases();
std::vector<Case> row_cases();  // pooling, reductions, normalization, resizing
std::vector<Case> movement_cases();
std::vector<Case> selection_cases();  // whose results' sizes depend on data
std::vector<Case> segment_cases();    // also windows, diagonals, and types beside float32

}  // namespace blade::backends
