// Files are mapped whole, replaced whole, and every failure names the path and the reason.
#include "base/mapped_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <vector>

namespace blade {
namespace {

namespace fs = std::filesystem;

class MappedFileTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::path(testing::TempDir()) / "blade_mapped_file";
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }
  std::string path(const char* name) const { return (folder_ / name).string(); }
  fs::path folder_;
};

std::span<const std::byte> as_bytes(std::string_view text) {
  return std::as_bytes(std::span<const char>(text.data(), text.size()));
}

TEST_F(MappedFileTest, WritesAndMapsAndReplaces) {
  for (std::string_view text : {"first version", "second", ""}) {
    ASSERT_TRUE(write_file_atomically(path("f"), as_bytes(text)).ok());
    auto file = MappedFile::open(path("f"));
    ASSERT_TRUE(file.ok());
    ASSERT_EQ((*file)->bytes().size(), text.size());
    const auto bytes = (*file)->bytes();
    EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), as_bytes(text).begin()));
  }
  EXPECT_NE(write_file_atomically("/dev/null", as_bytes("x")).message().find("no regular file"), std::string::npos);
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()), 1);
}

// As open() would have given, and as they were where the file is replaced.
TEST_F(MappedFileTest, PermissionsAreTheUsersOwn) {
  const auto permissions = [&] { return static_cast<mode_t>(fs::status(path("f")).permissions()); };
  for (const mode_t mask : {mode_t{027}, mode_t{022}}) {
    fs::remove(path("f"));
    const mode_t before = ::umask(mask);
    EXPECT_TRUE(write_file_atomically(path("f"), as_bytes("new")).ok());
    ::umask(before);
    EXPECT_EQ(permissions(), 0666 & ~mask);
  }
  fs::permissions(path("f"), fs::perms{0600});
  ASSERT_TRUE(write_file_atomically(path("f"), as_bytes("newer")).ok());
  EXPECT_EQ(permissions(), mode_t{0600});
}

TEST_F(MappedFileTest, MissingFileIsNamed) {
  auto file = MappedFile::open(path("absent"));
  ASSERT_FALSE(file.ok());
  EXPECT_EQ(file.status().code(), StatusCode::kNotFound);
  EXPECT_NE(file.status().message().find(path("absent")), std::string::npos);
  EXPECT_NE(file.status().message().find("No such file"), std::string::npos);
}

TEST_F(MappedFileTest, FolderIsRefused) {
  auto file = MappedFile::open(folder_.string());
  ASSERT_FALSE(file.ok());
  EXPECT_NE(file.status().message().find("not a regular file"), std::string::npos);
}

TEST_F(MappedFileTest, PipeIsRefusedAtOnce) {
  ASSERT_EQ(::mkfifo(path("pipe").c_str(), 0600), 0);
  auto file = MappedFile::open(path("pipe"));  // would wait for somebody who writes
  ASSERT_FALSE(file.ok());
  EXPECT_NE(file.status().message().find("not a regular file"), std::string::npos);
}

TEST_F(MappedFileTest, FailedWriteLeavesNothing) {
  EXPECT_EQ(write_file_atomically(path("no/such/folder"), as_bytes("x")).code(), StatusCode::kNotFound);
  fs::create_directories(path("taken"));
  EXPECT_FALSE(write_file_atomically(path("taken"), as_bytes("x")).ok());
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()), 1);
}

TEST_F(MappedFileTest, FullDiskIsReported) {
  if (!fs::exists("/dev/full")) GTEST_SKIP();
  // /dev cannot hold a temporary file for ordinary users; either way the write must fail and say why.
  const Status status = write_file_atomically("/dev/full/x", as_bytes("x"));
  ASSERT_FALSE(status.ok());
  EXPECT_NE(status.message().find("/dev/full/x"), std::string::npos);
}

}  // namespace
}  // namespace blade
