#include "base/paths.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>

namespace blade {
namespace {

namespace fs = std::filesystem;

class CheckApart : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "paths-XXXXXX").string();
    folder_ = ::mkdtemp(name.data());
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::string at(const std::string& name) const { return (folder_ / name).string(); }
  static void put(const std::string& path) { std::ofstream(path) << "something"; }

  fs::path folder_;
};

TEST_F(CheckApart, RefusesWhatIsReadOrWritten) {
  const auto why = [&](const std::string& model, const std::string& read, const std::vector<std::string>& written) {
    return check_apart(model, {read}, written).message();
  };
  put(at("model.pb"));
  put(at("data.npz"));
  fs::create_directory(at("model"));
  put(at("model/saved_model.pb"));
  fs::create_symlink("report.json", at("link"));
  EXPECT_EQ(why(at("model.pb"), at("data.npz"), {at("new.pb"), at("new.json")}), "");
  EXPECT_EQ(why("", at("data.npz"), {"/dev/null", "/dev/null"}), "");
  EXPECT_NE(why(at("model.pb"), at("data.npz"), {at("new.pb"), at("./data.npz")}).find("which is read"),
            std::string::npos);
  EXPECT_NE(why(at("model.pb"), at("no"), {at("model/../model.pb")}).find("is the model itself"), std::string::npos);
  EXPECT_NE(why(at("model"), at("no"), {at("model/a/b")}).find("lies inside the model itself"), std::string::npos);
  EXPECT_NE(why("", at("model/saved_model.pb"), {at("model")}).find("holds '"), std::string::npos);
  EXPECT_NE(why("", at("no"), {at("report.json"), at("link")}).find("two things"), std::string::npos);
  EXPECT_NE(why("", at("no"), {at("a/"), at("./a")}).find("two things"), std::string::npos);
}

}  // namespace
}  // namespace blade
