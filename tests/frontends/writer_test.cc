// Optimized graphs: their parts, the names that survive, and the way back through the importer.
#include "frontends/tensorflow/writer.h"

#include <gtest/gtest.h>

#include "frontends/graph_builder.h"
#include "frontends/tensorflow/original_graph.h"

namespace blade::tensorflow {
namespace {

constexpr uint64_t kOffset = 64;

// x -> conv-like chain in a region -> softmax_tensor, argmax; the weight stands in the engine at kOffset.
GraphDef sample_graph() {
  return GraphBuilder()
      .placeholder("x", {-1, 4})
      .placeholder("unused", {1})
      .floats("w", {4, 2}, {1, 2, 3, 4, 5, 6, 7, 8})
      .scalar("axis", 1)
      .op("matmul", "MatMul", {"x", "w"})
      .op("softmax_tensor", "Softmax", {"matmul"})
      .node("argmax", "ArgMax", {"softmax_tensor", "axis"}, {{"T", AttrValue::of_type(DataType::kFloat)}})
      .build();
}

std::string fake_engine() {
  std::string bytes(kOffset, 'e');
  const float weights[] = {1, 2, 3, 4, 5, 6, 7, 8};
  bytes.append(reinterpret_cast<const char*>(weights), sizeof(weights));
  return bytes;
}

BoundaryTensor boundary(const ImportedModel& model, const std::string& name) {
  for (ir::ValueId id = 0; id < model.graph.num_values(); ++id) {
    const ir::Value& value = model.graph.value(id);
    if (value.name == name) return {name, value.dtype, value.shape};
  }
  ADD_FAILURE() << "no value " << name;
  return {};
}

int origin_of(const ImportedModel& model, const std::string& name) {
  for (size_t i = 0; i < model.source->nodes.size(); ++i) {
    if (model.source->nodes[i]->name == name) return static_cast<int>(i);
  }
  return -1;
}

const NodeDef* find(const GraphDef& graph, const std::string& name) {
  for (const NodeDef& node : graph->nodes) {
    if (node->name == name) return &node;
  }
  return nullptr;
}

RegionToWrite whole_region(const ImportedModel& model) {
  RegionToWrite region;
  for (const char* name : {"matmul", "softmax_tensor", "argmax"}) region.origins.push_back(origin_of(model, name));
  region.inputs = {boundary(model, "x:0")};
  region.outputs = {boundary(model, "softmax_tensor:0"), boundary(model, "argmax:0")};
  region.engine = SharedBytes::own(fake_engine());
  region.weights = {{origin_of(model, "w"), kOffset, 32}};
  return region;
}

// Its name ends in a checksum.
const FunctionDef* find_function(const GraphDef& graph, const std::string& prefix) {
  for (const FunctionDef& function : (*graph->library)->functions) {
    if (function->signature.name.starts_with(prefix)) return &function;
  }
  return nullptr;
}

const FunctionDef* original_of_region_0(const GraphDef& graph) { return find_function(graph, "blade_original_0_"); }

TEST(Writer, WholeGraphInOneRegion) {
  ImportOptions options;
  options.outputs = {"softmax_tensor", "argmax"};
  auto model = import_graph(sample_graph(), options);
  ASSERT_TRUE(model.ok()) << model.status().message();
  RegionToWrite region = whole_region(*model);
  auto written = write_optimized(*model, model->graph, {&region, 1});
  ASSERT_TRUE(written.ok()) << written.status().message();
  const GraphDef& graph = *written;
  ASSERT_NE(find(graph, "unused"), nullptr);
  EXPECT_EQ(find(graph, "w"), nullptr);
  EXPECT_EQ(find(graph, "matmul"), nullptr);
  EXPECT_EQ((*find(graph, "blade/region_0"))->inputs,
            (std::vector<std::string>{"blade/in_profile_0", "blade/engine_0", "x"}));
  EXPECT_TRUE(*(*find(graph, "blade/in_profile_0"))->find_attr("fallback_counts")->as_bool());
  EXPECT_EQ((*find(graph, "softmax_tensor"))->inputs, std::vector<std::string>{"blade/region_0"});
  EXPECT_EQ((*find(graph, "argmax"))->inputs, std::vector<std::string>{"blade/region_0:1"});
  const FunctionDef* original = original_of_region_0(graph);
  ASSERT_NE(original, nullptr);
  std::map<std::string, std::string> ops;
  for (const NodeDef& node : (*original)->nodes) ops[node->name] = node->op;
  EXPECT_EQ(ops, (std::map<std::string, std::string>{{"axis", "Const"},
                                                     {"argmax", "ArgMax"},
                                                     {"matmul", "MatMul"},
                                                     {"softmax_tensor", "Softmax"},
                                                     {"w", "BladeStoredWeight"}}));
  EXPECT_EQ((*original)->ret.at("blade_out_0"), "softmax_tensor:softmax:0");

  // One call stands for the original nodes, so that runs of the engine do not pass over each of them.
  EXPECT_NE((*original)->attrs.find("_noinline"), (*original)->attrs.end());
  const FunctionDef* fallback = find_function(graph, "blade_fallback_0_");
  ASSERT_NE(fallback, nullptr);
  ASSERT_EQ((*fallback)->nodes.size(), 2u);
  EXPECT_EQ((*fallback)->nodes[0]->op, "BladeOriginalReady");
  EXPECT_EQ((*fallback)->nodes[1]->op, "StatelessIf");
  EXPECT_EQ((*find(graph, "blade/region_0"))->find_attr("else_branch")->as_func()->name, (*fallback)->signature.name);
  const FunctionDef* session = find_function(graph, "blade_session_0_");
  ASSERT_NE(session, nullptr);
  EXPECT_EQ((*session)->nodes[0]->op, "BladeOriginal");
  EXPECT_EQ((*session)->nodes[0]->find_attr("original")->as_func()->name, (*original)->signature.name);

  auto again = import_graph(graph, options);
  ASSERT_TRUE(again.ok()) << again.status().message();
  ASSERT_EQ(again->engines.size(), 1u);
  EXPECT_EQ(again->engines[0].engine.find(0, fake_engine().size())->view(), fake_engine());
  EXPECT_TRUE(again->single_engine);
  EXPECT_EQ(again->outputs, model->outputs);
  EXPECT_EQ(std::count(again->foreign.begin(), again->foreign.end(), 1), 0);
  int weight = origin_of(*again, "w");
  ASSERT_GE(weight, 0);
  for (const SourceConstant& constant : again->constants) {
    if (constant.origin != weight) continue;
    EXPECT_EQ(constant.tensor->dims, (ir::Dims{4, 2}));
    auto* inside = reinterpret_cast<const char*>(constant.tensor->data);
    EXPECT_EQ(inside, again->engines[0].engine.find(kOffset, 32)->data());  // a view, not a copy
  }
  options.inputs = {"x"};
  again = import_graph(graph, options);
  ASSERT_TRUE(again.ok()) << again.status().message();
  EXPECT_TRUE(again->single_engine);
}

TEST(Writer, ALargeEngineStandsInPieces) {
  ImportOptions options;
  options.outputs = {"softmax_tensor", "argmax"};
  auto model = import_graph(sample_graph(), options);
  ASSERT_TRUE(model.ok()) << model.status().message();
  RegionToWrite region = whole_region(*model);
  region.pieces = {0, kOffset};
  auto written = write_optimized(*model, model->graph, {&region, 1});
  ASSERT_TRUE(written.ok()) << written.status().message();
  const NodeDef* engine = find(*written, "blade/engine_0");
  ASSERT_NE(engine, nullptr);
  EXPECT_EQ((*engine)->op, "BladeEngineFile");
  EXPECT_EQ((*engine)->inputs, (std::vector<std::string>{"blade/engine_0/piece_0", "blade/engine_0/piece_1"}));
  EXPECT_EQ((*find(*written, "blade/engine_0/piece_1"))->op, "BladeEnginePiece");
  EXPECT_EQ((*find(*written, "blade/region_0"))->inputs[1], "blade/engine_0");

  auto again = import_graph(*written, options);
  ASSERT_TRUE(again.ok()) << again.status().message();
  ASSERT_EQ(again->engines.size(), 1u);
  EXPECT_EQ(again->source->nodes.size(), model->source->nodes.size());  // nothing of Blade's is left
  const SharedPieces& pieces = again->engines[0].engine;
  EXPECT_EQ(pieces.bytes().list().size(), 2u);
  EXPECT_EQ(pieces.bytes().size(), fake_engine().size());
  EXPECT_FALSE(pieces.find(kOffset - 1, 2).has_value());
  const int weight = origin_of(*again, "w");
  ASSERT_GE(weight, 0);
  for (const SourceConstant& constant : again->constants) {
    if (constant.origin != weight) continue;
    EXPECT_EQ(reinterpret_cast<const char*>(constant.tensor->data), pieces.find(kOffset, 32)->data());
  }

  region.pieces = {0, kOffset + 16};  // inside the weight
  written = write_optimized(*model, model->graph, {&region, 1});
  ASSERT_TRUE(written.ok()) << written.status().message();
  const Status status = import_graph(*written, options).status();
  EXPECT_EQ(status.code(), StatusCode::kDataLoss) << status.message();
}

// The sample graph's original nodes with the weights of `engine`.
Result<OriginalGraph> original_graph_with(const std::string& engine) {
  ImportOptions options;
  options.outputs = {"softmax_tensor", "argmax"};
  BLADE_ASSIGN_OR_RETURN(const ImportedModel model, import_graph(sample_graph(), options));
  const RegionToWrite region = whole_region(model);
  BLADE_ASSIGN_OR_RETURN(const GraphDef written, write_optimized(model, model.graph, {&region, 1}));
  const FunctionDef* original = original_of_region_0(written);
  return make_original_graph(*written->library, (*original)->signature.name, SharedPieces(SharedBytes::own(engine)),
                             27);
}

TEST(Writer, OriginalNodesAsAGraphReadConstants) {
  const auto made = original_graph_with(fake_engine());
  ASSERT_TRUE(made.ok()) << made.status().message();
  EXPECT_EQ(made->inputs, std::vector<std::string>{"input_0"});
  EXPECT_EQ(made->num_outputs, 2u);
  EXPECT_EQ(made->weight_bytes, 32u);
  EXPECT_EQ(made->graph->versions->producer, 27);
  EXPECT_FALSE(made->repays_a_session);  // one small product
  const auto shape = shape_attr(*find(made->graph, "input_0"), "shape");
  ASSERT_TRUE(shape.ok()) << shape.status().message();
  EXPECT_EQ(shape->dims, (std::vector<int64_t>{-1, 4}));
  EXPECT_EQ((*find(made->graph, "weight_0"))->op, "Const");
  EXPECT_EQ((*find(made->graph, made->call))->inputs, (std::vector<std::string>{"input_0", "weight_0"}));
  const FunctionDef* original = original_of_region_0(made->graph);
  ASSERT_NE(original, nullptr);
  EXPECT_FALSE((*original)->attrs.contains("_noinline"));
  for (const NodeDef& node : (*original)->nodes) {
    EXPECT_NE(node->op, "BladeStoredWeight");
    if (node->name != "matmul") continue;
    EXPECT_EQ(node->inputs[1], (*original)->signature.input_args[1].name);
  }
}

TEST(Writer, OriginalNodesAreNoGraphWithDamagedWeights) {
  std::string engine = fake_engine();
  engine[kOffset + 5] ^= 1;
  const auto made = original_graph_with(engine);
  ASSERT_FALSE(made.ok());
  EXPECT_NE(made.status().message().find("the file is damaged"), std::string::npos) << made.status().message();
}

TEST(Writer, NodesOutsideKeepTheirBytes) {
  GraphDef graph = GraphBuilder()
                       .placeholder("x", {2, 4})
                       .op("a", "Neg", {"x"})
                       .node("id", "Identity", {"a"}, {{"T", AttrValue::of_type(DataType::kFloat)}})
                       .node("custom", "MyOp", {"id"})
                       .op("b", "Exp", {"custom"})
                       .op("split_me", "Relu", {"b"})
                       .build();
  auto model = import_graph(graph);
  ASSERT_TRUE(model.ok()) << model.status().message();
  // As stripping debug ops does it.
  for (ir::NodeId id = 0; id < model->graph.num_node_slots(); ++id) {
    if (!model->graph.is_live(id) || model->graph.node(id).name != "id") continue;
    model->graph.replace_uses(model->graph.node(id).outputs[0], model->graph.node(id).inputs[0]);
    model->graph.remove_node(id);
  }
  std::vector<RegionToWrite> regions(2);
  regions[0].origins = {origin_of(*model, "a")};
  regions[0].inputs = {boundary(*model, "x:0")};
  regions[0].outputs = {boundary(*model, "a:0")};
  regions[1].origins = {origin_of(*model, "b"), origin_of(*model, "split_me")};
  regions[1].inputs = {boundary(*model, "custom:0")};
  regions[1].outputs = {boundary(*model, "split_me:0")};
  for (auto& region : regions) region.engine = SharedBytes::own(fake_engine());
  auto written = write_optimized(*model, model->graph, regions);
  ASSERT_TRUE(written.ok()) << written.status().message();
  EXPECT_EQ(find(*written, "id"), nullptr);
  EXPECT_EQ((*find(*written, "custom"))->inputs, std::vector<std::string>{"a"});
  EXPECT_EQ((*find(*written, "a"))->op, "Identity");
  EXPECT_EQ((*find(*written, "blade/region_1"))->inputs,
            (std::vector<std::string>{"blade/in_profile_1", "blade/engine_1", "custom"}));
  auto again = import_graph(*written);
  ASSERT_TRUE(again.ok()) << again.status().message();
  EXPECT_EQ(again->engines.size(), 2u);
  EXPECT_EQ(again->outputs, std::vector<std::string>{"split_me:0"});
  EXPECT_EQ(again->engines[1].inputs, std::vector<std::string>{"custom:0"});
}

TEST(Writer, OneOutputOfManyKeepsItsName) {
  GraphDef graph = GraphBuilder()
                       .placeholder("x", {2, 4})
                       .scalar("axis", 1)
                       .op("n", "Neg", {"x"})
                       .node("split", "Split", {"axis", "n"},
                             {{"T", AttrValue::of_type(DataType::kFloat)}, {"num_split", AttrValue::of_int(2)}})
                       .build();
  ImportOptions options;
  options.outputs = {"split:1"};
  auto model = import_graph(graph, options);
  ASSERT_TRUE(model.ok()) << model.status().message();
  RegionToWrite region;
  region.origins = {origin_of(*model, "n"), origin_of(*model, "split")};
  region.inputs = {boundary(*model, "x:0")};
  region.outputs = {boundary(*model, "split:1")};
  region.engine = SharedBytes::own(fake_engine());
  auto written = write_optimized(*model, model->graph, {&region, 1});
  ASSERT_TRUE(written.ok()) << written.status().message();
  EXPECT_EQ((*find(*written, "split"))->op, "IdentityN");
  EXPECT_EQ((*find(*written, "split"))->inputs.size(), 2u);
  const FunctionDef* original = original_of_region_0(*written);
  EXPECT_EQ((*original)->ret.at("blade_out_0"), "split:output:1");
  auto again = import_graph(*written, options);
  ASSERT_TRUE(again.ok()) << again.status().message();
  EXPECT_TRUE(again->single_engine);
}

TEST(Writer, AttributesWithoutAValueStayOutOfFunctions) {
  AttrMap attrs = {{"T", AttrValue::of_type(DataType::kFloat)}, {"data_format", AttrValue()}};
  auto model = import_graph(GraphBuilder().placeholder("x", {2}).node("y", "Neg", {"x"}, attrs).build());
  ASSERT_TRUE(model.ok()) << model.status().message();
  RegionToWrite region;
  region.origins = {origin_of(*model, "y")};
  region.inputs = {boundary(*model, "x:0")};
  region.outputs = {boundary(*model, "y:0")};
  region.engine = SharedBytes::own(fake_engine());
  auto written = write_optimized(*model, model->graph, {&region, 1});
  ASSERT_TRUE(written.ok()) << written.status().message();
  const FunctionDef* original = original_of_region_0(*written);
  EXPECT_EQ((*original)->nodes[0]->find_attr("data_format"), nullptr);
}

TEST(Writer, AFallbackThatCallsNothingIsRefused) {
  auto model = import_graph(sample_graph());
  ASSERT_TRUE(model.ok());
  RegionToWrite region = whole_region(*model);
  auto written = write_optimized(*model, model->graph, {&region, 1});
  ASSERT_TRUE(written.ok()) << written.status().message();
  for (FunctionDef& function : written->edit().library->edit().functions) {
    if (!function->signature.name.starts_with("blade_fallback_0_")) continue;
    for (std::string& input : function.edit().nodes[1].edit().inputs) input = "unknown";
  }
  auto again = import_graph(*written);
  ASSERT_FALSE(again.ok());
  EXPECT_NE(again.status().message().find("fallback that is no call"), std::string::npos) << again.status().message();
}

TEST(Writer, WithoutRegionsNothingChanges) {
  GraphDef graph = sample_graph();
  auto model = import_graph(graph);
  ASSERT_TRUE(model.ok());
  auto written = write_optimized(*model, model->graph, {});
  ASSERT_TRUE(written.ok()) << written.status().message();
  EXPECT_EQ((*written)->nodes.size(), graph->nodes.size());
  EXPECT_FALSE((*written)->library.has_value());
}

TEST(Writer, WeightOutsideTheEngineIsRefused) {
  auto model = import_graph(sample_graph());
  ASSERT_TRUE(model.ok());
  RegionToWrite region = whole_region(*model);
  region.outputs.erase(region.outputs.begin());
  region.weights[0].offset = 80;
  auto written = write_optimized(*model, model->graph, {&region, 1});
  ASSERT_FALSE(written.ok());
  EXPECT_NE(written.status().message().find("does not lie in the engine"), std::string::npos);
}

}  // namespace
}  // namespace blade::tensorflow
