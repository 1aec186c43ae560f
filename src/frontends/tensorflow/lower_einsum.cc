// Einsum as transposes, reshapes and one matrix product, which have fast kernels; equations with a label twice in one
// term (diagonals) stay Einsum.
#include <algorithm>

#include "frontends/tensorflow/lower.h"
#include "ir/ops/einsum.h"

namespace blade::tensorflow {
namespace {

// A tensor whose axes have labels.
struct Term {
  ir::ValueId value = ir::kNone;
  std::string labels;
  bool has(char label) const { return labels.find(label) != std::string::npos; }
  int axis(char label) const { return static_cast<int>(labels.find(label)); }
};

bool repeats(const std::string& labels) {
  for (size_t i = 0; i < labels.size(); ++i) {
    if (labels.find(labels[i], i + 1) != std::string::npos) return true;
  }
  return false;
}

// The ellipsis as labels of its own, counted from its last axis, so that terms share those that broadcast.
std::string expanded(const std::string& term, int covered) {
  std::string out;
  for (char label : term) {
    if (label != '.') out += label;
    for (int i = covered; label == '.' && i > 0; --i) out += static_cast<char>(i);
  }
  return out;
}

class EinsumLowering {
 public:
  explicit EinsumLowering(LowerContext& context) : context_(context), e_(context) {}

  // False: there is no such form, and nothing has been emitted.
  bool parse(const ir::EinsumEquation& equation) {
    int most = 0;
    for (size_t i = 0; i < equation.inputs.size(); ++i) {
      const std::string& term = equation.inputs[i];
      const ir::Shape& shape = context_.shape(context_.input(static_cast<int>(i)));
      const bool dots = term.find('.') != std::string::npos;
      if (!shape.has_rank()) return false;
      const int covered = shape.rank() - static_cast<int>(term.size()) + (dots ? 1 : 0);
      if (covered < 0 || covered > 8 || (covered > 0 && !dots)) return false;
      most = std::max(most, covered);
      terms_.push_back({context_.input(static_cast<int>(i)), expanded(term, covered)});
      if (repeats(terms_.back().labels)) return false;
    }
    output_ = expanded(equation.output, most);
    const bool drops_ellipsis = most > 0 && equation.output.find('.') == std::string::npos;
    return !drops_ellipsis && !terms_.empty() && terms_.size() <= 2;
  }

  Status lower() {
    for (size_t i = 0; i < terms_.size(); ++i) {
      sum_away(terms_[i], [&](char label) {
        return output_.find(label) != std::string::npos || (terms_.size() == 2 && terms_[1 - i].has(label));
      });
    }
    Term result = terms_.size() == 1 ? terms_[0] : combine(terms_[0], terms_[1]);
    BLADE_RETURN_IF_ERROR(e_.status());
    return e_.finish(
        e_.emit(ir::Op::kIdentity, "", {arranged(result, output_, "arranged").value}, ir::IdentityAttrs{}));
  }

 private:
  template <class Keep>
  void sum_away(Term& term, Keep keep) {
    ir::ReduceAttrs attrs;
    std::string left;
    for (size_t i = 0; i < term.labels.size(); ++i) {
      if (keep(term.labels[i])) {
        left += term.labels[i];
      } else {
        attrs.axes.push_back(static_cast<int64_t>(i));
      }
    }
    if (attrs.axes.empty()) return;
    term = {e_.emit(ir::Op::kReduce, "sum", {term.value}, std::move(attrs)), left};
  }

  Term arranged(const Term& term, const std::string& labels, const char* suffix) {
    if (term.labels == labels) return term;
    ir::PermAttrs attrs;
    for (char label : labels) attrs.perm.push_back(term.axis(label));
    return {e_.emit(ir::Op::kTranspose, suffix, {term.value}, std::move(attrs)), labels};
  }

