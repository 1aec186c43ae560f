// SavedModel directories: what is found in them, writing one back, and a sentence for each thing that may be missing.
#include "frontends/tensorflow/proto/saved_model.h"

#include <gtest/gtest.h>

#include <fstream>

#include "frontends/wire_bytes.h"

namespace blade::tensorflow {
namespace {

using namespace testing;

std::string tensor_entry(const std::string& key, const std::string& name) {
  return bytes(1, key) + bytes(2, bytes(1, name) + number(2, 1) + bytes(3, shape({-1, 4})));
}
std::string signature_entry(const std::string& key) {
  return bytes(5, bytes(1, key) + bytes(2, bytes(1, tensor_entry("x", "in:0")) + bytes(2, tensor_entry("y", "out:0")) +
                                               bytes(3, "tensorflow/serving/predict")));
}
std::string tags(const std::vector<std::string>& names) {
  std::string info = bytes(5, "2.21.0");
  for (const std::string& name : names) info += bytes(4, name);
  return bytes(1, info);
}
std::string meta_graph(const std::vector<std::string>& names, const std::string& graph, const std::string& rest) {
  return bytes(2, tags(names) + bytes(2, graph) + rest);
}

const std::string kFrozen = bytes(1, node("in", "Placeholder")) + bytes(1, node("out", "Relu", bytes(3, "in")));

void write_file(const std::string& path, const std::string& content) {
  std::ofstream(path, std::ios::binary) << content;
}

std::string load_error(const std::string& directory) {
  auto model = SavedModel::load(directory);
  return model.ok() ? "no error" : model.status().message();
}

TEST(SavedModelTest, ReadsTheServingGraph) {
  TempDir temp;
  const std::string opaque = bytes(7, "\x01\x02 an object graph that is not looked into");
  write_file(temp.file("saved_model.pb"),
             number(1, 1) + meta_graph({"train"}, kFrozen, "") +
                 meta_graph({"serve"}, kFrozen, signature_entry("serving_default") + opaque));
  auto model = SavedModel::load(temp.path());
  ASSERT_TRUE(model.ok()) << model.status().message();
  EXPECT_EQ(model->meta_graphs().size(), 2u);
  auto serving = model->serving();
  ASSERT_TRUE(serving.ok());
  EXPECT_EQ(*serving, &model->meta_graphs()[1]);
  ASSERT_EQ(*choose_signature(**serving, ""), "serving_default");
  const SignatureDef& signature = (*serving)->signatures.at("serving_default");
  EXPECT_EQ(signature.inputs.at("x").name, "in:0");
  EXPECT_EQ(signature.inputs.at("x").dtype, DataType::kFloat);
  EXPECT_EQ(signature.inputs.at("x").shape.dims, (std::vector<int64_t>{-1, 4}));
  EXPECT_EQ(signature.outputs.at("y").name, "out:0");
  EXPECT_EQ(signature.method_name, "tensorflow/serving/predict");
  EXPECT_TRUE(variable_nodes((*serving)->graph).empty());
}

TEST(SavedModelTest, WritesBackWithEveryOtherByteKept) {
  TempDir source;
  TempDir target;
  const std::string rest = signature_entry("serving_default") + bytes(7, "opaque") + number(99, 3);
  const std::string before = number(1, 1) + meta_graph({"train"}, kFrozen, "");
  write_file(source.file("saved_model.pb"), before + meta_graph({"serve"}, kFrozen, rest) + number(55, 5));
  std::filesystem::create_directory(source.file("assets"));
  write_file(source.file("assets/vocab.txt"), "words");
  auto model = SavedModel::load(source.path());
  ASSERT_TRUE(model.ok()) << model.status().message();
  EXPECT_EQ(*model->serialize_with((*model->serving())->graph), read_file(source.file("saved_model.pb")));
  GraphDef graph = (*model->serving())->graph;
  graph.edit().nodes[1].edit().op = "Relu6";
  const std::string out = target.file("new");
  Status status = model->save_with(graph, out, source.path());
  ASSERT_TRUE(status.ok()) << status.message();
  const std::string changed = bytes(1, node("in", "Placeholder")) + bytes(1, node("out", "Relu6", bytes(3, "in")));
  EXPECT_EQ(read_file(out + "/saved_model.pb"), before + meta_graph({"serve"}, changed, rest) + number(55, 5));
  EXPECT_EQ(read_file(out + "/assets/vocab.txt"), "words");
}

TEST(SavedModelTest, LeavesOutWhatTheNewGraphNoLongerHas) {
  const std::string collection =
      bytes(4, bytes(1, "saved_model_main_op") + bytes(2, bytes(1, bytes(1, "out") + bytes(1, "in"))));
  auto model = SavedModel::parse(
      SharedBytes::own(meta_graph({"serve"}, kFrozen, signature_entry("a") + collection + bytes(99, "kept"))), "m");
  ASSERT_TRUE(model.ok());
  GraphDef graph = (*model->serving())->graph;
  EXPECT_NE(model->serialize_with(graph)->find("saved_model_main_op"), std::string::npos);
  EXPECT_TRUE(model->signatures_lost_with(graph)->empty());
  graph.edit().nodes.erase(graph.edit().nodes.begin());  // 'in', which signature and collection name
  EXPECT_EQ(*model->signatures_lost_with(graph), (std::vector<std::string>{"a"}));
  const std::string written = *model->serialize_with(graph);
  EXPECT_EQ(written.find("saved_model_main_op"), std::string::npos);
  auto again = SavedModel::parse(SharedBytes::own(written), "m");
  ASSERT_TRUE(again.ok());
  EXPECT_TRUE((*again->serving())->signatures.empty());
  EXPECT_NE(written.find("kept"), std::string::npos);
}

TEST(SavedModelTest, TheChosenSignatureKeepsWhatIsLeft) {
  const auto tensor = [](const std::string& key, const std::string& name) {
    return bytes(1, key) + bytes(2, bytes(1, name));
  };
  const std::string signature = bytes(1, tensor("x", "in:0")) + bytes(1, tensor("gone", "other:0")) +
                                bytes(2, tensor("y", "out:0")) + bytes(2, tensor("z", "lost:1")) + bytes(3, "method");
  const std::string both =
      bytes(5, bytes(1, "a") + bytes(2, signature)) + bytes(5, bytes(1, "b") + bytes(2, signature));
  auto model = SavedModel::parse(SharedBytes::own(meta_graph({"serve"}, kFrozen, both)), "m");
  ASSERT_TRUE(model.ok());
  GraphDef graph = (*model->serving())->graph;
  const auto written = [&] {
    return *SavedModel::parse(SharedBytes::own(*model->serialize_with(graph, {"a", {}})), "m");
  };
  const SavedModel again = written();
  const auto& signatures = (*again.serving())->signatures;
  ASSERT_EQ(signatures.size(), 1u);
  EXPECT_EQ(signatures.at("a").inputs.size(), 1u);
  EXPECT_TRUE(signatures.at("a").inputs.contains("x"));
  EXPECT_EQ(signatures.at("a").outputs.size(), 1u);
  EXPECT_TRUE(signatures.at("a").outputs.contains("y"));
  EXPECT_EQ(signatures.at("a").method_name, "method");
  graph.edit().nodes.pop_back();  // 'out', the last output
  EXPECT_TRUE((*written().serving())->signatures.empty());
}

// A Split of which an engine gives some outputs: an Identity of the first, or an IdentityN where what is not read lies
// under another's name.
TEST(SavedModelTest, OutputsOfNodesThatEnginesReplace) {
  const auto output = [](const std::string& key, const std::string& name) {
    return bytes(2, bytes(1, key) + bytes(2, bytes(1, name)));
  };
  const std::string signature = bytes(2, output("a", "out:0") + output("b", "out:1"));
  const std::string before = bytes(1, node("out", "Split"));
  auto model =
      SavedModel::parse(SharedBytes::own(meta_graph({"serve"}, before, bytes(5, bytes(1, "s") + signature))), "m");
  ASSERT_TRUE(model.ok()) << model.status().message();
  GraphDef graph = (*model->serving())->graph;
  const auto kept = [&](const std::string& op, std::vector<std::string> outputs) {
    graph.edit().nodes[0].edit().op = op;
    auto again = SavedModel::parse(SharedBytes::own(*model->serialize_with(graph, {"s", std::move(outputs)})), "m");
    std::string keys;
    for (const auto& [key, info] : (*again->serving())->signatures.at("s").outputs) keys += key;
    return keys;
  };
  EXPECT_EQ(kept("Split", {"out:0"}), "ab");
  EXPECT_EQ(kept("Identity", {"out:0"}), "a");
  EXPECT_EQ(kept("IdentityN", {"out:1"}), "b");
  EXPECT_EQ(kept("IdentityN", {"out:0", "out:1"}), "ab");
  EXPECT_EQ(*model->signatures_lost_with(graph, {"out:0"}), (std::vector<std::string>{"s"}));
}

TEST(SavedModelTest, ListsVariables) {
  const std::string function = bytes(1, bytes(1, "f")) + bytes(3, node("read", "ReadVariableOp"));
  const std::string graph = kFrozen + bytes(1, node("v", "VarHandleOp")) + bytes(2, bytes(1, function));
  auto model = SavedModel::parse(SharedBytes::own(meta_graph({"serve"}, graph, "")), "m");
  ASSERT_TRUE(model.ok()) << model.status().message();
  EXPECT_EQ(variable_nodes((*model->serving())->graph), (std::vector<std::string>{"v"}));
}

TEST(SavedModelErrorTest, EachHasASentence) {
  TempDir temp;
  EXPECT_EQ(load_error("/no/such/dir"), "there is no SavedModel directory /no/such/dir; check the path");
  EXPECT_EQ(load_error(temp.path()), temp.path() +
                                         " holds no saved_model.pb, so it is not a SavedModel; give the "
                                         "directory that tf.saved_model.save wrote");
  const std::string file = temp.file("saved_model.pb");
  write_file(file, "");
  EXPECT_NE(load_error(temp.path()).find("empty"), std::string::npos) << load_error(temp.path());
  EXPECT_EQ(load_error(file), file + " is a file, where a SavedModel's directory is expected");
  write_file(file, number(1, 1));
  EXPECT_NE(load_error(temp.path()).find("it has no meta graphs"), std::string::npos);
  const std::string whole = meta_graph({"serve"}, kFrozen, signature_entry("serving_default"));
  write_file(file, whole.substr(0, whole.size() - 3));
  EXPECT_NE(load_error(temp.path()).find("is not a valid SavedModel: meta graph 0: length"), std::string::npos);

  auto parse = [](const std::string& wire) { return SavedModel::parse(SharedBytes::own(wire), "m"); };
  auto untagged = parse(meta_graph({"train", "gpu"}, kFrozen, ""));
  EXPECT_EQ(untagged->serving().status().message(),
            "m has no meta graph with the tag 'serve'; its tags are: 'train', 'gpu'. Save the model for serving");
  EXPECT_FALSE(untagged->serialize_with({}).ok());
  auto unsigned_model = parse(meta_graph({"serve"}, kFrozen, signature_entry("__saved_model_init_op")));
  EXPECT_NE(choose_signature(**unsigned_model->serving(), "").status().message().find("has no signatures"),
            std::string::npos);
  auto two = parse(meta_graph({"serve"}, kFrozen, signature_entry("a") + signature_entry("b")));
  EXPECT_NE(choose_signature(**two->serving(), "").status().message().find("one of its signatures: 'a', 'b'"),
            std::string::npos);
  EXPECT_EQ(*choose_signature(**two->serving(), "b"), "b");
  EXPECT_NE(choose_signature(**two->serving(), "c").status().message().find("has no signature 'c'"), std::string::npos);
  auto one = parse(meta_graph({"serve"}, kFrozen, signature_entry("a")));
  EXPECT_EQ(*choose_signature(**one->serving(), ""), "a");
  EXPECT_FALSE(choose_signature(**one->serving(), "b").ok());
}

}  // namespace
}  // namespace blade::tensorflow
