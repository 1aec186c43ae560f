#include "optimizer/input_moments.h"

#include <cmath>

#include "base/half.h"
#include "engine/prepare_graph.h"
#include "optimizer/precision_search.h"
#include "optimizer/runners.h"
#include "passes/pass.h"

namespace blade::optimizer {
namespace {

constexpr int64_t kFewestRows = 16;

// Whether the weights are constant and the channels that they sum stand last in input 0, of which there are rows
// enough.
bool has_moments(const ir::Graph& graph, const ir::Node& node) {
  switch (node.op) {
    case ir::Op::kConv:
      if (node.get<ir::ConvAttrs>().groups != 1) return false;
      break;
    case ir::Op::kMatMul:
      if (node.get<ir::MatMulAttrs>().transpose_a) return false;
      break;
    case ir::Op::kConvTranspose:
      break;
    default:
      return false;
  }
  const ir::Value &x = graph.value(node.inputs[0]), &weights = graph.value(node.inputs[1]);
  if (!weights.is_constant() || x.is_constant() || x.dtype != ir::DType::kFloat32) return false;
  const auto dims = x.shape.static_dims();
  if (!dims || dims->size() < 2 || dims->back() == 0) return false;
  return *x.shape.element_count() / dims->back() >= kFewestRows;
}

struct Reader {
  std::string name;
  int64_t rows;  // that it reads
};

// The graph's outputs become mean and variance of what such nodes read.
std::vector<Reader> ask_for_moments(ir::Graph& graph) {
  std::vector<ir::NodeId> nodes;
  for (ir::NodeId id = 0; id < graph.num_node_slots(); ++id) {
    if (graph.is_live(id) && has_moments(graph, graph.node(id))) nodes.push_back(id);
  }
  std::vector<Reader> readers;
  std::vector<std::string> outputs;
  std::vector<ir::ValueId> values;
  for (const ir::NodeId id : nodes) {
    const ir::ValueId x = graph.node(id).inputs[0];
    std::vector<int64_t> rows;
    for (int64_t axis = 0; axis + 1 < graph.value(x).shape.rank(); ++axis) rows.push_back(axis);
    const ir::Shape& shape = graph.value(x).shape;
    readers.push_back({graph.node(id).name, *shape.element_count() / shape.static_dims()->back()});
    const std::string name = graph.unique_name(readers.back().name + "/moments");
    const ir::Node& moments = graph.add_node(ir::Op::kMoments, name, {x}, 2, ir::AxesAttrs{rows});
    for (size_t o = 0; o < 2; ++o) {
      values.push_back(moments.outputs[o]);
      outputs.push_back(name + ":" + std::to_string(o));
    }
  }
  graph.set_outputs(std::move(values), std::move(outputs));
  graph.remove_dead_nodes();
  return readers;
}

float as_bfloat16(double value) { return bfloat16_to_float(float_to_bfloat16(static_cast<float>(value))); }

// Means and mean squares over feeds.
class Sums {
 public:
  explicit Sums(int64_t rows) : rows_(rows) {}

  void add(const ir::Tensor& mean, const ir::Tensor& variance) {
    means_.resize(static_cast<size_t>(mean.element_count()));
    squares_.resize(means_.size());
    const auto *m = reinterpret_cast<const float*>(mean.data), *v = reinterpret_cast<const float*>(variance.data);
    for (size_t i = 0; i < means_.size(); ++i) {
      means_[i] += double{m[i]};
      squares_[i] += double{m[i]} * double{m[i]} + double{v[i]};
    }
    ++feeds_;
  }

  // Nothing where a number is not finite. Other data have other means: each is drawn to the mean of all channels as
  // much as its rows say little of it beside what the others tell, and the doubt left counts as variance.
  std::optional<passes::InputMoments> moments() const {
    passes::InputMoments moments;
    const auto channels = static_cast<double>(means_.size());
    double common = 0, spread = 0;
    for (const double mean : means_) common += mean / feeds_ / channels;
    for (const double mean : means_) spread += (mean / feeds_ - common) * (mean / feeds_ - common) / channels;
    const double independent = feeds_ * std::sqrt(static_cast<double>(rows_));  // neighbours are alike
    for (size_t i = 0; i < means_.size(); ++i) {
      const double mean = means_[i] / feeds_, variance = std::max(0.0, squares_[i] / feeds_ - mean * mean);
      const double doubt = variance / independent;
      const double trust = doubt > 0 ? spread / (spread + doubt) : 1;
      moments.means.push_back(as_bfloat16(common + trust * (mean - common)));
      moments.variances.push_back(as_bfloat16(variance + trust * doubt));
      if (!std::isfinite(moments.means.back()) || !std::isfinite(moments.variances.back())) return std::nullopt;
    }
    return moments;
  }

 private:
  std::vector<double> means_, squares_;
  int feeds_ = 0;
  int64_t rows_;
};

}  // namespace

Result<std::map<std::string, passes::InputMoments>> measure_input_moments(const SearchInput& input,
                                                                          engine::Decisions decisions) {
  std::map<std::string, passes::InputMoments> found;
  engine::EngineOptions options;
  options.num_threads = input.options.num_threads;
  // All other passes as they are with products in bfloat16: nodes are found by their names.
  decisions.disabled_passes.emplace_back(mixed_precision_pass(nullptr));
  BLADE_ASSIGN_OR_RETURN(const ir::Graph region, region_graph(input));
  BLADE_ASSIGN_OR_RETURN(ir::Graph graph, ir::specialize(region, shapes_of(input.feeds[0])));
  BLADE_RETURN_IF_ERROR(engine::run_region_passes(graph, decisions, options));
  decisions.precision = "fp32";
  const std::vector<Reader> readers = ask_for_moments(graph);
  if (readers.empty()) return found;
  BLADE_RETURN_IF_ERROR(ir::infer_shapes(graph));
  decisions.profile.reset();
  for (const passes::Pass& pass : passes::pipeline()) decisions.disabled_passes.emplace_back(pass.name);
  BLADE_ASSIGN_OR_RETURN(auto engine, engine::Engine::create(std::move(graph), std::move(decisions), options));
  const auto runner = make_engine_runner(std::move(engine));
  std::vector<Sums> sums;
  for (const Reader& reader : readers) sums.emplace_back(reader.rows);
  for (size_t f = 0; f < (input.feeds.size() + 1) / 2; ++f) {
    const Feed& feed = input.feeds[f];
    if (shapes_of(feed) != shapes_of(input.feeds[0])) continue;
    BLADE_ASSIGN_OR_RETURN(const std::vector<ir::TensorPtr> got, runner->outputs(feed));
    for (size_t i = 0; i < sums.size(); ++i) sums[i].add(*got[2 * i], *got[2 * i + 1]);
  }
  for (size_t i = 0; i < readers.size(); ++i) {
    if (auto moments = sums[i].moments()) found.emplace(readers[i].name, std::move(*moments));
  }
  return found;
}

}  // namespace blade::optimizer
