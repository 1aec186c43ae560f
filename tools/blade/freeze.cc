// Runs `python3 -m blade.freeze`.
#include "freeze.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <filesystem>
#include <vector>

#include "blade/blade.hpp"
#include "tensorflow_dir.h"

namespace blade::command {
namespace {

namespace fs = std::filesystem;

// For the handler of Ctrl-C, which may call little. 0: no program runs.
volatile pid_t running = 0;
const char* volatile folder_to_remove = nullptr;

void wait_for(pid_t child) {
  while (::waitpid(child, nullptr, 0) < 0 && errno == EINTR) continue;
}

void remove_and_exit(int) {
  if (running > 0) {  // nothing is written there afterwards
    ::kill(running, SIGKILL);
    wait_for(running);
  }
  const pid_t child = ::_Fork();
  if (child == 0) {
    ::execl("/bin/rm", "rm", "-rf", "--", folder_to_remove, static_cast<char*>(nullptr));
    ::_exit(127);
  }
  if (child > 0) wait_for(child);
  ::_exit(130);
}

// The exit code of the program `words`; 127 where it cannot be started.
int run_program(std::vector<std::string> words) {
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  const pid_t child = ::fork();
  if (child == 0) {
    std::signal(SIGINT, SIG_DFL);
    ::dup2(STDERR_FILENO, STDOUT_FILENO);  // stdout is for the report
    ::execvp(arguments[0], arguments.data());
    ::_exit(127);
  }
  running = child;
  int state = 0;
  const bool ended = child > 0 && ::waitpid(child, &state, 0) == child && WIFEXITED(state);
  running = 0;
  return ended ? WEXITSTATUS(state) : 127;
}

}  // namespace

bool must_be_frozen(const std::string& model) {
  std::error_code error;
  const fs::path assets = fs::path(model) / "assets";
  return fs::exists(fs::path(model) / "variables" / "variables.index", error) ||
         (fs::is_directory(assets, error) && !fs::is_empty(assets, error));
}

FrozenCopy::FrozenCopy(const std::string& model, const std::string& signature,
                       const std::vector<std::string>& custom_ops) {
  std::string folder = (fs::temp_directory_path() / "blade-XXXXXX").string();
  if (::mkdtemp(folder.data()) == nullptr)
    throw Error(BLADE_RESOURCE_EXHAUSTED, "no folder can be made in '" + fs::temp_directory_path().string() + "'");
  folder_ = folder;
  folder_to_remove = folder_.c_str();
  previous_ = std::signal(SIGINT, remove_and_exit);
  std::vector<std::string> words = {find_python(), "-m", "blade.freeze", model, path(), signature};
  words.insert(words.end(), custom_ops.begin(), custom_ops.end());
  const int code = run_program(std::move(words));
  if (code == 0) return;
  remove();
  const std::string what = "the SavedModel '" + model + "' keeps its weights in variables, and '" + find_python();
  if (code == 127)
    throw Error(BLADE_UNAVAILABLE, what + "' cannot be started to freeze it; install Python with TensorFlow and Blade");
  throw Error(BLADE_UNAVAILABLE, what + " -m blade.freeze' could not freeze it, for the reason above");
}

void FrozenCopy::remove() {
  std::error_code error;
  fs::remove_all(folder_, error);
  std::signal(SIGINT, previous_);
}

}  // namespace blade::command
