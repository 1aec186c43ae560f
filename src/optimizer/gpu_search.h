// What is decided by measuring on a GPU: whether float16 pays and holds, and which compiled tile each piece of work
// gets.
#pragma once

#include "optimizer/search.h"

namespace blade::optimizer {

// Float16 against float32 on the first feed. Kept (decisions.precision becomes "fp16") where the answers hold within
// half_precision_accuracy() and it is faster, each check unless the user has switched it off. Fills `step`.
Status search_precision(const SearchInput& input, engine::Decisions& decisions, OptimizationStep& step);

// Times the candidates of every distinct piece of work inside the whole chain, where a kernel's neighbours overlap it,
// for each feed; the winners that are not the static choice go to decisions.kernels.
Status tune_kernels(const SearchInput& input, engine::Decisions& decisions, OptimizationStep& step);

// Float16 keeps 11 bits of each stored value: ten times the tolerance of float32 results.
AccuracyOptions half_precision_accuracy(AccuracyOptions accuracy);

}  // namespace blade::optimizer
