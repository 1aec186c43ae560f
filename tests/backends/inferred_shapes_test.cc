// What inference says of each case of the tables where its inputs are known in part: never an error, and nothing that
// the whole inputs contradict.
#include <cstdint>
#include <cstdlib>
#include <map>
#include <random>

#include "backends/cpu_cases.h"
#include "ir/infer.h"
#include "ir/text.h"

namespace blade::backends {
namespace {

constexpr int kTrials = 24;  // of what is known, of each case

class PartlyKnown {
 public:
  PartlyKnown(const Case& c, std::mt19937& rng) : rng_(rng) {
    std::vector<ir::ValueId> inputs;
    for (const ir::TensorPtr& t : c.inputs) inputs.push_back(known_in_part(t, inputs.size()));
    outputs_ = graph_.add_node(c.op, c.name, inputs, c.num_outputs, c.attrs).outputs;
  }

  // Counts the dims that were known, in `known`.
  void expect_agreement(const std::vector<ir::TensorPtr>& want, int& known) {
    const Status inferred = ir::infer_shapes(graph_);
    ASSERT_TRUE(inferred.ok()) << inferred.message() << "\n" << ir::to_string(graph_);
    ir::SymbolTable numbers;
    const std::vector<ir::Dim> values = numbers.substitute(graph_.symbols(), bound_);
    for (size_t o = 0; o < want.size(); ++o) {
      const ir::Value& got = graph_.value(outputs_[o]);
      ASSERT_EQ(got.dtype, want[o]->dtype) << ir::to_string(graph_);
      if (!got.shape.has_rank()) continue;
      ASSERT_EQ(got.shape.rank(), static_cast<int>(want[o]->dims.size())) << ir::to_string(graph_);
      for (int i = 0; i < got.shape.rank(); ++i) {
        const ir::Dim d = got.shape.dim(i);
        const auto size = d.is_known() ? d.value() : numbers.constant(values[static_cast<size_t>(d.symbol_id())]);
        if (!size) continue;  // only a run will tell
        ++known;
        ASSERT_EQ(*size, want[o]->dims[static_cast<size_t>(i)]) << ir::to_string(graph_);
      }
    }
  }

 private:
  // All of it, its shape, some of its dims, or its type alone.
  ir::ValueId known_in_part(const ir::TensorPtr& tensor, size_t number) {
    const unsigned what = rng_() % 4;
    if (what == 0) return graph_.add_constant(tensor);
    const std::string name = ir::concat("in", number);
    if (what == 1) return graph_.add_input(name, tensor->dtype, ir::Shape::unknown());
    std::vector<ir::Dim> dims;
    for (int64_t d : tensor->dims) {
      const bool known = what == 2 || rng_() % 2 == 0;
      dims.push_back(known ? ir::Dim(d) : graph_.symbols().make_root(ir::concat(name, ".", dims.size())));
      if (!known) bound_.emplace_back(ir::Dim(d));
    }
    return graph_.add_input(name, tensor->dtype, ir::Shape(std::move(dims)));
  }

