// Interned arithmetic on dims: canonical sums and products, so that equal sizes are found equal by comparing ids.
#include <algorithm>
#include <limits>
#include <numeric>

#include "base/checked_math.h"
#include "ir/text.h"
#include "ir/types.h"

namespace blade::ir {
namespace {

using Kind = SymbolTable::Kind;
constexpr size_t kMaxTerms = 16;  // longer sums and products stay as they were written
constexpr int kMaxDepth = 64;     // deeper expressions become fresh unknowns, so that recursion is bounded
constexpr int kMaxVisits = 256;   // of one walk over an expression
constexpr int kMaxPrintedNodes = 48;

std::optional<int64_t> checked_sub(int64_t a, int64_t b) {
  int64_t out;
  return __builtin_sub_overflow(a, b, &out) ? std::nullopt : std::optional<int64_t>(out);
}

// b != 0 and not INT64_MIN / -1.
int64_t floor_div_numbers(int64_t a, int64_t b) {
  const int64_t q = a / b;
  return (a % b != 0 && (a < 0) != (b < 0)) ? q - 1 : q;
}

std::optional<int64_t> fold(Kind kind, int64_t a, int64_t b) {
  const bool divides = b != 0 && !(a == std::numeric_limits<int64_t>::min() && b == -1);
  switch (kind) {
    case Kind::kAdd:
      return checked_add(a, b);
    case Kind::kSub:
      return checked_sub(a, b);
    case Kind::kMul:
      return checked_mul(a, b);
    case Kind::kFloorDiv:
      return divides ? std::optional(floor_div_numbers(a, b)) : std::nullopt;
    case Kind::kCeilDiv:
      return divides ? std::optional(floor_div_numbers(a, b) + (a % b != 0)) : std::nullopt;
    case Kind::kMod: {
      if (!divides) return std::nullopt;
      const int64_t rest = a % b;
      return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
    }
    case Kind::kMax:
      return std::max(a, b);
    case Kind::kMin:
      return std::min(a, b);
    case Kind::kBroadcast:
      return a == 1 ? b : a;
    default:
      return std::nullopt;
  }
}

bool is_commutative(Kind kind) {
  return kind == Kind::kAdd || kind == Kind::kMul || kind == Kind::kMax || kind == Kind::kMin ||
         kind == Kind::kBroadcast;
}

bool is_leaf(Kind kind) { return kind == Kind::kRoot || kind == Kind::kElement; }

}  // namespace

// Simplification over one table; split from it to keep the public class small.
class SymbolAlgebra {
 public:
  explicit SymbolAlgebra(SymbolTable& table) : table_(table) {}

  Dim binary(Kind kind, Dim a, Dim b) {
    const auto ca = table_.constant(a), cb = table_.constant(b);
    if (ca && cb) {
      const auto value = fold(kind, *ca, *cb);
      return value ? table_.number(*value) : table_.make_element("undefined");
    }
    switch (kind) {
      case Kind::kAdd:
        return sum(a, b, 1);
      case Kind::kSub:
        return sum(a, b, -1);
      case Kind::kMul:
        return product(a, b);
      case Kind::kFloorDiv:
        return floor_div(a, b);
      case Kind::kCeilDiv:
        return ceil_div(a, b);
      case Kind::kMod:
        return mod(a, b);
      case Kind::kMax:
      case Kind::kMin:
        return extremum(kind, a, b);
      case Kind::kBroadcast:
        return broadcast(a, b);
      default:
        return table_.make_element("undefined");
    }
  }

 private:
  struct Term {
    Dim atom;
    int64_t coefficient;
  };
  // constant + sum of coefficient * atom.
  struct Linear {
    std::vector<Term> terms;
    int64_t constant = 0;
    bool is_number() const { return terms.empty(); }
  };

