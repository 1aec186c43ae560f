// Printing and hashing of attributes through their visit().
#include <functional>
#include <sstream>

#include "ir/ops/attrs_visit.h"

namespace blade::ir {
namespace {

struct Printer {
  std::ostringstream out;
  bool first = true;

  std::ostream& field(const char* name) {
    if (!first) out << ' ';
    first = false;
    return out << name << '=';
  }
  void operator()(const char* name, const bool& v) { field(name) << (v ? "true" : "false"); }
  void operator()(const char* name, const int64_t& v) { field(name) << v; }
  void operator()(const char* name, const float& v) { field(name) << v; }
  void operator()(const char* name, const std::string& v) { field(name) << '"' << v << '"'; }
  void operator()(const char* name, const DType& v) { field(name) << dtype_name(v); }
  void operator()(const char* name, const std::vector<int64_t>& v) {
    if (v.empty()) return;
    field(name) << '[';
    for (size_t i = 0; i < v.size(); ++i) out << (i ? "," : "") << v[i];
    out << ']';
  }
  void operator()(const char* name, const PointwiseProgram& v) {
    if (!v.empty()) field(name) << '{' << to_string(v) << '}';
  }
  void operator()(const char* name, const std::vector<SubGraph>& v) { field(name) << v.size(); }
  template <class E>
  requires std::is_enum_v<E>
  void operator()(const char* name, const E& v) {
    const auto i = static_cast<size_t>(v);
    field(name) << (i < std::size(EnumNames<E>::value) ? EnumNames<E>::value[i] : "?");
  }
};

struct Hasher {
  size_t state = 0;
  void add(size_t h) { state = (state ^ h) * 0x9e3779b97f4a7c15u + (state >> 31); }
  template <class T>
  requires(std::is_arithmetic_v<T>) void operator()(const char*, const T& v) { add(std::hash<T>()(v)); }
  template <class E>
  requires std::is_enum_v<E>
  void operator()(const char*, const E& v) { add(static_cast<size_t>(v)); }
  void operator()(const char*, const std::string& v) { add(std::hash<std::string>()(v)); }
  void operator()(const char*, const std::vector<int64_t>& v) {
    add(v.size());
    for (int64_t x : v) add(static_cast<size_t>(x));
  }
  void operator()(const char*, const std::vector<SubGraph>& v) {
    for (const SubGraph& graph : v) add(std::hash<const void*>()(graph.get()));
  }
  void operator()(const char*, const PointwiseProgram& v) {
    add(static_cast<size_t>(v.num_inputs));
    for (const PointwiseInstr& i : v.code) {
      for (int part : {static_cast<int>(i.op), int{i.a}, int{i.b}, int{i.c}}) add(static_cast<size_t>(part));
      add(std::hash<float>()(i.alpha));
      add(std::hash<float>()(i.beta));
    }
  }
};

}  // namespace

std::string to_string(const Attrs& attrs) {
  Printer printer;
  visit_attrs(attrs, printer);
  return printer.out.str();
}

size_t hash_attrs(const Attrs& attrs) {
  Hasher hasher;
  hasher.add(attrs.index());
  visit_attrs(attrs, hasher);
  return hasher.state;
}

}  // namespace blade::ir