  Term combine(const Term& a, const Term& b) {
    std::string batch, left, right, contracted;
    for (char label : a.labels) {
      const bool in_output = output_.find(label) != std::string::npos;
      (!in_output ? contracted : b.has(label) ? batch : left) += label;
    }
    for (char label : b.labels) {
      if (!a.has(label)) right += label;
    }
    if (left.empty() && right.empty()) return dot(a, b, batch, contracted);
    // In the order of the output: its last transpose is then often none.
    for (std::string* group : {&batch, &left, &right}) {
      std::sort(group->begin(), group->end(), [&](char x, char y) { return output_.find(x) < output_.find(y); });
    }
    return product(a, b, batch, left, right, contracted);
  }

  // All labels are shared: elements times elements.
  Term dot(const Term& a, const Term& b, const std::string& batch, const std::string& contracted) {
    const std::string all = batch + contracted;
    Term out{e_.pointwise(ir::PointwiseOp::kMul, "product",
                          {arranged(a, all, "left").value, arranged(b, all, "right").value}),
             all};
    sum_away(out, [&](char label) { return batch.find(label) != std::string::npos; });
    return out;
  }

  Term product(const Term& a, const Term& b, const std::string& batch, const std::string& left,
               const std::string& right, const std::string& contracted) {
    ir::MatMulAttrs attrs;
    // Rows or columns first, as they lie already.
    attrs.transpose_a = a.labels == batch + contracted + left;
    attrs.transpose_b = b.labels == batch + right + contracted;
    const ir::ValueId x =
        attrs.transpose_a ? matrices(a, batch, contracted, left, "left") : matrices(a, batch, left, contracted, "left");
    const ir::ValueId y = attrs.transpose_b ? matrices(b, batch, right, contracted, "right")
                                            : matrices(b, batch, contracted, right, "right");
    const ir::ValueId made = e_.emit(ir::Op::kMatMul, "product", {x, y}, std::move(attrs));
    Term out{made, batch + left + right};
    if (left.size() == 1 && right.size() == 1) return out;
    std::vector<ir::ValueId> dims;
    for (size_t i = 0; i < batch.size(); ++i) dims.push_back(e_.dim(made, static_cast<int>(i)));
    for (char label : left) dims.push_back(e_.dim(a.value, a.axis(label)));
    for (char label : right) dims.push_back(e_.dim(b.value, b.axis(label)));
    out.value = reshaped(made, std::move(dims), "labels");
    return out;
  }

  // [batch..., rows merged, columns merged]
  ir::ValueId matrices(const Term& term, const std::string& batch, const std::string& rows, const std::string& columns,
                       const char* suffix) {
    const Term from = arranged(term, batch + rows + columns, suffix);
    if (rows.size() == 1 && columns.size() == 1) return from.value;
    std::vector<ir::ValueId> dims;
    for (char label : batch) dims.push_back(e_.dim(from.value, from.axis(label)));
    for (const std::string* group : {&rows, &columns}) {
      ir::ValueId merged = ir::kNone;
      for (char label : *group) {
        const ir::ValueId dim = e_.dim(from.value, from.axis(label));
        merged = merged == ir::kNone ? dim : e_.pointwise(ir::PointwiseOp::kMul, "merged", {merged, dim});
      }
      dims.push_back(merged == ir::kNone ? e_.integer(1) : merged);
    }
    return reshaped(from.value, std::move(dims), suffix);
  }

  ir::ValueId reshaped(ir::ValueId value, std::vector<ir::ValueId> dims, const char* suffix) {
    if (!e_.status().ok()) return ir::kNone;
    return e_.emit(ir::Op::kReshape, suffix,
                   {value, e_.emit(ir::Op::kPack, "dims", std::move(dims), ir::AxisAttrs{0})});
  }

  LowerContext& context_;
  Emitter e_;
  std::vector<Term> terms_;
  std::string output_;
};

}  // namespace

Status lower_einsum(LowerContext& context, int) {
  BLADE_ASSIGN_OR_RETURN(std::string equation, string_attr(context.node(), "equation"));
  const auto parsed = ir::parse_einsum(equation);
  EinsumLowering lowering(context);
  if (parsed.ok() && static_cast<int>(parsed->inputs.size()) == context.num_inputs() && lowering.parse(*parsed)) {
    return lowering.lower();
  }
  return context.finish(context.emit(ir::Op::kEinsum, "", context.inputs(), ir::EinsumAttrs{std::move(equation)}));
}

}  // namespace blade::tensorflow