  bool collect(Dim e, int64_t scale, Linear& out, int& visits) {
    if (++visits > kMaxVisits) return false;
    if (const auto c = table_.constant(e)) {
      const auto scaled = checked_mul(*c, scale);
      const auto next = scaled ? checked_add(out.constant, *scaled) : std::nullopt;
      if (next) out.constant = *next;
      return next && *next > -kHuge && *next < kHuge;
    }
    const SymbolTable::Entry entry = table_.entry(e);
    if (entry.kind == Kind::kAdd || entry.kind == Kind::kSub) {
      const int64_t rhs_scale = entry.kind == Kind::kAdd ? scale : -scale;
      return collect(entry.lhs, scale, out, visits) && collect(entry.rhs, rhs_scale, out, visits);
    }
    if (entry.kind == Kind::kMul) {
      if (const auto c = table_.constant(entry.rhs)) {
        const auto scaled = checked_mul(*c, scale);
        return scaled && *scaled > -kHuge && *scaled < kHuge && collect(entry.lhs, *scaled, out, visits);
      }
    }
    for (Term& term : out.terms) {
      if (term.atom != e) continue;
      const auto next = checked_add(term.coefficient, scale);
      if (next) term.coefficient = *next;
      return next && *next > -kHuge && *next < kHuge;
    }
    out.terms.push_back({e, scale});
    return out.terms.size() <= kMaxTerms;
  }

  std::optional<Linear> linear(Dim a, Dim b = 0, int64_t b_scale = 1) {
    Linear out;
    int visits = 0;
    if (!collect(a, 1, out, visits) || !collect(b, b_scale, out, visits)) return std::nullopt;
    std::erase_if(out.terms, [](const Term& t) { return t.coefficient == 0; });
    std::sort(out.terms.begin(), out.terms.end(),
              [](const Term& x, const Term& y) { return x.atom.symbol_id() < y.atom.symbol_id(); });
    return out;
  }

  Dim scaled_atom(const Term& term) {
    return term.coefficient == 1 ? term.atom : table_.intern(Kind::kMul, term.atom, table_.number(term.coefficient));
  }

  Dim build(const Linear& sum) {
    std::optional<Dim> acc;
    for (const Term& term : sum.terms) {
      if (term.coefficient < 0) continue;
      const Dim t = scaled_atom(term);
      acc = acc ? table_.intern(Kind::kAdd, *acc, t) : t;
    }
    for (const Term& term : sum.terms) {
      if (term.coefficient > 0) continue;
      acc = acc ? table_.intern(Kind::kSub, *acc, scaled_atom({term.atom, -term.coefficient})) : scaled_atom(term);
    }
    if (!acc) return table_.number(sum.constant);
    return sum.constant == 0 ? *acc : table_.intern(Kind::kAdd, *acc, table_.number(sum.constant));
  }

  // Constants last, then by age.
  void order(Dim& a, Dim& b) {
    const bool ca = table_.constant(a).has_value(), cb = table_.constant(b).has_value();
    if (ca != cb ? ca : a.symbol_id() > b.symbol_id()) std::swap(a, b);
  }

  Dim plain(Kind kind, Dim a, Dim b) {
    if (is_commutative(kind)) order(a, b);
    return table_.intern(kind, a, b);
  }

  Dim sum(Dim a, Dim b, int64_t b_scale) {
    const auto l = linear(a, b, b_scale);
    return l ? build(*l) : plain(b_scale > 0 ? Kind::kAdd : Kind::kSub, a, b);
  }

  // e = coefficient * factors.
  struct Product {
    int64_t coefficient = 1;
    std::vector<Dim> factors;
  };
  bool collect_factors(Dim e, std::vector<Dim>& out, int& visits) {
    if (++visits > kMaxVisits) return false;
    if (!table_.constant(e)) {
      const SymbolTable::Entry entry = table_.entry(e);
      if (entry.kind == Kind::kMul && !table_.constant(entry.rhs)) {
        return collect_factors(entry.lhs, out, visits) && collect_factors(entry.rhs, out, visits);
      }
    }
    out.push_back(e);
    return out.size() <= kMaxTerms;
  }
  std::optional<Product> factor(Dim e) {
    Product out;
    if (const auto c = table_.constant(e)) {
      out.coefficient = *c;
      return out;
    }
    const auto l = linear(e);
    if (!l) return std::nullopt;
    if (l->is_number()) {
      out.coefficient = l->constant;
      return out;
    }
    int visits = 0;
    Dim rest = e;
    if (l->terms.size() == 1 && l->constant == 0) {
      out.coefficient = l->terms[0].coefficient;
      rest = l->terms[0].atom;
    }
    if (!collect_factors(rest, out.factors, visits)) return std::nullopt;
    return out;
  }

