// A While node as a loop over the rows of sequences: what its condition and body say, and where its operands come from.
#pragma once

#include <optional>

#include "ir/infer.h"
#include "passes/pointwise_match.h"

namespace blade::passes {

// A loop's graphs, seen through the Identity nodes in them. Operands of the loop are known by number; the first
// variables() of them are what a step changes, the others stay the same.
class TimeLoop {
 public:
  // `contents`: of the graph that the loop is in.
  TimeLoop(Rewriter& rewriter, const ir::Contents& contents, const ir::Node& node);

  const ir::Graph& body() const { return body_; }
  int variables() const { return static_cast<int>(node_.outputs.size()); }
  bool stays(int operand) const { return operand >= variables(); }
  // What a step makes of a variable.
  ir::ValueId result(int variable) const { return same(body_.outputs()[variable]); }
  ir::ValueId outside(int operand) const { return node_.inputs[operand]; }
  const ir::Shape& shape_outside(int operand) const { return rewriter_.shape(node_.inputs[operand]); }
  // What all elements of the operand, which may be a Fill or a large constant, are before the loop.
  std::optional<float> element_outside(int operand) const;

  ir::ValueId same(ir::ValueId v) const { return ir::behind_identities(body_, v); }
  const ir::Node* producer(ir::ValueId v, ir::Op op) const { return producer_in(body_, v, op); }
  const ir::Node* pointwise(ir::ValueId v, ir::PointwiseOp op) const;
  // Which operand of the loop a value of the body is; -1: none.
  int operand_number(ir::ValueId v) const { return number_in(body_, v); }
  // A variable that says which step this is.
  bool counts_steps(int variable) const;
  // The operand that stays the same and whose row of this step `v` is; -1: none.
  int sequence_of(ir::ValueId v) const;

  // How many steps the loop takes, said by bounds on it. `lengths`: an operand, or -1.
  struct Steps {
    bool at_least = false, at_most = false;  // the rows of the sequence
    bool all_lengths = false;                // at least the rows, or the largest of `lengths`
  };
  Steps steps(ir::Dim rows, int lengths) const;

 private:
  static const ir::Node* producer_in(const ir::Graph& graph, ir::ValueId v, ir::Op op);
  static int number_in(const ir::Graph& graph, ir::ValueId v);
  Steps of_condition(ir::ValueId v, ir::Dim rows, ir::ValueId lengths) const;
  Steps of_limit(ir::ValueId v, ir::Dim rows, ir::ValueId lengths) const;

  Rewriter& rewriter_;
  const ir::Contents& contents_;
  const ir::Node& node_;
  const ir::Graph& condition_;
  const ir::Graph& body_;
};

}  // namespace blade::passes
