// Which integer outputs floats decide: a float that lies between two integers may fall to either.
#pragma once

#include "ir/graph.h"
#include "optimizer/options.h"

namespace blade::optimizer {

// By output name. Floats cast to integers, comparisons of floats, and places of the largest of floats; as they are, or
// in another order, shape or integer type.
std::map<std::string, Rounding> rounding_outputs(const ir::Graph& graph);

}  // namespace blade::optimizer
