// Where the user's TensorFlow is, for the verbs that measure in it.
#pragma once

#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>

namespace blade::command {

// The Python that the command was installed for, beside it, else the one on PATH.
inline std::string find_python() {
  std::error_code error;
  const std::filesystem::path beside = std::filesystem::read_symlink("/proc/self/exe", error).parent_path() / "python3";
  return !error && std::filesystem::exists(beside, error) ? beside.string() : "python3";
}

// BLADE_TENSORFLOW_DIR, else that Python is asked; "" where there is none.
inline std::string find_tensorflow_dir() {
  if (const char* given = std::getenv("BLADE_TENSORFLOW_DIR")) return given;
  const std::string ask = "'" + find_python() + "'" +
                          " -c \"import importlib.util,os;s=importlib.util.find_spec('tensorflow');"
                          "print(os.path.dirname(s.origin) if s and s.origin else '',end='')\" 2>/dev/null";
  const std::unique_ptr<FILE, int (*)(FILE*)> pipe(popen(ask.c_str(), "r"), pclose);
  std::string text;
  std::array<char, 512> buffer;
  while (pipe && std::fgets(buffer.data(), buffer.size(), pipe.get()) != nullptr) text += buffer.data();
  return text;
}

}  // namespace blade::command
