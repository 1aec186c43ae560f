// Which types a model's own products are of.
#pragma once

#include "ir/graph.h"

namespace blade::optimizer {

struct ProductTypes {
  int all = 0, float16 = 0, bfloat16 = 0;
};

// Counts the convolutions and matrix products that the outputs need, by the type of their results: weights that are
// only kept in 16 bits round nowhere.
ProductTypes product_types(const ir::Graph& graph);

}  // namespace blade::optimizer
