// Imports the trained models of BLADE_MODELS_DIR (skipped without it): all but one without a node left in TensorFlow.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "frontends/tensorflow/importer.h"
#include "frontends/tensorflow/model_loader.h"

namespace blade::tensorflow {
namespace {

std::string models_dir() {
  const char* dir = std::getenv("BLADE_MODELS_DIR");
  return dir == nullptr ? "" : dir;
}

class ImportModels : public ::testing::TestWithParam<const char*> {};

TEST_P(ImportModels, NoNodeStaysBehind) {
  if (models_dir().empty()) GTEST_SKIP() << "BLADE_MODELS_DIR is not set";
  auto loaded = load_model(models_dir() + "/" + GetParam() + ".pb");
  ASSERT_TRUE(loaded.ok()) << loaded.status().message();
  EXPECT_EQ(loaded->format, "frozen_pb");
  auto model = import_graph(loaded->graph);
  ASSERT_TRUE(model.ok()) << model.status().message();
  Status valid = ir::verify(model->graph);
  EXPECT_TRUE(valid.ok()) << valid.message();
  for (ir::NodeId id = 0; id < model->graph.num_node_slots(); ++id) {
    if (!model->graph.is_live(id) || model->graph.node(id).op != ir::Op::kForeign) continue;
    const auto& attrs = model->graph.node(id).get<ir::ForeignAttrs>();
    ADD_FAILURE() << model->graph.node(id).name << ": " << attrs.reason;
  }
}

INSTANTIATE_TEST_SUITE_P(All, ImportModels,
                         ::testing::Values("age", "antispoof", "blazeface-front", "emotion", "faceboxes",
                                           "facemesh-attention", "iris", "liveness", "mobileface", "selfie"),
                         [](const auto& info) {
                           std::string name = info.param;
                           for (char& c : name) {
                             if (c == '-') c = '_';
                           }
                           return name;
                         });

TEST(ModelLoader, SaysWhatIsMissing) {
  auto missing = load_model("/nowhere/model.pb");
  ASSERT_FALSE(missing.ok());
  EXPECT_EQ(missing.status().code(), StatusCode::kNotFound);
  std::filesystem::path dir = std::filesystem::temp_directory_path() / "blade_model_loader_test";
  std::filesystem::create_directories(dir);
  auto no_model = load_model(dir.string());
  ASSERT_FALSE(no_model.ok());
  EXPECT_NE(no_model.status().message().find("has no saved_model.pb"), std::string::npos);
  std::filesystem::path empty = dir / "empty.pb";
  { std::unique_ptr<FILE, int (*)(FILE*)> file(std::fopen(empty.c_str(), "w"), std::fclose); }
  auto nothing = load_model(empty.string());
  ASSERT_FALSE(nothing.ok());
  EXPECT_EQ(nothing.status().code(), StatusCode::kDataLoss);
  std::filesystem::remove_all(dir);
}

}  // namespace
}  // namespace blade::tensorflow
