// The graphs inside loops and conditionals: which of their operands vary, what shapes these take, what is constant.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <unordered_set>
#include <vector>

#include "base/status.h"
#include "frontends/tensorflow/control_flow_groups.h"
#include "ir/graph.h"

namespace blade::tensorflow {

// What is known of an operand of a part. Symbols in shapes are numbers below the part's number of roots: equal ones are
// equal sizes.
struct Argument {
  ir::DType dtype = ir::DType::kInvalid;
  ir::Shape shape;
  ir::TensorPtr constant;
  bool is_list = false;       // a TensorArray's flow or a tensor list: see lower_lists.cc
  int imaginary = -1;         // of a complex number's real part: the operand that is the other one
  bool is_imaginary = false;  // such an operand, of which the source's part has no input
};

// What is known of values of `graph`; `roots`: how many symbols their shapes have. kUnimplemented names one whose type
// only TensorFlow knows.
Result<std::vector<Argument>> arguments_of(const ir::Graph& graph, const std::vector<ir::ValueId>& values,
                                           const std::unordered_set<ir::ValueId>& lists, int* roots);

struct ImportedPart {
  ir::Graph graph;            // one input an operand, also where that is constant and nothing reads the input
  std::vector<char> is_list;  // one entry an output
  // Outputs that are complex numbers; their imaginary parts follow all outputs, in this order.
  std::vector<int> complex;
};
// Imports a part for these operands; its graph starts with `roots` symbols. kUnimplemented names what has to stay.
using PartImporter =
    std::function<Result<ImportedPart>(const SubSource& part, const std::vector<Argument>& operands, int roots)>;

struct ImportedLoop {
  std::vector<int> operands;  // of the While node, by number: variables first
  std::vector<int> outputs;   // one a variable of the source: an output of the While, or -1: it keeps its first value
  ir::SubGraphsAttrs graphs;
  // One an operand of the source: the dims of a list's elements, for lists that begin without any.
  std::vector<std::optional<std::vector<int64_t>>> element_dims;
};
Result<ImportedLoop> import_loop(const PartImporter& import, const SubSource& condition, const SubSource& body,
                                 std::vector<Argument> operands, size_t variables, int roots);

struct ImportedBranches {
  std::vector<int> operands;  // of the If node behind its condition, by number
  std::vector<char> is_list;  // one an output
  std::vector<int> complex;   // see ImportedPart
  ir::SubGraphsAttrs graphs;
};
Result<ImportedBranches> import_branches(const PartImporter& import, std::span<const SubSource> branches,
                                         const std::vector<Argument>& operands, int roots);

}  // namespace blade::tensorflow
