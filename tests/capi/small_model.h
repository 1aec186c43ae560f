// A frozen GraphDef written byte by byte, for tests that know nothing of Blade but its public headers:
// x [?,4] float32 -> y = Relu(x W + b) [?,3], and rows = Shape(x).
#pragma once

#include <fstream>
#include <string>
#include <vector>

#include "frontends/wire_bytes.h"

namespace blade::capi::testing {

namespace wire = tensorflow::testing;

inline std::string floats(const std::vector<int64_t>& dims, const std::vector<float>& values) {
  const std::string content(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
  return wire::attr("dtype", wire::number(6, 1)) +
         wire::attr("value", wire::bytes(8, wire::tensor(1, dims, wire::bytes(4, content))));
}

inline const std::vector<float>& weights() {  // [4,3]
  static const std::vector<float> values = {1, 0, -1, 2, 1, 0, 0, 3, -2, 1, -1, 1};
  return values;
}

inline std::string small_graph_def() {
  const std::string type = wire::attr("T", wire::number(6, 1));
  const auto node = [](const std::string& text) { return wire::bytes(1, text); };
  return node(wire::node(
             "x", "Placeholder",
             wire::attr("dtype", wire::number(6, 1)) + wire::attr("shape", wire::bytes(7, wire::shape({-1, 4}))))) +
         node(wire::node("w", "Const", floats({4, 3}, weights()))) +
         node(wire::node("b", "Const", floats({3}, {0.5f, -0.5f, 1}))) +
         node(wire::node("product", "MatMul",
                         wire::bytes(3, "x") + wire::bytes(3, "w") + type +
                             wire::attr("transpose_a", wire::number(5, 0)) +
                             wire::attr("transpose_b", wire::number(5, 0)))) +
         node(wire::node("sum", "BiasAdd", wire::bytes(3, "product") + wire::bytes(3, "b") + type)) +
         node(wire::node("y", "Relu", wire::bytes(3, "sum") + type)) +
         node(wire::node("rows", "Shape", wire::bytes(3, "x") + type + wire::attr("out_type", wire::number(6, 3)))) +
         wire::bytes(4, wire::number(1, 1882));
}

// The same as saved_model.pb of a SavedModel, whose signature calls x 'features' and y 'scores'.
inline std::string small_saved_model() {
  const auto entry = [](const std::string& key, const std::string& value) {
    return wire::bytes(1, key) + wire::bytes(2, value);
  };
  const std::string x = wire::bytes(1, "x:0") + wire::number(2, 1) + wire::bytes(3, wire::shape({-1, 4}));
  const std::string y = wire::bytes(1, "y:0") + wire::number(2, 1) + wire::bytes(3, wire::shape({-1, 3}));
  const std::string signature = wire::bytes(1, entry("features", x)) + wire::bytes(2, entry("scores", y)) +
                                wire::bytes(3, "tensorflow/serving/predict");
  const std::string tags = wire::bytes(4, "serve");
  return wire::number(1, 1) + wire::bytes(2, wire::bytes(1, tags) + wire::bytes(2, small_graph_def()) +
                                                 wire::bytes(5, entry("serving_default", signature)));
}

inline std::vector<float> expected_y(const std::vector<float>& x) {
  const float bias[] = {0.5f, -0.5f, 1};
  std::vector<float> y;
  for (size_t row = 0; row < x.size() / 4; ++row) {
    for (int column = 0; column < 3; ++column) {
      float sum = bias[column];
      for (int k = 0; k < 4; ++k) sum += x[row * 4 + k] * weights()[k * 3 + column];
      y.push_back(sum > 0 ? sum : 0);
    }
  }
  return y;
}

// The model as a file, gone with this object.
class ModelFile {
 public:
  explicit ModelFile(const std::string& content = small_graph_def(), const std::string& suffix = ".pb")
      : path_(folder_.file("model" + suffix)) {
    std::ofstream(path_, std::ios::binary) << content;
  }
  const char* path() const { return path_.c_str(); }

 private:
  wire::TempDir folder_;
  std::string path_;
};

}  // namespace blade::capi::testing