  Dim scale(Dim e, int64_t by) {
    Linear out;
    int visits = 0;
    if (by == 0) return 0;
    if (by <= -kHuge || by >= kHuge || !collect(e, by, out, visits)) {
      return plain(Kind::kMul, e, table_.number(by));
    }
    return build(out);
  }

  Dim build(Product product) {
    if (product.factors.empty()) return table_.number(product.coefficient);
    std::sort(product.factors.begin(), product.factors.end(),
              [](Dim x, Dim y) { return x.symbol_id() < y.symbol_id(); });
    Dim acc = product.factors[0];
    for (size_t i = 1; i < product.factors.size(); ++i) acc = table_.intern(Kind::kMul, acc, product.factors[i]);
    return scale(acc, product.coefficient);
  }

  Dim product(Dim a, Dim b) {
    if (const auto cb = table_.constant(b)) return scale(a, *cb);
    if (const auto ca = table_.constant(a)) return scale(b, *ca);
    auto fa = factor(a);
    const auto fb = factor(b);
    if (!fa || !fb || fa->factors.size() + fb->factors.size() > kMaxTerms) return plain(Kind::kMul, a, b);
    const auto coefficient = checked_mul(fa->coefficient, fb->coefficient);
    if (!coefficient) return plain(Kind::kMul, a, b);
    fa->coefficient = *coefficient;
    fa->factors.insert(fa->factors.end(), fb->factors.begin(), fb->factors.end());
    return build(std::move(*fa));
  }

  // Takes what is common out of numerator and denominator; sizes that divide are taken as non-zero, as a run needs
  // them.
  bool cancel(Dim& a, Dim& b) {
    auto fa = factor(a), fb = factor(b);
    if (!fa || !fb || fb->coefficient <= 0) return false;
    bool changed = false;
    for (auto it = fb->factors.begin(); it != fb->factors.end();) {
      const auto common = std::find(fa->factors.begin(), fa->factors.end(), *it);
      if (common == fa->factors.end()) {
        ++it;
        continue;
      }
      fa->factors.erase(common);
      it = fb->factors.erase(it);
      changed = true;
    }
    const int64_t divisor = std::gcd(fa->coefficient, fb->coefficient);
    if (divisor > 1) {
      fa->coefficient /= divisor;
      fb->coefficient /= divisor;
      changed = true;
    }
    if (!changed) return false;
    a = build(std::move(*fa));
    b = build(std::move(*fb));
    return true;
  }

  Dim floor_div(Dim a, Dim b) {
    const auto cb = table_.constant(b);
    if (table_.constant(a) == 0) return 0;
    if (!cb) {
      if (cancel(a, b)) return binary(Kind::kFloorDiv, a, b);
      return table_.intern(Kind::kFloorDiv, a, b);
    }
    if (*cb == 0) return table_.make_root("undefined");
    if (*cb == 1) return a;
    if (*cb == -1) return scale(a, -1);
    const auto l = linear(a);
    if (*cb < 0 || !l) return table_.intern(Kind::kFloorDiv, a, b);
    return floor_div_linear(*l, *cb);
  }

