// A second, independent writer of protobuf bytes, so that tests do not check the library with itself; and small graphs.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

namespace blade::tensorflow::testing {

inline std::string varint(uint64_t value) {
  std::string out;
  while (value > 127) {
    out += static_cast<char>((value & 127) | 128);
    value >>= 7;
  }
  return out + static_cast<char>(value);
}
inline std::string number(uint32_t field, uint64_t value) { return varint(field * 8) + varint(value); }
inline std::string bytes(uint32_t field, const std::string& value) {
  return varint(field * 8 + 2) + varint(value.size()) + value;
}
template <class T>
std::string raw(T value) {
  return std::string(reinterpret_cast<const char*>(&value), sizeof(value));
}
inline std::string float32(uint32_t field, float value) { return varint(field * 8 + 5) + raw(value); }

inline std::string attr(const std::string& name, const std::string& value) {
  return bytes(5, bytes(1, name) + bytes(2, value));
}
inline std::string shape(const std::vector<int64_t>& dims) {
  std::string out;
  for (int64_t dim : dims) out += bytes(2, dim == 0 ? "" : number(1, static_cast<uint64_t>(dim)));
  return out;
}
inline std::string tensor(int dtype, const std::vector<int64_t>& dims, const std::string& values) {
  return number(1, static_cast<uint64_t>(dtype)) + bytes(2, shape(dims)) + values;
}
inline std::string node(const std::string& name, const std::string& op, const std::string& rest = "") {
  return bytes(1, name) + bytes(2, op) + rest;
}

// A graph with every kind of attribute, a function, versions and unknown fields at each level.
inline std::string rich_graph() {
  const std::string unknown = number(77, 5) + bytes(78, "later") + varint(79 * 8 + 5) + "abcd";
  const std::string func = bytes(1, "callee") + bytes(2, bytes(1, "T") + bytes(2, number(6, 1)));
  const std::string list = bytes(2, "x") + bytes(2, "y") + bytes(3, varint(1) + varint(uint64_t(-2))) + number(3, 3) +
                           float32(4, 0.5f) + number(5, 1) + bytes(6, varint(1) + varint(103)) +
                           bytes(7, shape({1, -1})) + bytes(8, tensor(1, {1}, float32(5, 2))) + bytes(9, func);
  std::string all =
      node("all", "Everything", bytes(3, "input") + bytes(3, "input:1") + bytes(3, "^c") + bytes(4, "/cpu:0"));
  all += attr("s", bytes(2, std::string("a\0b\xff", 4))) + attr("i", number(3, uint64_t(-7))) +
         attr("f", float32(4, 0)) + attr("b", number(5, 1)) + attr("type", number(6, 101)) +
         attr("shape", bytes(7, shape({-1, 3, 0}))) + attr("unknown_rank", bytes(7, number(3, 1))) +
         attr("value", bytes(8, tensor(1, {2, 2}, bytes(4, std::string(16, '\x3f'))))) + attr("list", bytes(1, list)) +
         attr("empty_list", bytes(1, "")) + attr("func", bytes(10, func)) + attr("placeholder", bytes(9, "T")) +
         attr("none", "") + bytes(6, bytes(1, "origin")) + unknown;
  const std::string signature = bytes(1, "callee") + bytes(2, bytes(1, "x") + bytes(4, "T") + bytes(2, "the input")) +
                                bytes(3, bytes(1, "y") + number(3, 1)) +
                                bytes(4, bytes(1, "T") + bytes(2, "type") + bytes(3, number(6, 1))) + number(17, 1) +
                                bytes(20, "done");
  const std::string function = bytes(1, signature) + bytes(3, node("inner", "Relu", bytes(3, "x") + unknown)) +
                               bytes(4, bytes(1, "y") + bytes(2, "inner:activations:0")) +
                               bytes(5, bytes(1, "_noinline") + bytes(2, number(5, 1))) +
                               bytes(6, bytes(1, "done") + bytes(2, "inner")) +
                               bytes(7, number(1, 0) + bytes(2, bytes(1, bytes(1, "_user") + bytes(2, number(3, 4))))) +
                               bytes(8, number(1, 0) + number(2, 9));
  return bytes(1, node("input", "Placeholder", attr("dtype", number(6, 1)))) + bytes(1, node("c", "NoOp")) +
         bytes(1, all) + bytes(2, bytes(1, function) + bytes(2, bytes(1, "callee") + bytes(2, "grad")) + unknown) +
         bytes(4, number(1, 1882) + number(2, 12) + bytes(3, varint(13) + varint(14))) + unknown;
}

// The .pb files of the directory that BLADE_MODELS_DIR names; empty when it is not set.
inline std::vector<std::string> model_files() {
  std::vector<std::string> files;
  const char* directory = std::getenv("BLADE_MODELS_DIR");
  if (directory == nullptr) return files;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    if (entry.path().extension() == ".pb") files.push_back(entry.path().string());
  }
  return files;
}

inline std::string read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

// A directory of this process, removed at the end.
class TempDir {
 public:
  TempDir() {
    std::string pattern = (std::filesystem::temp_directory_path() / "blade_test_XXXXXX").string();
    if (mkdtemp(pattern.data()) != nullptr) path_ = pattern;
  }
  ~TempDir() { std::filesystem::remove_all(path_); }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  std::string file(const std::string& name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace blade::tensorflow::testing
