// What is decided by measuring on a GPU: which compiled tile each piece of work gets.
#pragma once

#include "optimizer/search.h"

namespace blade::optimizer {

// Times the candidates of every distinct piece of work inside the whole chain, where a kernel's neighbours overlap it,
// for each feed; the winners go to decisions.kernels.
Status tune_on_gpu(const SearchInput& input, engine::Decisions& decisions, OptimizationStep& step);

}  // namespace blade::optimizer
