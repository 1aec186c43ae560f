// Shapes of Einsum: one or two operands, repeated labels and the ellipsis, as TensorFlow's op.
#include "ir/ops/einsum.h"

#include <cctype>
#include <map>

#include "ir/ops/infer_support.h"

namespace blade::ir {
namespace {

Result<std::string> parse_term(const std::string& equation, const std::string& term) {
  std::string out;
  for (size_t i = 0; i < term.size(); ++i) {
    if (std::isalpha(static_cast<unsigned char>(term[i]))) {
      out += term[i];
    } else if (term.compare(i, 3, "...") == 0 && out.find('.') == std::string::npos) {
      out += '.';
      i += 2;
    } else {
      return invalid_argument(concat("The einsum equation \"", equation.substr(0, 100), "\" has '", term.substr(i, 10),
                                     "' where letters or one '...' were expected."));
    }
  }
  return out;
}

// What the labels and the ellipsis turn out to be.
struct Bindings {
  std::map<char, Dim> labels;
  Shape ellipsis = Shape::scalar();
};

Status bind_operand(InferContext& c, const std::string& term, const Shape& shape, Bindings& bound) {
  const size_t dots = term.find('.');
  if (!shape.has_rank()) {
    if (dots != std::string::npos) bound.ellipsis = Shape::unknown();
    return Status();
  }
  const int named = static_cast<int>(term.size()) - (dots != std::string::npos ? 1 : 0);
  const int covered = shape.rank() - named;
  if (covered < 0 || (covered > 0 && dots == std::string::npos)) {
    return infer_error(c, "has an operand of shape ", show(c, shape), " for a term of ", named,
                       " labels, expected rank ", named, dots == std::string::npos ? "" : " or more");
  }
  int axis = 0;
  for (char label : term) {
    if (label == '.') {
      const auto begin = shape.dims().begin() + axis;
      BLADE_ASSIGN_OR_RETURN(bound.ellipsis,
                             broadcast_shapes(c, bound.ellipsis, Shape(std::vector<Dim>(begin, begin + covered))));
      axis += covered;
      continue;
    }
    const auto [it, is_new] = bound.labels.try_emplace(label, shape.dim(axis));
    if (!is_new) {
      const char name[] = {'l', 'a', 'b', 'e', 'l', ' ', label, 0};
      BLADE_ASSIGN_OR_RETURN(it->second, merge_dims(c, it->second, shape.dim(axis), name));
    }
    ++axis;
  }
  return Status();
}

}  // namespace

Result<EinsumEquation> parse_einsum(const std::string& equation) {
  std::string text;
  for (char ch : equation) {
    if (ch != ' ') text += ch;
  }
  const size_t arrow = text.find("->");
  if (arrow == std::string::npos) {
    return invalid_argument(concat("The einsum equation \"", equation.substr(0, 100), "\" has no '->'; expected one."));
  }
  EinsumEquation out;
  const std::string left = text.substr(0, arrow);
  for (size_t begin = 0; begin <= left.size();) {
    const size_t end = std::min(left.find(',', begin), left.size());
    BLADE_ASSIGN_OR_RETURN(std::string term, parse_term(equation, left.substr(begin, end - begin)));
    out.inputs.push_back(std::move(term));
    begin = end + 1;
  }
  BLADE_ASSIGN_OR_RETURN(out.output, parse_term(equation, text.substr(arrow + 2)));
  for (size_t i = 0; i < out.output.size(); ++i) {
    bool found = out.output[i] == '.';
    for (const std::string& term : out.inputs) found |= term.find(out.output[i]) != std::string::npos;
    if (!found || out.output.find(out.output[i], i + 1) != std::string::npos) {
      return invalid_argument(concat("The einsum equation \"", equation.substr(0, 100), "\" has output label '",
                                     out.output[i], "'; expected each label once and in an input."));
    }
  }
  return out;
}

Status infer_einsum(InferContext& c) {
  const auto parsed = parse_einsum(c.node().get<EinsumAttrs>().equation);
  if (!parsed.ok()) return infer_error(c, "is malformed: ", parsed.status().message());
  const auto terms = static_cast<int>(parsed->inputs.size());
  if (terms > 2) return infer_error(c, "has ", terms, " terms, expected 1 or 2");
  BLADE_RETURN_IF_ERROR(check_arity(c, terms, terms));
  if (terms == 2) BLADE_RETURN_IF_ERROR(check_same_dtype(c, 0, 1));
  Bindings bound;
  for (int i = 0; i < terms; ++i) BLADE_RETURN_IF_ERROR(bind_operand(c, parsed->inputs[i], c.input_shape(i), bound));
  std::vector<Dim> out;
  for (char label : parsed->output) {
    if (label == '.') {
      if (!bound.ellipsis.has_rank()) {
        c.set_output(0, c.input_dtype(0), Shape::unknown());
        return Status();
      }
      out.insert(out.end(), bound.ellipsis.dims().begin(), bound.ellipsis.dims().end());
      continue;
    }
    const auto it = bound.labels.find(label);
    out.push_back(it != bound.labels.end() ? it->second : c.fresh_dim("label"));
  }
  c.set_output(0, c.input_dtype(0), Shape(std::move(out)));
  return Status();
}

}  // namespace blade::ir
