// Printing of attributes through their visit().
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

}  // namespace

std::string to_string(const Attrs& attrs) {
  Printer printer;
  visit_attrs(attrs, printer);
  return printer.out.str();
}

}  // namespace blade::ir