  std::mt19937& rng_;
  ir::Graph graph_;
  std::vector<ir::ValueId> outputs_;
  std::vector<std::optional<ir::Dim>> bound_;
};

// Of the case's outputs: as inferred where that is certain, as the reference kernel makes them where data decides.
Result<std::vector<ir::TensorPtr>> results_of(const Case& c) {
  CaseGraph made = make_graph(c);
  BLADE_RETURN_IF_ERROR(ir::infer_shapes(made.graph));
  std::vector<ir::TensorPtr> results;
  for (ir::ValueId v : made.graph.node(made.node).outputs) {
    const ir::Value& value = made.graph.value(v);
    const auto dims = value.shape.static_dims();
    if (!dims) return run_reference(c);
    auto tensor = std::make_shared<ir::Tensor>();
    tensor->dtype = value.dtype;
    tensor->dims = *dims;
    results.push_back(std::move(tensor));
  }
  return results;
}

TEST(InferredShapes, OfInputsKnownInPartAgreeWithThoseOfWholeOnes) {
  std::mt19937 rng(11);
  int known = 0;
  for (const auto& cases :
       {pointwise_cases(), matrix_cases(), row_cases(), movement_cases(), selection_cases(), segment_cases()}) {
    for (const Case& c : cases) {
      SCOPED_TRACE(c.name);
      const auto want = results_of(c);
      ASSERT_TRUE(want.ok()) << want.status().message();
      for (int trial = 0; trial < kTrials; ++trial) {
        PartlyKnown(c, rng).expect_agreement(*want, known);
        if (::testing::Test::HasFatalFailure()) return;
      }
    }
  }
  EXPECT_GT(known, 140000);
}

// Integers computed from a shape, as models compute sizes: sums, quotients of every rounding, picked and joined
// elements.
class ShapeArithmetic {
 public:
  explicit ShapeArithmetic(std::mt19937& rng) : rng_(rng) {
    std::vector<ir::Dim> symbols;
    for (int64_t& d : dims_) {
      d = 1 + pick(9);
      symbols.push_back(graph_.symbols().make_root("n"));
      bound_.emplace_back(ir::Dim(d));
    }
    const ir::ValueId x = graph_.add_input("x", ir::DType::kFloat32, ir::Shape(symbols));
    add(ir::Op::kShapeOf, {x}, ir::ShapeOfAttrs{ir::ShapeOfKind::kShape, ir::DType::kInt32});
  }

  void add_node() {
    using P = ir::PointwiseOp;
    constexpr P kAny[] = {P::kAdd, P::kSub, P::kMul, P::kMaximum, P::kMinimum};
    constexpr P kByNumbers[] = {P::kFloorDiv, P::kTruncDiv, P::kFloorMod, P::kTruncMod};
    constexpr P kAlone[] = {P::kNeg, P::kAbs, P::kSign, P::kSquare};
    constexpr P kComparisons[] = {P::kEqual, P::kNotEqual, P::kLess, P::kLessEqual, P::kGreater, P::kGreaterEqual};
    constexpr ir::ReduceKind kReductions[] = {ir::ReduceKind::kSum, ir::ReduceKind::kProd, ir::ReduceKind::kMax,
                                              ir::ReduceKind::kMin};
    const ir::ValueId a = any(), b = any();
    switch (pick(8)) {
      case 0:
        return pointwise(ir::PointwiseProgram::binary(kAny[pick(5)]), {a, b});
      case 1:
        return pointwise(ir::PointwiseProgram::binary(kByNumbers[pick(4)]), {a, numbers(/*zero=*/false)});
      case 2:
        return pointwise(ir::PointwiseProgram::unary(kAlone[pick(4)]), {a});
      case 3: {
        ir::Node& mask = graph_.add_node(ir::Op::kPointwise, graph_.unique_name("mask"), {a, b}, 1,
                                         ir::PointwiseAttrs{ir::PointwiseProgram::binary(kComparisons[pick(6)])});
        return pointwise(ir::PointwiseProgram::ternary(P::kSelect), {mask.outputs[0], any(), any()});
      }
      case 4:
        return add(ir::Op::kGather, {a, indices()}, ir::GatherAttrs{0, 0});
      case 5:
        return add(ir::Op::kReverse, {a}, ir::AxesAttrs{{0}});
      case 6:
        return pointwise(ir::PointwiseProgram::binary(P::kAdd), {numbers(true), a});
      default:
        ir::Node& sum = graph_.add_node(ir::Op::kReduce, graph_.unique_name("sum"), {a}, 1,
                                        ir::ReduceAttrs{kReductions[pick(4)], {0}, true});
        return pointwise(ir::PointwiseProgram::binary(P::kAdd), {sum.outputs[0], numbers(true)});
    }
  }

