// The text format: what TensorFlow's tools write is read, and errors give line and column.
#include "frontends/tensorflow/proto/pbtxt.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "frontends/wire_bytes.h"

namespace blade::tensorflow {
namespace {

using namespace testing;

std::string error_of(const std::string& text) {
  auto graph = parse_graph_pbtxt(text, "m.pbtxt");
  return graph.ok() ? "no error" : graph.status().message();
}

TEST(PbtxtTest, ReadsWhatToolsWrite) {
  constexpr const char* kText = R"(
# a comment
node {
  name: "x"  op: 'Placeholder';
  attr { key: "dtype" value { type: DT_FLOAT } }
  attr < key: "shape" value: < shape { dim { size: -1 } dim: { size: 0x10 } } > >
}
node: {
  name: "w" "eight"
  op: "Const"
  input: ["x", 'x:1']
  attr { key: "value" value { tensor { dtype: 1 tensor_shape { dim { size: 2 } }
    tensor_content: "\000\000\200?\x00\x00\x00@" } } }
  attr { key: "ints" value { list { i: [1, -2, 010] i: 4 } } }
  attr { key: "types" value { list { type: [DT_FLOAT, 3] shape { unknown_rank: true } } } }
  attr { key: "floats" value { list { f: [1, -2.5e-3, inf, -inf, 1.f, .5] } } }
  attr { key: "text" value { s: "tab\t\"quoted\" \u00e9" } }
  attr { key: "zero" value { f: 0.0 } }
  attr { key: "fn" value { func { name: "f" attr { key: "T" value { b: True } } } } }
}
library {
  function {
    signature { name: "f" input_arg { name: "a" type: DT_INT32_REF } is_stateful: true }
    node_def { name: "n" op: "Relu" input: "a" }
    ret { key: "y" value: "n:activations:0" }
  }
}
versions { producer: 27, min_consumer: 0 }
)";
  auto graph = parse_graph_pbtxt(kText, "m.pbtxt");
  ASSERT_TRUE(graph.ok()) << graph.status().message();
  const NodeDef& x = (*graph)->nodes[0];
  EXPECT_EQ(*type_attr(x, "dtype"), DataType::kFloat);
  EXPECT_EQ(shape_attr(x, "shape")->dims, (std::vector<int64_t>{-1, 16}));
  const NodeDef& w = (*graph)->nodes[1];
  EXPECT_EQ(w->name, "weight");
  EXPECT_EQ(w->inputs, (std::vector<std::string>{"x", "x:1"}));
  EXPECT_EQ(tensor_attr(w, "value")->decode()->content.view(), raw(1.f) + raw(2.f));
  EXPECT_EQ(*ints_attr(w, "ints"), (std::vector<int64_t>{1, -2, 8, 4}));
  EXPECT_EQ(list_attr(w, "types")->types[1], DataType::kInt32);
  EXPECT_EQ(list_attr(w, "floats")->floats[1], -2.5e-3f);
  EXPECT_EQ(list_attr(w, "floats")->floats[5], 0.5f);
  EXPECT_EQ(*string_attr(w, "text"), "tab\t\"quoted\" \xc3\xa9");
  EXPECT_EQ(*float_attr(w, "zero"), 0.f);
  EXPECT_TRUE(*w->find_attr("fn")->as_func()->attrs.at("T").as_bool());
  const FunctionDef& function = (*(*graph)->library)->functions[0];
  EXPECT_TRUE(is_ref(function->signature.input_args[0].type));
  EXPECT_EQ(function->ret.at("y"), "n:activations:0");
  EXPECT_EQ((*graph)->versions->producer, 27);
}

TEST(PbtxtTest, PrintsAndReadsBack) {
  auto graph = parse_graph_def(SharedBytes::own(rich_graph()), "m.pb");
  const std::string text = *print_graph_pbtxt(*graph);
  EXPECT_NE(text.find("# field 77 of NodeDef is not known and left out"), std::string::npos);
  EXPECT_NE(text.find("s: \"a\\000b\\377\""), std::string::npos) << text;
  auto again = parse_graph_pbtxt(text, "m.pbtxt");
  ASSERT_TRUE(again.ok()) << again.status().message();
  EXPECT_EQ((*again)->nodes[2]->attrs.size(), 13u);
  EXPECT_EQ((*again)->nodes[2]->find_attr("none")->kind(), AttrValue::Kind::kNone);
  // The unknown fields gone, text and bytes say the same.
  EXPECT_EQ(*print_graph_pbtxt(*again), [&] {
    std::string plain;
    size_t at = 0;
    while (at < text.size()) {
      size_t end = text.find('\n', at) + 1;
      std::string line = text.substr(at, end - at);
      if (line.find('#') == std::string::npos) plain += line;
      at = end;
    }
    return plain;
  }());
}

TEST(PbtxtTest, NumbersKeepTheirBits) {
  std::mt19937_64 random(3);
  AttrList list;
  for (int i = 0; i < 200; ++i) {
    auto bits = static_cast<uint32_t>(random());
    float value;
    std::memcpy(&value, &bits, sizeof(value));
    if (value == value) list.floats.push_back(value);
    list.ints.push_back(static_cast<int64_t>(random()));
  }
  list.ints.push_back(INT64_MIN);
  list.floats.push_back(-0.0f);
  NodeFields fields;
  fields.name = "n";
  fields.op = "Op";
  fields.attrs["l"] = AttrValue::of_list(list);
  GraphDef graph;
  graph.edit().nodes.emplace_back(fields);
  auto again = parse_graph_pbtxt(*print_graph_pbtxt(graph), "m.pbtxt");
  ASSERT_TRUE(again.ok()) << again.status().message();
  const AttrList read = *list_attr((*again)->nodes[0], "l");
  EXPECT_EQ(read.ints, list.ints);
  ASSERT_EQ(read.floats.size(), list.floats.size());
  EXPECT_EQ(std::memcmp(read.floats.data(), list.floats.data(), list.floats.size() * sizeof(float)), 0);
}

TEST(PbtxtErrorTest, LineAndColumn) {
  EXPECT_EQ(error_of("node {\n  name: \"x\"\n  colour: 3\n}"), "m.pbtxt:3:3: NodeDef has no field 'colour'");
  EXPECT_EQ(error_of("node { name \"x\" }"), "m.pbtxt:1:13: a ':' is expected after 'name'");
  EXPECT_EQ(error_of("node { name: x }"), "m.pbtxt:1:14: a quoted string is expected for 'name'");
  EXPECT_EQ(error_of("node { name: \"x }"), "m.pbtxt:1:14: the text ends inside a string");
  EXPECT_EQ(error_of("node { name: \"x\n\" }"), "m.pbtxt:1:14: the string has no closing quote on its line");
  EXPECT_EQ(error_of("node { name: \"a\" name: \"b\" }"),
            "m.pbtxt:1:18: field 'name' is given, but NodeDef can hold only one value there and already does");
  EXPECT_EQ(error_of("node {\n"), "m.pbtxt:2:1: the text ends where '}' is expected to close NodeDef");
  EXPECT_EQ(error_of("node { attr { key: \"t\" value { type: DT_FLOTE } } }"),
            "m.pbtxt:1:38: 'DT_FLOTE' is not a value of 'type' that TensorFlow knows");
  EXPECT_EQ(error_of("versions { producer: 99999999999 }"),
            "m.pbtxt:1:22: the number 99999999999 does not fit field 'producer'");
  EXPECT_EQ(error_of("versions { producer: 1.5 }"), "m.pbtxt:1:22: a whole number is expected for 'producer'");
  EXPECT_EQ(error_of("node { attr { value { i: 1 f: 2 } } }"),
            "m.pbtxt:1:28: field 'f' is given, but AttrValue can hold only one value there and already does");
  EXPECT_EQ(error_of("}"), "m.pbtxt:1:1: found '}' where a field of GraphDef is expected");
  EXPECT_EQ(error_of(" \n"), "m.pbtxt is empty; expected a GraphDef in text format");
  EXPECT_NE(error_of("versions { producer: 1 }").find("it has no nodes"), std::string::npos);
  EXPECT_NE(error_of("\x08\x01\x12").find("this is not a GraphDef in text format"), std::string::npos);
  EXPECT_NE(error_of("node { name: \"\\q\" }").find("no escape"), std::string::npos);
  std::string deep = "node { attr { value { ";
  for (int i = 0; i < 100000; ++i) deep += "func { attr { value { ";
  EXPECT_NE(error_of(deep).find("nested more than 100 deep"), std::string::npos);
}

TEST(PbtxtErrorTest, RandomMutationsNeverCrash) {
  auto graph = parse_graph_def(SharedBytes::own(rich_graph()), "m.pb");
  const std::string original = *print_graph_pbtxt(*graph);
  std::mt19937 random(5);
  for (int round = 0; round < 3000; ++round) {
    std::string text = original;
    for (unsigned i = 0, n = 1 + random() % 3; i < n; ++i) {
      text[random() % text.size()] = random() % 2 ? "{}<>[]:\"'\\-#0a \n"[random() % 16] : static_cast<char>(random());
    }
    auto again = parse_graph_pbtxt(text, "m.pbtxt");
    if (again.ok()) {
      EXPECT_TRUE(print_graph_pbtxt(*again).ok());
    }
  }
}

TEST(PbtxtModelTest, RoundTrips) {
  const auto files = model_files();
  if (files.empty()) GTEST_SKIP() << "set BLADE_MODELS_DIR to a directory of .pb files";
  TempDir temp;
  for (const std::string& path : files) {
    SCOPED_TRACE(path);
    auto graph = load_graph_def(path);
    ASSERT_TRUE(save_graph_def(*graph, temp.file("out.pbtxt")).ok());
    auto again = load_graph_def(temp.file("out.pbtxt"));
    ASSERT_TRUE(again.ok()) << again.status().message();
    ASSERT_EQ((*graph)->nodes.size(), (*again)->nodes.size());
    EXPECT_EQ(*print_graph_pbtxt(*again), read_file(temp.file("out.pbtxt")));
    for (size_t i = 0; i < (*graph)->nodes.size(); ++i) {
      const NodeDef& a = (*graph)->nodes[i];
      if (a->op != "Const") continue;
      ASSERT_EQ(tensor_attr(a, "value")->decode()->content.view(),
                tensor_attr((*again)->nodes[i], "value")->decode()->content.view());
    }
  }
}

}  // namespace
}  // namespace blade::tensorflow