  // floor((b*q + r) / b) = q + floor(r / b).
  Dim floor_div_linear(const Linear& l, int64_t b) {
    Linear q, r;
    int64_t common = b;
    for (const Term& t : l.terms) {
      if (t.coefficient % b == 0) {
        q.terms.push_back({t.atom, t.coefficient / b});
      } else {
        r.terms.push_back(t);
        common = std::gcd(common, t.coefficient);
      }
    }
    q.constant = floor_div_numbers(l.constant, b);
    r.constant = l.constant - b * q.constant;
    if (r.is_number()) return build(q);
    if (common > 1) {  // floor((g*y + c) / (g*b)) = floor((y + floor(c / g)) / b)
      for (Term& t : r.terms) t.coefficient /= common;
      r.constant = floor_div_numbers(r.constant, common);
      return sum(build(q), floor_div(build(r), b / common), 1);
    }
    if (r.terms.size() == 1 &&
        r.terms[0].coefficient == 1) {  // floor((floor(x / m) + c) / b) = floor((x + c*m) / (m*b))
      const SymbolTable::Entry inner = table_.entry(r.terms[0].atom);
      const auto m = inner.kind == Kind::kFloorDiv ? table_.constant(inner.rhs) : std::nullopt;
      const auto shift = m ? checked_mul(*m, r.constant) : std::nullopt;
      const auto divisor = m ? checked_mul(*m, b) : std::nullopt;
      if (m && *m > 0 && shift && divisor) {
        return sum(build(q), floor_div(sum(inner.lhs, table_.number(*shift), 1), *divisor), 1);
      }
    }
    return sum(build(q), table_.intern(Kind::kFloorDiv, build(r), b), 1);
  }

  Dim ceil_div(Dim a, Dim b) {
    const auto cb = table_.constant(b);
    if (cb && *cb > 0) return floor_div(sum(a, table_.number(*cb - 1), 1), b);
    if (cb && *cb == 0) return table_.make_root("undefined");
    if (table_.constant(a) == 0) return 0;
    if (!cb && cancel(a, b)) return binary(Kind::kCeilDiv, a, b);
    return table_.intern(Kind::kCeilDiv, a, b);
  }

  Dim mod(Dim a, Dim b) {
    if (a == b || table_.constant(a) == 0) return 0;
    const auto cb = table_.constant(b);
    if (!cb) {
      Dim quotient = a, rest = b;
      if (cancel(quotient, rest) && table_.constant(rest) == 1) return 0;
      return table_.intern(Kind::kMod, a, b);
    }
    if (*cb == 0) return table_.make_root("undefined");
    auto l = linear(a);
    if (*cb < 0 || !l) return table_.intern(Kind::kMod, a, b);
    std::erase_if(l->terms, [&](const Term& t) { return t.coefficient % *cb == 0; });
    l->constant -= *cb * floor_div_numbers(l->constant, *cb);
    return l->is_number() ? table_.number(l->constant) : table_.intern(Kind::kMod, build(*l), b);
  }

  Dim extremum(Kind kind, Dim a, Dim b) {
    const bool want_larger = kind == Kind::kMax;
    if (const auto difference = linear(a, b, -1); difference && difference->is_number()) {
      return (difference->constant > 0) == want_larger ? a : b;
    }
    order(a, b);
    if (const auto cb = table_.constant(b); cb && *cb <= 0 && table_.is_nonnegative(a)) return want_larger ? a : b;
    return table_.intern(kind, a, b);
  }

  Dim broadcast(Dim a, Dim b) {
    const auto ca = table_.constant(a), cb = table_.constant(b);
    if (a == b || cb == 1) return a;
    if (ca == 1) return b;
    if (ca) return a;
    if (cb) return b;
    if (contains_broadcast(a, b)) return a;
    if (contains_broadcast(b, a)) return b;
    return plain(Kind::kBroadcast, a, b);
  }
  bool contains_broadcast(Dim whole, Dim part) {
    for (int steps = 0; steps < kMaxDepth && !table_.constant(whole); ++steps) {
      const SymbolTable::Entry& entry = table_.entry(whole);
      if (entry.kind != Kind::kBroadcast) return false;
      if (entry.lhs == part || entry.rhs == part) return true;
      whole = entry.lhs;
    }
    return false;
  }

