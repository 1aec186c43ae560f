// What matrix nodes read on the test data: by that their weights are rounded to bfloat16.
#pragma once

#include <map>
#include <string>

#include "optimizer/search.h"
#include "passes/balanced_rounding.h"

namespace blade::optimizer {

// By the names of nodes after the region passes, in float32. Without nodes that read few rows, whose mean the next data
// need not have, and without those inside loops and branches. Of the first half of the feeds, so that answers to the
// others tell what is fitted too closely; those of other shapes than the first one's are left out.
Result<std::map<std::string, passes::InputMoments>> measure_input_moments(const SearchInput& input,
                                                                          engine::Decisions decisions);

}  // namespace blade::optimizer
