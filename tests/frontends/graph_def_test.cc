// GraphDef bytes to structs and back: byte for byte, changed, broken and hostile.
#include "frontends/tensorflow/proto/graph_def.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "frontends/wire_bytes.h"

namespace blade::tensorflow {
namespace {

using namespace testing;

Result<GraphDef> parse(const std::string& wire) { return parse_graph_def(SharedBytes::own(wire), "model.pb"); }

std::string error_of(const std::string& wire) {
  auto graph = parse(wire);
  return graph.ok() ? "no error" : graph.status().message();
}

void expect_contains(const std::string& text, const std::string& part) {
  EXPECT_NE(text.find(part), std::string::npos) << "'" << part << "' is not in: " << text;
}

// Marks everything as changed, so that all of it is written anew.
void touch_all(GraphDef& graph) {
  auto touch_nodes = [](std::vector<NodeDef>& nodes) {
    for (NodeDef& node : nodes) node.edit();
  };
  GraphFields& fields = graph.edit();
  touch_nodes(fields.nodes);
  if (!fields.library) return;
  for (FunctionDef& function : fields.library->edit().functions) touch_nodes(function.edit().nodes);
}

void decode_all(const GraphDef& graph) {
  for (const NodeDef& node : graph->nodes) {
    for (const auto& [name, attr] : node->attrs) {
      if (attr.as_tensor() != nullptr) (void)attr.as_tensor()->decode(1 << 20);
    }
  }
}

TEST(GraphDefTest, ReadsEveryPart) {
  auto graph = parse(rich_graph());
  ASSERT_TRUE(graph.ok()) << graph.status().message();
  ASSERT_EQ((*graph)->nodes.size(), 3u);
  const NodeDef& node = (*graph)->nodes[2];
  EXPECT_EQ(node->name, "all");
  EXPECT_EQ(node->op, "Everything");
  EXPECT_EQ(node->device, "/cpu:0");
  EXPECT_EQ(node->inputs, (std::vector<std::string>{"input", "input:1", "^c"}));
  EXPECT_EQ(*string_attr(node, "s"), std::string("a\0b\xff", 4));
  EXPECT_EQ(*int_attr(node, "i"), -7);
  EXPECT_EQ(*float_attr(node, "f"), 0.0f);
  EXPECT_TRUE(*bool_attr(node, "b"));
  EXPECT_TRUE(is_ref(*type_attr(node, "type")));
  EXPECT_EQ(shape_attr(node, "shape")->dims, (std::vector<int64_t>{-1, 3, 0}));
  EXPECT_TRUE(shape_attr(node, "unknown_rank")->unknown_rank);
  EXPECT_EQ(tensor_attr(node, "value")->decode()->content.size(), 16u);
  EXPECT_EQ(node->find_attr("placeholder")->as_placeholder()->view(), "T");
  EXPECT_EQ(node->find_attr("none")->kind(), AttrValue::Kind::kNone);
  EXPECT_EQ(node->find_attr("func")->as_func()->attrs.at("T").kind(), AttrValue::Kind::kType);
  const AttrList list = *list_attr(node, "list");
  EXPECT_EQ(list.strings.size(), 2u);
  EXPECT_EQ(list.ints, (std::vector<int64_t>{1, -2, 3}));
  EXPECT_EQ(list.floats, std::vector<float>{0.5f});
  EXPECT_EQ(list.types[1], static_cast<DataType>(103));
  EXPECT_EQ(list.shapes[0].dims, (std::vector<int64_t>{1, -1}));
  EXPECT_EQ(list.funcs[0].name, "callee");
  EXPECT_EQ((*graph)->versions->producer, 1882);
  EXPECT_EQ((*graph)->versions->bad_consumers, (std::vector<int32_t>{13, 14}));
  const FunctionDef* function = (*(*graph)->library)->find_function("callee");
  ASSERT_NE(function, nullptr);
  EXPECT_TRUE((*function)->signature.is_stateful);
  EXPECT_EQ((*function)->signature.input_args[0].type_attr, "T");
  EXPECT_EQ((*function)->signature.attrs[0].default_value->kind(), AttrValue::Kind::kType);
  EXPECT_EQ((*function)->ret.at("y"), "inner:activations:0");
  EXPECT_EQ((*function)->control_ret.at("done"), "inner");
  EXPECT_EQ(*(*function)->arg_attrs.at(0).at("_user").as_int(), 4);
}

TEST(GraphDefTest, WritesUntouchedGraphByteForByte) {
  // Fields in an unusual order, too.
  for (const std::string& wire :
       {rich_graph(), bytes(4, number(1, 3)) + rich_graph() + bytes(1, bytes(2, "NoOp") + bytes(1, "z"))}) {
    auto graph = parse(wire);
    ASSERT_TRUE(graph.ok()) << graph.status().message();
    EXPECT_EQ(*serialize(*graph), wire);
  }
}

TEST(GraphDefTest, KeepsUntouchedNodesAndFunctionsWhenOthersChange) {
  auto graph = parse(rich_graph());
  graph->edit().nodes[1].edit().name = "renamed";
  const std::string wire = *serialize(*graph);
  std::string expected = rich_graph();
  const std::string before = bytes(1, node("c", "NoOp"));
  expected.replace(expected.find(before), before.size(), bytes(1, node("renamed", "NoOp")));
  EXPECT_EQ(wire, expected);
}

TEST(GraphDefTest, KeepsUnknownFieldsOfChangedParts) {
  auto graph = parse(rich_graph());
  touch_all(*graph);
  graph->edit().nodes[2].edit().attrs["i"] = AttrValue::of_int(8);
  const std::string wire = *serialize(*graph);
  auto again = parse(wire);
  ASSERT_TRUE(again.ok()) << again.status().message();
  const NodeDef& node = (*again)->nodes[2];
  EXPECT_EQ(*int_attr(node, "i"), 8);
  EXPECT_EQ(node->attrs.size(), 13u);
  expect_contains(node->unknown_fields, "later");
  expect_contains(node->unknown_fields, "origin");
  const LibraryFields& library = **(*again)->library;
  expect_contains(library.unknown_fields, "later");
  expect_contains(library.functions[0]->nodes[0]->unknown_fields, "later");
  EXPECT_EQ(library.functions[0]->unknown_fields, bytes(8, number(1, 0) + number(2, 9)));
  expect_contains(library.functions[0]->signature.input_args[0].unknown_fields, "the input");
  EXPECT_EQ(library.functions[0]->arg_attrs.size(), 1u);
  EXPECT_EQ(library.gradients[0].gradient_func, "grad");
  // Written anew twice, the bytes are the same: the order is fixed.
  touch_all(*again);
  EXPECT_EQ(*serialize(*again), wire);
}

TEST(GraphDefTest, WritesEveryKindOfAttribute) {
  NodeFields fields;
  fields.name = "n";
  fields.op = "Op";
  AttrList list;
  list.floats = {1.5f};
  list.bools = {true, false};
  list.tensors = {TensorProto::from_strings({2}, {"a", "b"})};
  list.funcs = {NameAttrList{"g", {}, {}}};
  fields.attrs = {{"s", AttrValue::of_string("text")},
                  {"i", AttrValue::of_int(-1)},
                  {"zero", AttrValue::of_int(0)},
                  {"f", AttrValue::of_float(0)},
                  {"b", AttrValue::of_bool(false)},
                  {"t", AttrValue::of_type(DataType::kHalf)},
                  {"shape", AttrValue::of_shape({false, {-1, 2}})},
                  {"list", AttrValue::of_list(list)},
                  {"ints", AttrValue::of_ints({1, 2, -3})},
                  {"types", AttrValue::of_types({DataType::kFloat})},
                  {"shapes", AttrValue::of_shapes({{true, {}}})},
                  {"strings", AttrValue::of_strings({"p", "q"})},
                  {"func", AttrValue::of_func("f", {{"T", AttrValue::of_type(DataType::kFloat)}})},
                  {"placeholder", AttrValue::of_placeholder("N")},
                  {"tensor", AttrValue::of_tensor(
                                 TensorProto::from_dense(DataType::kInt32, {2}, SharedBytes::own(raw(1) + raw(2))))}};
  GraphDef graph;
  graph.edit().nodes.emplace_back(fields);
  auto again = parse(*serialize(graph));
  ASSERT_TRUE(again.ok()) << again.status().message();
  const NodeDef& node = (*again)->nodes[0];
  EXPECT_EQ(node->attrs.size(), fields.attrs.size());
  for (const auto& [name, attr] : fields.attrs) EXPECT_EQ(node->find_attr(name)->kind(), attr.kind()) << name;
  EXPECT_EQ(*int_attr(node, "i"), -1);
  EXPECT_EQ(*ints_attr(node, "ints"), (std::vector<int64_t>{1, 2, -3}));
  EXPECT_EQ(list_attr(node, "list")->bools, (std::vector<bool>{true, false}));
  EXPECT_EQ(list_attr(node, "list")->tensors[0].decode()->strings, (std::vector<std::string>{"a", "b"}));
  EXPECT_TRUE(list_attr(node, "shapes")->shapes[0].unknown_rank);
  EXPECT_EQ(tensor_attr(node, "tensor")->decode()->content.view(), raw(1) + raw(2));
}

TEST(GraphDefTest, TypedAttributesSayWhatIsWrong) {
  auto graph = parse(rich_graph());
  const NodeDef& node = (*graph)->nodes[2];
  EXPECT_EQ(int_attr(node, "strides").status().message(), "node 'all' (Everything) has no attribute 'strides'");
  EXPECT_EQ(int_attr(node, "s").status().message(),
            "node 'all' (Everything) has a string in its attribute 's', where an int is expected");
  EXPECT_EQ(*int_attr_or(node, "strides", 4), 4);
  EXPECT_FALSE(int_attr_or(node, "s", 4).ok());
  EXPECT_TRUE(ints_attr(node, "empty_list")->empty());
  EXPECT_FALSE(ints_attr(node, "list").ok());
}

TEST(GraphDefTest, DoesNotCopyWeights) {
  const std::string content(1 << 20, 'w');
  const std::string value = attr("value", bytes(8, tensor(4, {1 << 20}, bytes(4, content))));
  SharedBytes wire = SharedBytes::own(bytes(1, node("w", "Const", value)));
  auto graph = parse_graph_def(wire, "model.pb");
  auto data = tensor_attr((*graph)->nodes[0], "value")->decode();
  ASSERT_TRUE(data.ok());
  EXPECT_GE(data->content.data(), wire.data());
  EXPECT_LE(data->content.data() + data->content.size(), wire.data() + wire.size());
  EXPECT_EQ(data->content.owner(), wire.owner());
  wire = {};
  *graph = {};
  EXPECT_EQ(data->content.view(), content);  // the tensor keeps the file
}

TEST(GraphDefTest, MergesWhatIsGivenTwice) {
  // Two values of one attribute entry, two lists in one value, two libraries: protobuf merges them.
  const std::string twice = bytes(
      5, bytes(1, "l") + bytes(2, bytes(1, number(3, 1)) + bytes(1, number(3, 2))) + bytes(2, bytes(1, number(3, 3))));
  const std::string function = bytes(1, bytes(1, bytes(1, "f")));
  const std::string wire = bytes(1, node("n", "Op", twice)) + bytes(2, function) + bytes(2, function);
  auto graph = parse(wire);
  ASSERT_TRUE(graph.ok()) << graph.status().message();
  EXPECT_EQ(*ints_attr((*graph)->nodes[0], "l"), (std::vector<int64_t>{1, 2, 3}));
  EXPECT_EQ((*(*graph)->library)->functions.size(), 2u);
  EXPECT_EQ(*serialize(*graph), wire);
}

TEST(GraphDefErrorTest, NamesPartAndByte) {
  const std::string first = bytes(1, node("a", "NoOp"));
  // The attribute says 90 bytes, its node ends before.
  const std::string broken = bytes(1, node("conv1/Conv2D", "Conv2D", varint(5 * 8 + 2) + varint(90) + "short"));
  const std::string message = error_of(first + broken);
  expect_contains(message, "model.pb is not a valid GraphDef: node 1 ('conv1/Conv2D'), field attr: length 90 at byte ");
  expect_contains(message, "runs past the end of the file (");
  expect_contains(message, "; the file is truncated or not a frozen graph");
  expect_contains(error_of(first + broken + first), "runs past the end of its message (byte ");
  expect_contains(error_of(bytes(1, node("n", "Op", attr("strides", bytes(3, "x"))))),
                  "node 0 ('n'), attr 'strides': field 3 at byte");
}

TEST(GraphDefErrorTest, OtherFilesGetASentence) {
  EXPECT_EQ(error_of(""), "model.pb is empty; expected a frozen GraphDef");
  expect_contains(error_of("node {\n  name: \"a\"\n}\n"), "must have a name that ends in .pbtxt");
  expect_contains(error_of(number(1, 1) + bytes(2, "")), "give the SavedModel's directory instead");
  expect_contains(error_of(std::string("PK\x03\x04", 4) + std::string(100, '\1')), "zip archive");
  expect_contains(error_of(number(1, 2) + bytes(2, bytes(1, bytes(4, "serve")))), "give the SavedModel's directory");
  expect_contains(error_of(std::string("\x08\x08\x12\x07pytorch") + std::string(100, '\1')), "an ONNX model");
  expect_contains(error_of(number(1, 300) + bytes(7, bytes(1, "x"))), "an ONNX model");  // no producer is named
  for (const std::string& cut : {std::string("\x08"), number(1, 1), number(1, 300), number(1, 1) + "\x12"}) {
    EXPECT_EQ(error_of(cut).find("ONNX"), std::string::npos) << error_of(cut);
    EXPECT_EQ(error_of(cut).find("SavedModel"), std::string::npos) << error_of(cut);
  }
  expect_contains(error_of(bytes(4, number(1, 3))), "it has no nodes");
  expect_contains(error_of(bytes(1, bytes(1, "lonely"))), "the node has no op");
  expect_contains(error_of(bytes(1, node("\xff\xfe", "NoOp"))), "is not UTF-8");
  EXPECT_FALSE(load_graph_def("/no/such/model.pb").ok());
  expect_contains(load_graph_def("/").status().message(), "is a directory");
}

TEST(GraphDefErrorTest, RandomBytes) {
  std::mt19937 random(7);
  for (int round = 0; round < 2000; ++round) {
    std::string wire(random() % 300, '\0');
    for (char& c : wire) c = static_cast<char>(random());
    auto graph = parse(wire);
    if (!graph.ok()) {
      expect_contains(graph.status().message(), "model.pb ");
    }
  }
}

TEST(GraphDefErrorTest, LengthsThatOverflow) {
  for (uint64_t length : {uint64_t{1} << 31, uint64_t{1} << 32, uint64_t{1} << 63, UINT64_MAX, UINT64_MAX - 5}) {
    expect_contains(error_of(varint(10) + varint(length) + "x"), "length " + std::to_string(length) + " at byte 1");
  }
  expect_contains(error_of(std::string(1, '\n') + std::string(11, '\xff')), "longer than ten bytes");
  expect_contains(error_of(varint(0) + "x"), "no field number 0");
}

TEST(GraphDefErrorTest, DeepNesting) {
  auto nested = [](int depth) {
    std::string value = number(3, 1);
    for (int i = 0; i < depth; ++i) value = bytes(10, bytes(1, "f") + bytes(2, bytes(1, "a") + bytes(2, value)));
    return bytes(1, node("n", "Op", attr("a", value)));
  };
  EXPECT_TRUE(parse(nested(20)).ok());
  expect_contains(error_of(nested(1000)), "nested more than 100 deep");
  // Groups, which are skipped, count as well.
  std::string groups = node("n", "Op");
  for (int i = 0; i < 100000; ++i) groups += varint(99 * 8 + 3);
  expect_contains(error_of(bytes(1, groups)), "nested more than 100 deep");
  EXPECT_TRUE(parse(bytes(1, node("n", "Op", varint(99 * 8 + 3) + number(1, 2) + varint(99 * 8 + 4)))).ok());
}

TEST(GraphDefErrorTest, TooLargeToWrite) {
  // One tensor written many times over: no memory is spent before the sum is known.
  const SharedBytes content = SharedBytes::own(std::string(64 << 20, 'w'));
  GraphDef graph;
  for (int i = 0; i < 40; ++i) {
    NodeFields fields;
    fields.name = "n" + std::to_string(i);
    fields.op = "Const";
    fields.attrs["value"] = AttrValue::of_tensor(TensorProto::from_dense(DataType::kUint8, {64 << 20}, content));
    graph.edit().nodes.emplace_back(std::move(fields));
  }
  auto wire = serialize(graph);
  ASSERT_FALSE(wire.ok());
  expect_contains(wire.status().message(), "below 2 GiB");
}

TEST(GraphDefErrorTest, RandomMutationsNeverCrash) {
  const std::string original = rich_graph();
  std::mt19937 random(11);
  int parsed = 0;
  for (int round = 0; round < 10000; ++round) {
    std::string wire = original;
    for (unsigned i = 0, n = 1 + random() % 4; i < n; ++i) wire[random() % wire.size()] = static_cast<char>(random());
    if (random() % 4 == 0) wire.resize(random() % wire.size());
    auto graph = parse(wire);
    if (!graph.ok()) continue;
    ++parsed;
    EXPECT_EQ(*serialize(*graph), wire);
    decode_all(*graph);
    touch_all(*graph);
    EXPECT_TRUE(parse(*serialize(*graph)).ok());
  }
  EXPECT_GT(parsed, 100);
}

TEST(GraphDefModelTest, RoundTripsAndTruncations) {
  const auto files = model_files();
  if (files.empty()) GTEST_SKIP() << "set BLADE_MODELS_DIR to a directory of .pb files";
  TempDir temp;
  for (const std::string& path : files) {
    SCOPED_TRACE(path);
    const std::string original = read_file(path);
    auto graph = load_graph_def(path);
    ASSERT_TRUE(graph.ok()) << graph.status().message();
    EXPECT_EQ(*serialize(*graph), original);
    ASSERT_TRUE(save_graph_def(*graph, temp.file("out.pb")).ok());
    EXPECT_EQ(read_file(temp.file("out.pb")), original);
    GraphDef changed = *graph;
    changed.edit();  // nodes are untouched, so their bytes stay
    EXPECT_EQ(*serialize(changed), original);
    touch_all(changed);
    auto again = parse(*serialize(changed));
    ASSERT_TRUE(again.ok());
    for (size_t i = 0; i < (*graph)->nodes.size(); ++i) {
      const NodeDef& a = (*graph)->nodes[i];
      const NodeDef& b = (*again)->nodes[i];
      ASSERT_EQ(a->inputs, b->inputs);
      ASSERT_EQ(a->attrs.size(), b->attrs.size());
      if (a->op != "Const") continue;
      auto data = tensor_attr(a, "value")->decode();
      ASSERT_TRUE(data.ok()) << a->name << ": " << data.status().message();
      ASSERT_EQ(data->content.view(), tensor_attr(b, "value")->decode()->content.view());
    }
    for (size_t part = 0; part < 50; ++part) {
      std::string cut = original.substr(0, original.size() * part / 50);
      auto truncated = parse(cut);  // a cut between two nodes leaves a valid file of fewer nodes
      if (truncated.ok()) {
        EXPECT_LT((*truncated)->nodes.size(), (*graph)->nodes.size());
      } else {
        expect_contains(truncated.status().message(), "model.pb ");
      }
    }
  }
}

TEST(InputTest, Parses) {
  auto expect = [](std::string_view text, std::string_view node, int index, bool control) {
    InputRef ref = parse_input(text);
    EXPECT_EQ(ref.node, node);
    EXPECT_EQ(ref.index, index);
    EXPECT_EQ(ref.control, control);
  };
  expect("a/b", "a/b", 0, false);
  expect("a/b:3", "a/b", 3, false);
  expect("^a", "a", 0, true);
  expect("a:99999999999", "a:99999999999", 0, false);
}

TEST(DataTypeTest, NamesAndSizes) {
  EXPECT_EQ(data_type_name(DataType::kFloat), "float32");
  EXPECT_EQ(data_type_name(static_cast<DataType>(101)), "float32_ref");
  EXPECT_EQ(data_type_name(static_cast<DataType>(77)), "data type 77");
  EXPECT_EQ(data_type_enum_name(DataType::kBfloat16), "DT_BFLOAT16");
  EXPECT_EQ(parse_data_type("DT_INT64_REF"), static_cast<DataType>(109));
  EXPECT_EQ(parse_data_type("float16"), DataType::kHalf);
  EXPECT_EQ(parse_data_type("floaty"), std::nullopt);
  EXPECT_EQ(data_type_size(DataType::kComplex128), 16u);
  EXPECT_EQ(data_type_size(DataType::kString), 0u);
}

}  // namespace
}  // namespace blade::tensorflow
