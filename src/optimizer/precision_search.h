// Whether the model is computed in a 16-bit type, decided by measuring: float16 or bfloat16 on a GPU, bfloat16 on a CPU
// that has it.
#pragma once

#include "optimizer/search.h"

namespace blade::optimizer {

// The pass that narrows for a device; null: the CPU.
const char* mixed_precision_pass(const backends::Device* device);

// The narrow type against float32. Kept (decisions.precision says so) where the answers hold within accuracy_in() on
// all feeds and it is faster. Where the answers break in a type that was asked for, or on a GPU, nodes that are to
// blame are looked for and stay float32 (decisions.keep_float32). Each check can be switched off by the user, who can
// also ask for a precision. Where it fails, `decisions` are left as they are. Fills `step`.
Status search_precision(const SearchInput& input, engine::Decisions& decisions, OptimizationStep& step);

// The tolerance of results in a precision: ten times that of float32 in float16, which keeps 11 bits of each stored
// value, and twenty times in bfloat16, which keeps 8, if it was asked for.
AccuracyOptions accuracy_in(const std::string& precision, const OptimizeOptions& options);

}  // namespace blade::optimizer
