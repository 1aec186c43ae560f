// The tables of local rewrites that AlgebraicCleanup runs to a fixed point, by theme.
#pragma once

#include <span>

#include "passes/rewriter.h"

namespace blade::passes {

// Looks at a live node; true where it changed the graph.
struct Rule {
  ir::Op op;
  bool (*apply)(Rewriter&, ir::Node&);
};
std::span<const Rule> elementwise_rules();  // algebraic_elementwise.cc
std::span<const Rule> shape_rules();        // algebraic_shapes.cc

// Gives the readers of the node's only output `value` instead, where dtype and shape are proven to be the same.
bool forward(Rewriter& rewriter, ir::Node& node, ir::ValueId value);

}  // namespace blade::passes
