// Builds small GraphDefs in a few lines for the importer's and writer's tests.
#pragma once

#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "frontends/tensorflow/new_nodes.h"
#include "frontends/tensorflow/proto/graph_def.h"

namespace blade::tensorflow {

class GraphBuilder {
 public:
  GraphBuilder& node(std::string name, std::string op, std::vector<std::string> inputs, AttrMap attrs = {}) {
    graph_.nodes.push_back(make_node(std::move(name), std::move(op), std::move(inputs), std::move(attrs)));
    return *this;
  }

  // An op whose only attribute is T = float32.
  GraphBuilder& op(std::string name, std::string op, std::vector<std::string> inputs) {
    return node(std::move(name), std::move(op), std::move(inputs), {{"T", AttrValue::of_type(DataType::kFloat)}});
  }

  GraphBuilder& placeholder(std::string name, std::vector<int64_t> dims, DataType type = DataType::kFloat) {
    TensorShapeProto shape;
    shape.dims = std::move(dims);
    return node(std::move(name), "Placeholder", {},
                {{"dtype", AttrValue::of_type(type)}, {"shape", AttrValue::of_shape(shape)}});
  }

  template <class T>
  GraphBuilder& constant(std::string name, DataType type, std::vector<int64_t> dims, const std::vector<T>& values) {
    std::string bytes(values.size() * sizeof(T), '\0');
    if (!values.empty()) std::memcpy(bytes.data(), values.data(), bytes.size());
    TensorProto tensor = TensorProto::from_dense(type, std::move(dims), SharedBytes::own(std::move(bytes)));
    return node(std::move(name), "Const", {},
                {{"dtype", AttrValue::of_type(type)}, {"value", AttrValue::of_tensor(tensor)}});
  }
  GraphBuilder& floats(std::string name, std::vector<int64_t> dims, const std::vector<float>& values) {
    return constant<float>(std::move(name), DataType::kFloat, std::move(dims), values);
  }
  GraphBuilder& ints(std::string name, const std::vector<int32_t>& values) {
    return constant<int32_t>(std::move(name), DataType::kInt32, {static_cast<int64_t>(values.size())}, values);
  }
  GraphBuilder& scalar(std::string name, int32_t value) {
    return constant<int32_t>(std::move(name), DataType::kInt32, {}, {value});
  }

  GraphBuilder& function(FunctionFields fields) {
    if (!graph_.library) graph_.library.emplace();
    graph_.library->edit().functions.emplace_back(std::move(fields));
    return *this;
  }

  GraphDef build() const { return GraphDef(graph_); }

 private:
  GraphFields graph_;
};

inline ArgDef make_arg(std::string name, DataType type) {
  ArgDef arg;
  arg.name = std::move(name);
  arg.type = type;
  return arg;
}

}  // namespace blade::tensorflow
