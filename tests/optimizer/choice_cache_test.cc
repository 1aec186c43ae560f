// What the cache of measured choices gives back, and that no file of whatever kind does harm.
#include "optimizer/choice_cache.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <thread>

namespace blade::optimizer {
namespace {

namespace fs = std::filesystem;

class ChoiceCacheTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::path(::testing::TempDir()) / ("choice_cache_" + std::to_string(getpid()));
    fs::remove_all(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::string file() const { return (folder_ / "kernel_choices.json").string(); }
  ChoiceCache open(const std::string& machine = "here") const { return {folder_.string(), machine}; }
  void fill(const std::string& text) const {
    fs::create_directories(folder_);
    std::ofstream(file()) << text;
  }
  void store(const std::string& work, const std::string& choice, const std::string& machine = "here") const {
    ChoiceCache cache = open(machine);
    cache.put(work, kAmong, {choice, {"slow", 2, 1}});
    cache.write();
  }

  const std::vector<std::string> kAmong = {"slow", "fast"};
  fs::path folder_;
};

TEST_F(ChoiceCacheTest, GivesBackWhatWasStored) {
  EXPECT_FALSE(open().find("Conv", kAmong, "slow"));
  store("Conv", "fast");
  store("MatMul", "slow");
  const auto found = open().find("Conv", kAmong, "slow");
  ASSERT_TRUE(found);
  EXPECT_EQ(found->choice, "fast");
  EXPECT_EQ(found->figures.static_choice, "slow");
  EXPECT_EQ(found->figures.static_us, 2);
  EXPECT_EQ(found->figures.us, 1);
  EXPECT_TRUE(open().find("MatMul", kAmong, "slow"));
  // Nothing but the file stays behind.
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()), 1);
}

TEST_F(ChoiceCacheTest, OnlyForTheSameQuestion) {
  store("Conv", "fast");
  EXPECT_FALSE(open("elsewhere").find("Conv", kAmong, "slow"));
  EXPECT_FALSE(open().find("Conv 2", kAmong, "slow"));
  EXPECT_FALSE(open().find("Conv", {"slow", "fast", "new"}, "slow"));
  EXPECT_FALSE(open().find("Conv", kAmong, "another static choice"));
  store("Conv", "slow", "elsewhere");
  EXPECT_EQ(open().find("Conv", kAmong, "slow")->choice, "fast");
}

TEST_F(ChoiceCacheTest, DamagedFilesCountAsEmptyAndAreReplaced) {
  for (const char* text :
       {"", "{", "[]", "null", R"({"version": 2, "machines": {"here": {}}})", R"({"version": 1, "machines": 3})",
        R"({"version": 1, "machines": {"here": 3}})", R"({"version": 1, "machines": {"here": {"Conv": 3}}})",
        R"({"version": 1, "machines": {"here": {"Conv": {"choice": 3, "among": []}}}})", "\xff\xfe\x00"}) {
    fill(text);
    EXPECT_FALSE(open().find("Conv", kAmong, "slow")) << text;
    store("Conv", "fast");
    EXPECT_TRUE(open().find("Conv", kAmong, "slow")) << text;
  }
}

TEST_F(ChoiceCacheTest, WritersAtOnceLeaveAWholeFile) {
  store("Conv", "fast");
  std::vector<std::thread> writers;
  for (int w = 0; w < 4; ++w) {
    writers.emplace_back([&, w] {
      for (int i = 0; i < 20; ++i) {
        store("MatMul " + std::to_string(w), "fast");
        EXPECT_TRUE(open().find("Conv", kAmong, "slow"));
      }
    });
  }
  for (std::thread& writer : writers) writer.join();
  EXPECT_TRUE(open().find("Conv", kAmong, "slow"));
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()), 1);
}

TEST_F(ChoiceCacheTest, OffKeepsNothing) {
  ChoiceCache cache("off", "here");
  cache.put("Conv", kAmong, {"fast", {"slow", 2, 1}});
  cache.write();
  EXPECT_FALSE(fs::exists("off"));
  EXPECT_FALSE(cache.find("Conv", kAmong, "slow"));
}

TEST_F(ChoiceCacheTest, AFolderThatCannotBeWrittenIsNoError) {
  const std::string folder = "/proc/no/such/folder";
  ChoiceCache cache(folder, "here");
  cache.put("Conv", kAmong, {"fast", {"slow", 2, 1}});
  EXPECT_NO_THROW(cache.write());
  EXPECT_FALSE(ChoiceCache(folder, "here").find("Conv", kAmong, "slow"));
}

}  // namespace
}  // namespace blade::optimizer
