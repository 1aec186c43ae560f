// Files beside this program are found however it was started.
#include "base/own_module.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

namespace blade {
namespace {

std::filesystem::path program() { return std::filesystem::read_symlink("/proc/self/exe"); }

TEST(OwnModule, FolderIsThatOfTheProgram) {
  EXPECT_TRUE(std::filesystem::equivalent(own_folder(), program().parent_path())) << own_folder();
}

TEST(OwnModule, FolderIsFoundOfAProgramThatCameThroughPath) {
  const std::string command = "cd / && env PATH='" + program().parent_path().string() + "' '" +
                              program().filename().string() + "' --gtest_filter=OwnModule.FolderIsThatOfTheProgram";
  EXPECT_EQ(std::system(command.c_str()), 0);
}

}  // namespace
}  // namespace blade