  // How many elements were known.
  int expect_those_of_a_run() {
    const auto contents = ir::infer_contents(graph_, {});
    EXPECT_TRUE(contents.ok()) << contents.status().message();
    if (!contents.ok()) return 0;
    ir::SymbolTable numbers;
    const std::vector<ir::Dim> values = numbers.substitute(graph_.symbols(), bound_);
    int known = 0;
    for (const auto& [id, want] : run()) {
      if (!(*contents)[id]) continue;
      for (size_t i = 0; i < want.size(); ++i) {
        const ir::Dim d = (*(*contents)[id])[i];
        const auto number = d.is_known() ? d.value() : numbers.constant(values[static_cast<size_t>(d.symbol_id())]);
        if (!number) continue;
        if (std::abs(*number) > INT32_MAX) return known;  // a run wraps around: what follows is another number
        ++known;
        EXPECT_EQ(*number, want[i]) << ir::to_string(graph_);
      }
    }
    return known;
  }

 private:
  static constexpr int64_t kElements = 3;
  int pick(int limit) { return static_cast<int>(rng_() % static_cast<unsigned>(limit)); }
  ir::ValueId any() { return made_[static_cast<size_t>(pick(static_cast<int>(made_.size())))]; }
  ir::ValueId numbers(bool zero) {
    std::vector<int32_t> values(kElements);
    for (int32_t& v : values) v = zero ? pick(11) - 5 : (1 + pick(4)) * (pick(3) == 0 ? -1 : 1);
    return graph_.add_constant(ints({kElements}, values));
  }
  ir::ValueId indices() {
    std::vector<int32_t> values(kElements);
    for (int32_t& v : values) v = pick(kElements);
    return graph_.add_constant(ints({kElements}, values));
  }
  void add(ir::Op op, std::vector<ir::ValueId> inputs, ir::Attrs attrs) {
    made_.push_back(graph_.add_node(op, graph_.unique_name("n"), std::move(inputs), 1, std::move(attrs)).outputs[0]);
  }
  void pointwise(ir::PointwiseProgram program, std::vector<ir::ValueId> inputs) {
    add(ir::Op::kPointwise, std::move(inputs), ir::PointwiseAttrs{std::move(program)});
  }

  // Of the values that are made.
  std::map<ir::ValueId, std::vector<int64_t>> run() {
    std::map<ir::ValueId, ir::TensorPtr> tensors = {
        {graph_.inputs()[0], random_floats({dims_[0], dims_[1], dims_[2]})}};
    std::map<ir::ValueId, std::vector<int64_t>> results;
    const std::vector<ir::NodeId> order = *graph_.topological_order();
    for (ir::NodeId id : order) {
      const ir::Node& node = graph_.node(id);
      std::vector<ir::TensorPtr> operands;
      for (ir::ValueId v : node.inputs)
        operands.push_back(graph_.value(v).is_constant() ? graph_.value(v).constant : tensors.at(v));
      const auto made = evaluate_reference(graph_, node, operands);
      EXPECT_TRUE(made.ok()) << made.status().message();
      if (!made.ok()) return {};
      tensors[node.outputs[0]] = made->front();
      if (made->front()->dtype == ir::DType::kInt32) results[node.outputs[0]] = *ir::integer_values(*made->front());
    }
    return results;
  }

  std::mt19937& rng_;
  ir::Graph graph_;
  int64_t dims_[kElements] = {};
  std::vector<std::optional<ir::Dim>> bound_;
  std::vector<ir::ValueId> made_;
};

TEST(InferredShapes, ElementsFollowTheArithmeticOfARun) {
  std::mt19937 rng(13);
  int known = 0;
  for (int round = 0; round < 1000 && !::testing::Test::HasFailure(); ++round) {
    ShapeArithmetic sizes(rng);
    for (int i = 0; i < 8; ++i) sizes.add_node();
    known += sizes.expect_those_of_a_run();
  }
  EXPECT_GT(known, 4000);
}

}  // namespace
}  // namespace blade::backends