  static constexpr int64_t kHuge = int64_t{1}
                                   << 62;  // coefficients and constants stay below: no step on them overflows
  SymbolTable& table_;
};

Dim SymbolTable::make_root(std::string name) {
  entries_.push_back({Kind::kRoot, 0, 0, std::move(name), true, false, 0});
  return Dim::symbol(static_cast<int32_t>(entries_.size() - 1));
}

Dim SymbolTable::make_element(std::string name) {
  entries_.push_back({Kind::kElement, 0, 0, std::move(name), false, true, 0});
  return Dim::symbol(static_cast<int32_t>(entries_.size() - 1));
}

Dim SymbolTable::named(const std::string& name, bool element) {
  const auto it = named_.find(name);
  if (it != named_.end() && (entries_[it->second].kind == Kind::kElement) == element) return Dim::symbol(it->second);
  const Dim made = element ? make_element(name) : make_root(name);
  named_[name] = made.symbol_id();
  return made;
}

Dim SymbolTable::number(int64_t value) {
  if (value >= 0) return Dim(value);
  if (value == std::numeric_limits<int64_t>::min()) return make_element("undefined");
  return intern(Kind::kNegative, Dim(-value), Dim(0));
}

std::optional<int64_t> SymbolTable::constant(Dim d) const {
  if (d.is_known()) return d.value();
  const Entry& e = entry(d);
  return e.kind == Kind::kNegative ? std::optional(-e.lhs.value()) : std::nullopt;
}

void SymbolTable::mark_nonnegative(Dim d) {
  if (!d.is_known() && entry(d).kind != Kind::kNegative) entries_[d.symbol_id()].nonnegative = true;
}

Dim SymbolTable::binary(Kind kind, Dim a, Dim b) { return SymbolAlgebra(*this).binary(kind, a, b); }

Dim SymbolTable::intern(Kind kind, Dim a, Dim b) {
  const Key key{kind, a, b};
  if (const auto it = interned_.find(key); it != interned_.end()) return Dim::symbol(it->second);
  const bool na = is_nonnegative(a), nb = is_nonnegative(b);
  Entry made{kind, a, b, "", na && nb, has_element(a) || has_element(b), 0};
  const auto depth_of = [&](Dim d) { return d.is_known() ? 0 : static_cast<int>(entry(d).depth); };
  const int depth = 1 + std::max(depth_of(a), depth_of(b));
  made.depth = static_cast<uint8_t>(depth);
  if (kind == Kind::kNegative || kind == Kind::kSub) made.nonnegative = false;
  if (kind == Kind::kMax) made.nonnegative = na || nb;
  if (kind == Kind::kMod) made.nonnegative = nb;
  if (depth > kMaxDepth) {
    made = {made.nonnegative ? Kind::kRoot : Kind::kElement, 0, 0, "expression", made.nonnegative, made.has_element, 0};
  }
  entries_.push_back(std::move(made));
  const auto id = static_cast<int32_t>(entries_.size() - 1);
  interned_.emplace(key, id);
  return Dim::symbol(id);
}

Status SymbolTable::append(Entry entry) {
  const auto check = [&](Dim d) { return d.is_known() || static_cast<size_t>(d.symbol_id()) < entries_.size(); };
  if (entry.kind > Kind::kNegative || !check(entry.lhs) || !check(entry.rhs)) {
    return data_loss(
        concat("Symbol ", entries_.size(), " of the symbol table is not an expression of earlier symbols."));
  }
  if (is_leaf(entry.kind)) {
    entry.lhs = entry.rhs = 0;
    entry.depth = 0;
    entry.nonnegative |= entry.kind == Kind::kRoot;
    entry.has_element |= entry.kind == Kind::kElement;
    entries_.push_back(std::move(entry));
    return Status();
  }
  if (entry.kind == Kind::kNegative && (!entry.lhs.is_known() || entry.lhs == Dim(0) || entry.rhs != Dim(0))) {
    return data_loss(concat("Symbol ", entries_.size(), " of the symbol table is not a negative number."));
  }
  const size_t before = entries_.size();
  const Dim made = intern(entry.kind, entry.lhs, entry.rhs);
  if (entries_.size() == before || is_leaf(entries_.back().kind)) {
    return data_loss(concat("Symbol ", before, " of the symbol table is there twice or nested too deeply."));
  }
  if (entry.nonnegative) mark_nonnegative(made);
  return Status();
}

std::vector<Dim> SymbolTable::substitute(const SymbolTable& other, const std::vector<std::optional<Dim>>& bound) {
  std::vector<Dim> out;
  out.reserve(other.size());
  const auto map = [&](Dim d) { return d.is_known() ? d : out[d.symbol_id()]; };
  for (size_t i = 0; i < other.entries_.size(); ++i) {
    const Entry& e = other.entries_[i];
    if (i < bound.size() && bound[i]) {
      out.push_back(*bound[i]);
    } else if (is_leaf(e.kind)) {
      out.push_back(e.kind == Kind::kRoot ? make_root(e.name) : make_element(e.name));
    } else if (e.kind == Kind::kNegative) {
      out.push_back(number(-e.lhs.value()));
    } else {
      out.push_back(binary(e.kind, map(e.lhs), map(e.rhs)));
    }
  }
  return out;
}

namespace {

class Printer {
 public:
  explicit Printer(const SymbolTable& table) : table_(table) {}

