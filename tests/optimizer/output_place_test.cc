// Where models may be written, and directories that are replaced at once.
#include "optimizer/output_place.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

namespace blade::optimizer {
namespace {

namespace fs = std::filesystem;

class OutputPlaceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "output-place-XXXXXX").string();
    folder_ = ::mkdtemp(name.data());
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::string at(const std::string& name) const { return (folder_ / name).string(); }
  static std::string refusal(const std::string& path, bool directory) {
    return check_output_place(path, directory).message();
  }
  static void put(const std::string& path) { std::ofstream(path) << "something"; }
  static Status write_one(const std::string& path, const std::string& file) {
    return write_directory_atomically(path, [&](const std::string& directory) {
      put(directory + "/" + file);
      return Status();
    });
  }
  static int entries(const fs::path& folder) {
    return static_cast<int>(std::distance(fs::directory_iterator(folder), fs::directory_iterator()));
  }

  fs::path folder_;
};

TEST_F(OutputPlaceTest, FilesMayBeNewOrReplaceFiles) {
  EXPECT_EQ(refusal(at("new.pb"), false), "");
  put(at("old.pb"));
  EXPECT_EQ(refusal(at("old.pb"), false), "");
}

TEST_F(OutputPlaceTest, WrongPlacesForFiles) {
  EXPECT_NE(refusal(at("no/model.pb"), false).find("there is no directory '" + at("no") + "'"), std::string::npos);
  EXPECT_NE(refusal(at("model/"), false).find("it is a directory; give the path of a file"), std::string::npos);
  fs::create_directory(at("there"));
  EXPECT_NE(refusal(at("there"), false).find("it is a directory"), std::string::npos);
  ASSERT_EQ(::mkfifo(at("pipe").c_str(), 0600), 0);
  EXPECT_NE(refusal(at("pipe"), false).find("it is no regular file"), std::string::npos);
  EXPECT_NE(refusal("/proc/model.pb", false).find("cannot be written"), std::string::npos);
}

TEST_F(OutputPlaceTest, RoomIsAskedForBeforehand) {
  EXPECT_TRUE(check_output_space(at("model.pb"), 1).ok());
  const Status status = check_output_space(at("model.pb"), uint64_t{1} << 62);
  EXPECT_NE(status.message().find("make room, or give another place"), std::string::npos) << status.message();
}

TEST_F(OutputPlaceTest, OnlyOwnDirectoriesAreReplaced) {
  EXPECT_EQ(refusal(at("new"), true), "");
  fs::create_directory(at("foreign"));
  EXPECT_EQ(refusal(at("foreign"), true), "");  // still empty
  put(at("foreign") + "/precious");
  EXPECT_NE(refusal(at("foreign"), true).find("holds what Blade did not write"), std::string::npos);
  EXPECT_FALSE(write_one(at("foreign"), "model").ok());
  EXPECT_TRUE(fs::exists(at("foreign") + "/precious"));
  put(at("file"));
  EXPECT_NE(refusal(at("file"), true).find("a file stands there"), std::string::npos);

  ASSERT_TRUE(write_one(at("own/"), "saved_model.pb").ok());
  ASSERT_TRUE(write_one(at("own"), "fingerprint.pb").ok());
  EXPECT_FALSE(fs::exists(at("own") + "/saved_model.pb"));
  EXPECT_TRUE(fs::exists(at("own") + "/fingerprint.pb"));
  EXPECT_EQ(entries(folder_), 3);  // nothing is left beside them
  put(at("own") + "/notes.txt");
  EXPECT_NE(refusal(at("own"), true).find("holds what Blade did not write"), std::string::npos);
}

TEST_F(OutputPlaceTest, WhatFailsLeavesWhatWasThere) {
  ASSERT_TRUE(write_one(at("own"), "saved_model.pb").ok());
  const auto fail = [](const std::string& directory) {
    put(directory + "/half");
    return invalid_argument("the disk is full");
  };
  EXPECT_EQ(write_directory_atomically(at("own"), fail).message(), "the disk is full");
  EXPECT_TRUE(fs::exists(at("own") + "/saved_model.pb"));
  EXPECT_EQ(entries(folder_), 1);
}

}  // namespace
}  // namespace blade::optimizer
