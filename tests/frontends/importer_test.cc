// The importer on small graphs: what becomes which IR ops, what stays Foreign and why, and each error a user can meet.
#include "frontends/tensorflow/importer.h"

#include <gtest/gtest.h>

#include "frontends/graph_builder.h"

namespace blade::tensorflow {
namespace {

using ::testing::Test;

AttrMap with_t(AttrMap attrs, DataType type = DataType::kFloat) {
  attrs.emplace("T", AttrValue::of_type(type));
  return attrs;
}

std::vector<ir::Op> live_ops(const ir::Graph& graph) {
  std::vector<ir::Op> ops;
  for (ir::NodeId id = 0; id < graph.num_node_slots(); ++id) {
    if (graph.is_live(id)) ops.push_back(graph.node(id).op);
  }
  return ops;
}

const ir::Node* find_node(const ir::Graph& graph, const std::string& name) {
  for (ir::NodeId id = 0; id < graph.num_node_slots(); ++id) {
    if (graph.is_live(id) && graph.node(id).name == name) return &graph.node(id);
  }
  return nullptr;
}

std::string reason_of(const ImportedModel& model, const std::string& name) {
  const ir::Node* node = find_node(model.graph, name);
  return node != nullptr && node->op == ir::Op::kForeign ? node->get<ir::ForeignAttrs>().reason : "";
}

void expect_error(const GraphDef& graph, const ImportOptions& options, const std::string& part) {
  auto model = import_graph(graph, options);
  ASSERT_FALSE(model.ok());
  EXPECT_NE(model.status().message().find(part), std::string::npos) << model.status().message();
}

std::string shape_of(const ImportedModel& model, int output = 0) {
  return model.graph.symbols().to_string(model.graph.value(model.graph.outputs()[output]).shape);
}

GraphDef conv_graph(const std::string& format) {
  bool first = format == "NCHW";
  return GraphBuilder()
      .placeholder("x", first ? std::vector<int64_t>{-1, 2, 5, 5} : std::vector<int64_t>{-1, 5, 5, 2})
      .floats("w", {3, 3, 2, 4}, std::vector<float>(72, 1.f))
      .floats("b", {4}, {1, 2, 3, 4})
      .node("conv", "Conv2D", {"x", "w"},
            with_t({{"strides",
                     AttrValue::of_ints(first ? std::vector<int64_t>{1, 1, 2, 2} : std::vector<int64_t>{1, 2, 2, 1})},
                    {"padding", AttrValue::of_string("SAME")},
                    {"data_format", AttrValue::of_string(format)}}))
      .node("bias", "BiasAdd", {"conv", "b"}, with_t({{"data_format", AttrValue::of_string(format)}}))
      .op("relu", "Relu", {"bias"})
      .build();
}

TEST(Importer, ConvNhwc) {
  auto model = import_graph(conv_graph("NHWC"));
  ASSERT_TRUE(model.ok()) << model.status().message();
  EXPECT_EQ(live_ops(model->graph), (std::vector{ir::Op::kConv, ir::Op::kPointwise, ir::Op::kPointwise}));
  EXPECT_EQ(shape_of(*model), "[x.0,3,3,4]");
  EXPECT_EQ(model->outputs, std::vector<std::string>{"relu:0"});
  EXPECT_EQ(model->inputs, std::vector<std::string>{"x:0"});
  EXPECT_EQ(model->graph.value(model->graph.outputs()[0]).name, "relu:0");
  EXPECT_TRUE(ir::verify(model->graph).ok()) << ir::verify(model->graph).message();
}

TEST(Importer, ConvNchwMovesChannels) {
  auto model = import_graph(conv_graph("NCHW"));
  ASSERT_TRUE(model.ok()) << model.status().message();
  EXPECT_EQ(live_ops(model->graph), (std::vector{ir::Op::kTranspose, ir::Op::kConv, ir::Op::kTranspose,
                                                 ir::Op::kReshape, ir::Op::kPointwise, ir::Op::kPointwise}));
  EXPECT_EQ(shape_of(*model), "[x.0,4,3,3]");
  EXPECT_TRUE(ir::verify(model->graph).ok());
}

TEST(Importer, DepthwiseKeepsTheWeightsBytes) {
  GraphDef graph =
      GraphBuilder()
          .placeholder("x", {1, 4, 4, 3})
          .floats("w", {2, 2, 3, 2}, std::vector<float>(24, 1.f))
          .node("conv", "DepthwiseConv2dNative", {"x", "w"},
                with_t({{"strides", AttrValue::of_ints({1, 1, 1, 1})}, {"padding", AttrValue::of_string("VALID")}}))
          .build();
  auto model = import_graph(graph);
  ASSERT_TRUE(model.ok()) << model.status().message();
  const ir::Node* conv = find_node(model->graph, "conv");
  ASSERT_NE(conv, nullptr);
  EXPECT_EQ(conv->get<ir::ConvAttrs>().groups, 3);
  const ir::Tensor& weights = *model->graph.value(conv->inputs[1]).constant;
  EXPECT_EQ(weights.dims, (ir::Dims{2, 2, 1, 6}));
  EXPECT_EQ(source_constant(*model, weights), 1);
  EXPECT_EQ(shape_of(*model), "[1,3,3,6]");
}

TEST(Importer, NegativeAxesCountFromTheFront) {
  GraphDef graph = GraphBuilder()
                       .placeholder("x", {2, 3, 4})
                       .scalar("axis", -1)
                       .node("sum", "Sum", {"x", "axis"}, with_t({}))
                       .build();
  auto model = import_graph(graph);
  ASSERT_TRUE(model.ok()) << model.status().message();
  EXPECT_EQ(find_node(model->graph, "sum")->get<ir::ReduceAttrs>().axes, std::vector<int64_t>{2});
}

TEST(Importer, AxesThatFollowFromTheRankAreKnown) {
  GraphDef graph = GraphBuilder()
                       .placeholder("x", {-1, 3})
                       .op("rank", "Rank", {"x"})
                       .scalar("zero", 0)
                       .scalar("one", 1)
                       .node("axes", "Range", {"zero", "rank", "one"}, {{"Tidx", AttrValue::of_type(DataType::kInt32)}})
                       .node("sum", "Sum", {"x", "axes"}, with_t({}))
                       .build();
  auto model = import_graph(graph);
  ASSERT_TRUE(model.ok()) << model.status().message();
  EXPECT_EQ(reason_of(*model, "sum"), "");
  EXPECT_EQ(shape_of(*model), "[]");
}

TEST(Importer, ComputedPermutationStaysInTensorFlow) {
  GraphDef graph = GraphBuilder()
                       .placeholder("x", {2, 3})
                       .placeholder("perm", {2}, DataType::kInt32)
                       .node("t", "Transpose", {"x", "perm"}, with_t({}))
                       .op("relu", "Relu", {"t"})
                       .build();
  auto model = import_graph(graph);
  ASSERT_TRUE(model.ok()) << model.status().message();
  EXPECT_EQ(reason_of(*model, "t"), "its permutation is not a constant");
  EXPECT_EQ(reason_of(*model, "relu"), "");  // the result's type is known, so what follows is not lost
  ImportOptions strict;
  strict.allow_foreign = false;
  expect_error(graph, strict, "1 node needs TensorFlow: 't' (Transpose): its permutation is not a constant");
}

std::string spectrogram_shape(int64_t samples) {
  GraphDef graph = GraphBuilder()
                       .placeholder("x", {samples, 2})
                       .node("audio", "AudioSpectrogram", {"x"},
                             {{"window_size", AttrValue::of_int(256)}, {"stride", AttrValue::of_int(128)}})
                       .build();
  auto model = import_graph(graph);
  return model.ok() ? reason_of(*model, "audio") + shape_of(*model) : std::string(model.status().message());
}

TEST(Importer, AudioShorterThanAWindowHasNoFrames) {
  EXPECT_EQ(spectrogram_shape(0), "[2,0,129]");
  EXPECT_EQ(spectrogram_shape(255), "[2,0,129]");
  EXPECT_EQ(spectrogram_shape(256), "[2,1,129]");
  EXPECT_EQ(spectrogram_shape(-1), "[2,(x.0+max(x.0*-1+255,0))//128-1,129]");
}

// Why the gradient of a batch normalization stays where these attributes stand in for those that Blade runs, `used`
// being what is read of it.
std::string batch_norm_gradient_stays(const AttrMap& instead, const std::string& used = "gradient") {
  AttrMap attrs = instead;
  attrs.emplace("is_training", AttrValue::of_bool(false));
  attrs.emplace("U", AttrValue::of_type(DataType::kFloat));
  const DataType type = attrs.count("T") != 0 ? DataType::kHalf : DataType::kFloat;
  GraphDef graph = GraphBuilder()
                       .placeholder("dy", {2, 5, 5, 3}, type)
                       .placeholder("x", {2, 5, 5, 3}, type)
                       .floats("scale", {3}, {1, 2, 3})
                       .floats("mean", {3}, {1, 2, 3})
                       .floats("variance", {3}, {1, 2, 3})
                       .floats("reserved", {0}, {})
                       .node("gradient", "FusedBatchNormGradV3", {"dy", "x", "scale", "mean", "variance", "reserved"},
                             with_t(std::move(attrs)))
                       .node("relu", "Relu", {used}, with_t({}, used == "gradient" ? type : DataType::kFloat))
                       .build();
  auto model = import_graph(graph);
  return model.ok() ? reason_of(*model, "gradient") : std::string(model.status().message());
}

TEST(Importer, GradientsOfOtherBatchNormalizationsStay) {
  EXPECT_EQ(batch_norm_gradient_stays({}), "");
  EXPECT_EQ(batch_norm_gradient_stays({{"is_training", AttrValue::of_bool(true)}}),
            "it is the gradient of a batch normalization that trains");
  EXPECT_EQ(batch_norm_gradient_stays({{"data_format", AttrValue::of_string("NCHW")}}), "its channels come first");
  EXPECT_EQ(batch_norm_gradient_stays({{"T", AttrValue::of_type(DataType::kHalf)}}),
            "its statistics are of another type");
  for (int i = 1; i < 5; ++i) {
    EXPECT_EQ(batch_norm_gradient_stays({}, "gradient:" + std::to_string(i)),
              "its output " + std::to_string(i) + " is used");
  }
}

TEST(Importer, StringsAndUnknownOpsStay) {
  GraphDef graph = GraphBuilder()
                       .placeholder("s", {-1}, DataType::kString)
                       .node("hash", "StringToHashBucketFast", {"s"}, {{"num_buckets", AttrValue::of_int(10)}})
                       .node("custom", "MyOp", {"hash"})
                       .op("relu", "Relu", {"custom:1"})
                       .build();
  auto model = import_graph(graph);
  ASSERT_TRUE(model.ok()) << model.status().message();
  EXPECT_EQ(reason_of(*model, "hash"), "strings");
  EXPECT_EQ(reason_of(*model, "custom"), "Blade does not know the op MyOp");
  EXPECT_EQ(find_node(model->graph, "custom")->outputs.size(), 2u);
  EXPECT_EQ(reason_of(*model, "relu"), "");  // float32, as relu says
  EXPECT_EQ(model->foreign, (std::vector<char>{0, 1, 1, 0}));
}

TEST(Importer, ChecksThatAnOutputWaitsForHaveSideEffects) {
  GraphDef graph = GraphBuilder()
                       .placeholder("x", {})
                       .placeholder("ok", {}, DataType::kBool)
                       .node("assert", "Assert", {"ok", "x"}, {{"T", AttrValue::of_types({DataType::kFloat})}})
                       .node("idle", "Assert", {"ok", "x"}, {{"T", AttrValue::of_types({DataType::kFloat})}})
                       .node("y", "Identity", {"x", "^assert"}, with_t({}))
                       .build();
  auto model = import_graph(graph);
  ASSERT_TRUE(model.ok()) << model.status().message();
  const ir::Node* assert_node = find_node(model->graph, "assert");
  ASSERT_NE(assert_node, nullptr);
  EXPECT_TRUE(assert_node->get<ir::ForeignAttrs>().side_effects);
  EXPECT_FALSE(find_node(model->graph, "idle")->get<ir::ForeignAttrs>().side_effects);
  EXPECT_EQ(find_node(model->graph, "y")->control_inputs, std::vector<ir::NodeId>{assert_node->id});
}

TEST(Importer, LoopsStayWhole) {
  AttrMap frame = with_t({{"frame_name", AttrValue::of_string("loop")}});
  AttrMap two = with_t({{"N", AttrValue::of_int(2)}});
  GraphDef graph = GraphBuilder()
                       .placeholder("x", {})
                       .floats("limit", {}, {10})
                       .floats("one", {}, {1})
                       .node("enter", "Enter", {"x"}, frame)
                       .node("enter_limit", "Enter", {"limit"}, frame)
                       .node("enter_one", "Enter", {"one"}, frame)
                       .node("merge", "Merge", {"enter", "next"}, two)
                       .op("less", "Less", {"merge", "enter_limit"})
                       .node("cond", "LoopCond", {"less"})
                       .op("switch", "Switch", {"merge", "cond"})
                       .op("add", "AddV2", {"switch:1", "enter_one"})
                       .op("next", "NextIteration", {"add"})
                       .op("exit", "Exit", {"switch"})
                       .op("after", "Relu", {"exit"})
                       .build();
  auto model = import_graph(graph);
  ASSERT_TRUE(model.ok()) << model.status().message();
  const std::string inside = "it runs inside a while loop of TensorFlow 1: ";
  EXPECT_TRUE(reason_of(*model, "add").starts_with(inside)) << reason_of(*model, "add");
  EXPECT_TRUE(reason_of(*model, "less").starts_with(inside)) << reason_of(*model, "less");
  EXPECT_EQ(reason_of(*model, "after"), "");
  EXPECT_TRUE(find_node(model->graph, "next")->get<ir::ForeignAttrs>().side_effects);
  EXPECT_TRUE(model->graph.topological_order().ok());
}

TEST(Importer, BranchesBecomeOneNode) {
  GraphDef graph = GraphBuilder()
                       .placeholder("x", {2})
                       .placeholder("p", {}, DataType::kBool)
                       .op("switch", "Switch", {"x", "p"})
                       .op("neg", "Neg", {"switch"})
                       .op("exp", "Exp", {"switch:1"})
                       .node("merge", "Merge", {"neg", "exp"}, with_t({{"N", AttrValue::of_int(2)}}))
                       .op("after", "Relu", {"merge"})
                       .build();
  auto model = import_graph(graph);
  ASSERT_TRUE(model.ok()) << model.status().message();
  EXPECT_EQ(reason_of(*model, "neg"), "");
  EXPECT_EQ(reason_of(*model, "after"), "");
  bool has_if = false;
  for (ir::NodeId id = 0; id < model->graph.num_node_slots(); ++id) {
    has_if = has_if || (model->graph.is_live(id) && model->graph.node(id).op == ir::Op::kIf);
  }
  EXPECT_TRUE(has_if);
}

// A tf.switch_case; one of its branches is a constant, which exists always.
GraphDef switch_by_index(std::vector<std::string> arms) {
  const AttrMap outs = with_t({{"num_outs", AttrValue::of_int(3)}});
  const AttrMap joined = with_t({{"N", AttrValue::of_int(static_cast<int64_t>(arms.size()))}});
  return GraphBuilder()
      .placeholder("x", {2})
      .placeholder("k", {}, DataType::kInt32)
      .floats("one", {2}, {1, 1})
      .node("switch", "_SwitchN", {"x", "k"}, outs)
      .op("neg", "Neg", {"switch"})
      .op("exp", "Exp", {"switch:2"})
      .node("merge", "Merge", std::move(arms), joined)
      .op("after", "Relu", {"merge"})
      .build();
}

TEST(Importer, BranchesByIndexBecomeOneNode) {
  auto model = import_graph(switch_by_index({"exp", "neg", "one"}));
  ASSERT_TRUE(model.ok()) << model.status().message();
  const ir::Node* made = nullptr;
  for (ir::NodeId id = 0; id < model->graph.num_node_slots(); ++id) {
    if (model->graph.is_live(id) && model->graph.node(id).op == ir::Op::kIf) made = &model->graph.node(id);
  }
  ASSERT_NE(made, nullptr) << reason_of(*model, "merge");
  const auto& branches = made->get<ir::SubGraphsAttrs>().graphs;
  ASSERT_EQ(branches.size(), 3u);
  EXPECT_NE(find_node(*branches[0], "neg"), nullptr);
  EXPECT_EQ(find_node(*branches[1], "neg"), nullptr);
  EXPECT_NE(find_node(*branches[2], "exp"), nullptr);
}

TEST(Importer, BranchesByIndexThatDoNotComeTogetherStay) {
  for (const auto& arms : {std::vector<std::string>{"neg", "exp"}, {"neg", "one", "one"}, {"neg", "neg", "exp"}}) {
    ImportOptions options;
    options.outputs = {"after"};
    auto model = import_graph(switch_by_index(arms), options);
    ASSERT_TRUE(model.ok()) << model.status().message();
    EXPECT_NE(reason_of(*model, "merge").find("does not join the branches of one predicate"), std::string::npos);
    EXPECT_NE(reason_of(*model, "neg"), "");
  }
}

// The branch that stays asks for the imaginary part of a real number, for which zeros are made and taken back.
TEST(Importer, WhatABranchThatStaysHadAddedIsNotThereForOthers) {
  const DataType type = DataType::kComplex64;
  const auto branch = [&](const std::string& name, const char* op) {
    FunctionFields f;
    f.signature.name = name;
    f.signature.input_args = {make_arg("a", type)};
    f.signature.output_args = {make_arg("r", type)};
    f.nodes = {make_node("n", op, {"a"}, with_t({}, type))};
    f.ret = {{"r", "n:output:0"}};
    return f;
  };
  const AttrMap choice = {{"Tcond", AttrValue::of_type(DataType::kBool)},
                          {"Tin", AttrValue::of_types({type})},
                          {"Tout", AttrValue::of_types({type})},
                          {"then_branch", AttrValue::of_func("inverse")},
                          {"else_branch", AttrValue::of_func("same")}};
  GraphBuilder builder;
  builder.placeholder("x", {2, 2}).placeholder("p", {}, DataType::kBool);
  builder.node("z", "Cast", {"x"},
               {{"SrcT", AttrValue::of_type(DataType::kFloat)}, {"DstT", AttrValue::of_type(type)}});
  builder.node("if", "StatelessIf", {"p", "z"}, choice);
  const AttrMap part = with_t({{"Tout", AttrValue::of_type(DataType::kFloat)}}, type);
  builder.node("of_if", "Imag", {"if"}, part).node("of_z", "Imag", {"z"}, part);
  auto model =
      import_graph(builder.function(branch("inverse", "MatrixInverse")).function(branch("same", "Identity")).build());
  ASSERT_TRUE(model.ok()) << model.status().message();
  EXPECT_NE(reason_of(*model, "if").find("MatrixInverse"), std::string::npos) << reason_of(*model, "if");
  ASSERT_NE(find_node(model->graph, "of_z"), nullptr);
  EXPECT_EQ(find_node(model->graph, "of_z")->op, ir::Op::kIdentity);
  const Status status = ir::verify(model->graph);
  EXPECT_TRUE(status.ok()) << status.message();
}

TEST(Importer, FunctionsAreInlined) {
  FunctionFields f;
  f.signature.name = "twice";
  f.signature.input_args = {make_arg("a", DataType::kFloat)};
  f.signature.output_args = {make_arg("r", DataType::kFloat)};
  f.nodes = {make_node("add", "AddV2", {"a", "a"}, with_t({})), make_node("relu", "Relu", {"add:z:0"}, with_t({}))};
  f.ret = {{"r", "relu:activations:0"}};
  AttrMap call = {{"f", AttrValue::of_func("twice")},
                  {"Tin", AttrValue::of_types({DataType::kFloat})},
                  {"Tout", AttrValue::of_types({DataType::kFloat})}};
  GraphBuilder builder;
  builder.placeholder("x", {2}).node("call", "StatefulPartitionedCall", {"x"}, call).op("y", "Neg", {"call"});
  expect_error(builder.build(), {}, "calls the function 'twice', which the graph's library does not have");
  auto model = import_graph(builder.function(f).build());
  ASSERT_TRUE(model.ok()) << model.status().message();
  EXPECT_NE(find_node(model->graph, "call/relu"), nullptr);
  EXPECT_EQ(find_node(model->graph, "call")->op, ir::Op::kIdentity);
  EXPECT_EQ(std::count(model->foreign.begin(), model->foreign.end(), 1), 0);
}

TEST(Importer, RecursiveFunctionsAreRefused) {
  FunctionFields f;
  f.signature.name = "f";
  f.signature.input_args = {make_arg("a", DataType::kFloat)};
  f.signature.output_args = {make_arg("r", DataType::kFloat)};
  AttrMap call = {{"f", AttrValue::of_func("f")},
                  {"Tin", AttrValue::of_types({DataType::kFloat})},
                  {"Tout", AttrValue::of_types({DataType::kFloat})}};
  f.nodes = {make_node("again", "PartitionedCall", {"a"}, call), make_node("more", "PartitionedCall", {"a"}, call)};
  f.ret = {{"r", "again:output:0"}};
  expect_error(GraphBuilder().placeholder("x", {2}).node("c", "PartitionedCall", {"x"}, call).function(f).build(), {},
               "functions call each other more than");
}

TEST(Importer, InputsAndShapesAreTheUsers) {
  GraphDef graph = GraphBuilder().placeholder("x", {-1, 4}).op("a", "Neg", {"x"}).op("b", "Exp", {"a"}).build();
  ImportOptions options;
  options.input_shapes = {{"x", {8, -1}}};
  auto model = import_graph(graph, options);
  ASSERT_TRUE(model.ok()) << model.status().message();
  EXPECT_EQ(shape_of(*model), "[8,4]");
  options.input_shapes = {{"x", {8, 5}}};
  expect_error(graph, options, "the input 'x:0' has the shape [?,4] in the graph, but [8,5] was given");
  options.input_shapes = {{"z", {8, 5}}};
  expect_error(graph, options, "a shape is given for 'z', which is not an input");
  ImportOptions cut;
  cut.inputs = {"a:0"};
  auto second = import_graph(graph, cut);
  ASSERT_TRUE(second.ok()) << second.status().message();
  EXPECT_EQ(second->inputs, std::vector<std::string>{"a:0"});
}

TEST(Importer, AsksForTheRankOfInputsOfWhichNothingIsKnown) {
  GraphDef graph = GraphBuilder().placeholder("x", {-1, 4}).op("a", "Neg", {"x"}).op("b", "AddV2", {"x", "a"}).build();
  ImportOptions options;
  options.inputs = {"x", "a:0"};
  std::vector<std::pair<std::string, size_t>> asked;
  options.rank_of = [&](const std::string& tensor, size_t index) {
    asked.emplace_back(tensor, index);
    return std::optional<size_t>(3);
  };
  auto model = import_graph(graph, options);
  ASSERT_TRUE(model.ok()) << model.status().message();
  EXPECT_EQ(asked, (decltype(asked){{"a:0", 1}}));
  EXPECT_EQ(model->graph.value(model->graph.inputs()[0]).shape.rank(), 2);
  EXPECT_EQ(model->graph.value(model->graph.inputs()[1]).shape.rank(), 3);
  EXPECT_EQ(model->ranks.at("a:0").rank, 3);
  options.rank_of = [](const std::string&, size_t) { return std::optional<size_t>(); };
  model = import_graph(graph, options);
  ASSERT_TRUE(model.ok()) << model.status().message();
  EXPECT_FALSE(model->graph.value(model->graph.inputs()[1]).shape.has_rank());
  EXPECT_TRUE(model->ranks.empty());
}

// What a rate may be computed from is not looked for without end.
TEST(Importer, DifferencesOfDifferencesTakeNoTime) {
  GraphBuilder builder;
  builder.placeholder("x", {16}).floats("c0", {}, {1});
  for (int i = 0; i < 40; ++i) {
    const std::string before = "c" + std::to_string(i);
    builder.op("c" + std::to_string(i + 1), "Sub", {before, before});
  }
  auto model = import_graph(builder.op("y", "GreaterEqual", {"x", "c40"}).build(), {});
  ASSERT_TRUE(model.ok()) << model.status().message();
}

TEST(ImporterErrors, Cycle) {
  GraphDef graph = GraphBuilder().op("a", "Neg", {"b"}).op("b", "Neg", {"a"}).build();
  expect_error(graph, {}, "the graph has a cycle through node");
}

TEST(ImporterErrors, MissingInputNode) {
  GraphDef graph = GraphBuilder().op("a", "Neg", {"nowhere"}).build();
  expect_error(graph, {}, "node 'a' (Neg) reads 'nowhere', but the graph has no node 'nowhere'");
}

TEST(ImporterErrors, DuplicateName) {
  GraphDef graph = GraphBuilder().placeholder("x", {1}).placeholder("x", {1}).build();
  expect_error(graph, {}, "two nodes are named 'x'");
}

TEST(ImporterErrors, WrongPort) {
  GraphDef graph = GraphBuilder().placeholder("x", {1}).op("a", "Neg", {"x:1"}).build();
  expect_error(graph, {}, "node 'a' (Neg) reads output 1 of 'x' (Placeholder), which has 1");
}

TEST(ImporterErrors, WrongArity) {
  GraphDef graph = GraphBuilder().placeholder("x", {1}).op("a", "AddV2", {"x"}).build();
  expect_error(graph, {}, "node 'a' (AddV2) has 1 inputs, expected 2");
}

TEST(ImporterErrors, MissingOutputSuggestsNames) {
  GraphDef graph = GraphBuilder().placeholder("x", {1}).op("softmax_tensor", "Softmax", {"x"}).build();
  ImportOptions options;
  options.outputs = {"softmax_tenser"};
  expect_error(graph, options,
               "the graph has no node 'softmax_tenser', given as output; the closest names are 'softmax_tensor'");
  options.outputs = {"softmax_tensor:3"};
  expect_error(graph, options, "is output 3 of a node (Softmax) that has 1");
}

TEST(ImporterErrors, MissingInputListsPlaceholders) {
  GraphDef graph = GraphBuilder().placeholder("images", {1}).op("y", "Neg", {"images"}).build();
  ImportOptions options;
  options.inputs = {"pictures"};
  expect_error(graph, options, "likely inputs are 'images'");
  options.inputs = {"images", "images:0"};
  expect_error(graph, options, "is given twice");
}

TEST(ImporterErrors, PlaceholderLeftOut) {
  GraphDef graph = GraphBuilder().placeholder("x", {1}).placeholder("z", {1}).op("y", "AddV2", {"x", "z"}).build();
  ImportOptions options;
  options.inputs = {"x"};
  expect_error(graph, options, "need the placeholder 'z', which is not among the inputs given");
}

TEST(ImporterErrors, NothingToCompute) {
  expect_error(GraphBuilder().placeholder("x", {1}).build(), {}, "no node whose result nothing reads");
}

}  // namespace
}  // namespace blade::tensorflow
