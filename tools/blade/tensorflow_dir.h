// Where the user's TensorFlow is, for the verbs that measure in it.
#pragma once

#include <array>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>

namespace blade::command {

// BLADE_TENSORFLOW_DIR, else the python3 on PATH is asked; "" where there is none.
inline std::string find_tensorflow_dir() {
  if (const char* given = std::getenv("BLADE_TENSORFLOW_DIR")) return given;
  const char* ask =
      "python3 -c \"import importlib.util,os;s=importlib.util.find_spec('tensorflow');"
      "print(os.path.dirname(s.origin) if s and s.origin else '',end='')\" 2>/dev/null";
  const std::unique_ptr<FILE, int (*)(FILE*)> pipe(popen(ask, "r"), pclose);
  std::string text;
  std::array<char, 512> buffer;
  while (pipe && std::fgets(buffer.data(), buffer.size(), pipe.get()) != nullptr) text += buffer.data();
  return text;
}

}  // namespace blade::command
