// What inference says of each case of the tables where its inputs are known in part: never an error, and nothing that
// the whole inputs contradict.
#include <algorithm>

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

  void expect_agreement(const std::vector<ir::TensorPtr>& want) {
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
  for (const auto& cases :
       {pointwise_cases(), matrix_cases(), row_cases(), movement_cases(), selection_cases(), segment_cases()}) {
    for (const Case& c : cases) {
      SCOPED_TRACE(c.name);
      const auto want = results_of(c);
      ASSERT_TRUE(want.ok()) << want.status().message();
      for (int trial = 0; trial < kTrials; ++trial) {
        PartlyKnown(c, rng).expect_agreement(*want);
        if (::testing::Test::HasFatalFailure()) return;
      }
    }
  }
}

}  // namespace
}  // namespace blade::backends