  // precedence: 0 sum, 1 product, 2 atom.
  std::string print(Dim d, int precedence) {
    if (const auto c = table_.constant(d)) return std::to_string(*c);
    if (++nodes_ > kMaxPrintedNodes) return "...";
    const SymbolTable::Entry& e = table_.entry(d);
    switch (e.kind) {
      case Kind::kRoot:
      case Kind::kElement:
        return e.name.empty() ? concat("s", d.symbol_id()) : e.name;
      case Kind::kAdd: {
        const auto c = table_.constant(e.rhs);
        if (c && *c < 0) return wrap(print(e.lhs, 0) + std::to_string(*c), 0, precedence);
        return wrap(print(e.lhs, 0) + "+" + print(e.rhs, 0), 0, precedence);
      }
      case Kind::kSub:
        return wrap(print(e.lhs, 0) + "-" + print(e.rhs, 1), 0, precedence);
      case Kind::kMul:
        return wrap(print(e.lhs, 1) + "*" + print(e.rhs, 2), 1, precedence);
      case Kind::kFloorDiv:
        return wrap(print(e.lhs, 1) + "//" + print(e.rhs, 2), 1, precedence);
      case Kind::kMod:
        return wrap(print(e.lhs, 1) + "%" + print(e.rhs, 2), 1, precedence);
      case Kind::kCeilDiv:
        return call("ceil_div", e);
      case Kind::kMax:
        return call("max", e);
      case Kind::kMin:
        return call("min", e);
      case Kind::kBroadcast:
        return call("broadcast", e);
      case Kind::kNegative:
        break;
    }
    return "?";
  }

 private:
  static std::string wrap(std::string text, int own, int outer) { return own < outer ? "(" + text + ")" : text; }
  std::string call(const char* name, const SymbolTable::Entry& e) {
    return concat(name, "(", print(e.lhs, 0), ",", print(e.rhs, 0), ")");
  }

  const SymbolTable& table_;
  int nodes_ = 0;
};

}  // namespace

std::string SymbolTable::to_string(Dim d) const { return Printer(*this).print(d, 0); }

std::string SymbolTable::to_string(const Shape& shape) const {
  if (!shape.has_rank()) return "<unknown>";
  std::string out = "[";
  for (int i = 0; i < shape.rank(); ++i) {
    if (i > 0) out += ",";
    out += to_string(shape.dim(i));
  }
  return out + "]";
}

}  // namespace blade::ir
