// Element types, symbolic dims and shapes, and immutable constant tensors: what every other folder speaks in.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/status.h"

namespace blade::ir {

enum class DType : uint8_t {
  kInvalid = 0,
  kFloat32,
  kFloat64,
  kFloat16,
  kBFloat16,
  kInt8,
  kInt16,
  kInt32,
  kInt64,
  kUInt8,
  kUInt16,
  kUInt32,
  kUInt64,
  kBool,
  kOpaque,  // a type only the source framework knows (string, resource, variant): never enters a region
};

size_t dtype_size(DType dtype);       // bytes an element; 0 for kInvalid and kOpaque
const char* dtype_name(DType dtype);  // "float32", ...
bool is_floating(DType dtype);
bool is_integer(DType dtype);

// A dimension: a known non-negative number or a symbol of the graph's SymbolTable.
class Dim {
 public:
  Dim() : rep_(0) {}
  Dim(int64_t value) : rep_(value) {}  // NOLINT(google-explicit-constructor): a number is a dim
  static Dim symbol(int32_t id) {
    Dim d;
    d.rep_ = -1 - static_cast<int64_t>(id);
    return d;
  }
  bool is_known() const { return rep_ >= 0; }
  int64_t value() const { return rep_; }                                 // only if is_known()
  int32_t symbol_id() const { return static_cast<int32_t>(-1 - rep_); }  // only if !is_known()
  // Equal representation proves equal size: symbol expressions are interned.
  bool operator==(const Dim&) const = default;

 private:
  int64_t rep_;
};

using Dims = std::vector<int64_t>;  // a concrete shape

// Rank may be unknown; then there are no dims.
class Shape {
 public:
  Shape() = default;  // unknown rank
  explicit Shape(std::vector<Dim> dims) : known_rank_(true), dims_(std::move(dims)) {}
  static Shape of(std::span<const int64_t> dims) { return Shape(std::vector<Dim>(dims.begin(), dims.end())); }
  static Shape scalar() { return Shape(std::vector<Dim>{}); }
  static Shape unknown() { return Shape(); }

  bool has_rank() const { return known_rank_; }
  int rank() const { return static_cast<int>(dims_.size()); }
  Dim dim(int i) const { return dims_[i < 0 ? i + dims_.size() : i]; }  // negative counts from the back
  void set_dim(int i, Dim d) { dims_[i < 0 ? i + dims_.size() : i] = d; }
  const std::vector<Dim>& dims() const { return dims_; }
  bool is_static() const;                        // rank and every dim known
  std::optional<Dims> static_dims() const;       // all dims when is_static()
  std::optional<int64_t> element_count() const;  // when is_static() and it fits
  bool operator==(const Shape&) const = default;

 private:
  bool known_rank_ = false;
  std::vector<Dim> dims_;
};

// Interned dim arithmetic, so that equal expressions over the graph's unknown dims are the same symbol. Sums are kept
// in a canonical linear form and ceil_div by a number becomes floor_div, so that the usual ways to write one size
// agree. Elements of integer tensors are Dims too and may be negative: number() and constant() go between them and
// int64_t.
class SymbolTable {
 public:
  enum class Kind : uint8_t {
    kRoot,  // an unknown size, >= 0
    kAdd,
    kSub,
    kMul,
    kFloorDiv,
    kCeilDiv,
    kMax,
    kMin,
    kMod,        // division and remainder round towards minus infinity
    kBroadcast,  // lhs == 1 ? rhs : lhs
    kElement,    // an unknown element of an integer tensor, of any sign
    kNegative,   // the number -lhs
  };
  struct Entry {
    Kind kind = Kind::kRoot;
    Dim lhs, rhs;              // operands of an expression
    std::string name;          // of a root, for people: "batch", "input_tensor.1"
    bool nonnegative = true;   // proven
    bool has_element = false;  // depends on the data of a tensor, not only on sizes
    uint8_t depth = 0;         // of the expression
  };

  Dim make_root(std::string name);
  Dim make_element(std::string name);
  // The root (or element) made under this name by an earlier call of this function, else a new one: inference that runs
  // again gets its symbols back.
  Dim named(const std::string& name, bool element);
  Dim add(Dim a, Dim b) { return binary(Kind::kAdd, a, b); }
  Dim sub(Dim a, Dim b) { return binary(Kind::kSub, a, b); }
  Dim mul(Dim a, Dim b) { return binary(Kind::kMul, a, b); }
  Dim floor_div(Dim a, Dim b) { return binary(Kind::kFloorDiv, a, b); }  // b == 0 gives a fresh root
  Dim ceil_div(Dim a, Dim b) { return binary(Kind::kCeilDiv, a, b); }
  Dim max(Dim a, Dim b) { return binary(Kind::kMax, a, b); }
  Dim min(Dim a, Dim b) { return binary(Kind::kMin, a, b); }
  Dim mod(Dim a, Dim b) { return binary(Kind::kMod, a, b); }
  Dim broadcast(Dim a, Dim b) { return binary(Kind::kBroadcast, a, b); }
  // Folds constants and identities (x+0, x*1, x-x, (a*b)/b, ...), orders commutative operands, then interns.
  Dim binary(Kind kind, Dim a, Dim b);

  Dim number(int64_t value);                     // of any sign
  std::optional<int64_t> constant(Dim d) const;  // the number d is, nullopt for a true unknown
  bool is_nonnegative(Dim d) const { return d.is_known() || entry(d).nonnegative; }
  void mark_nonnegative(Dim d);  // d is the size of something, so it is >= 0 in every run
  bool has_element(Dim d) const { return !d.is_known() && entry(d).has_element; }

  const Entry& entry(Dim symbol) const { return entries_[symbol.symbol_id()]; }
  size_t size() const { return entries_.size(); }
  // Appends an entry of a serialized table as it stands; an error when its operands are not earlier entries.
  Status append(Entry entry);
  // Every entry of `other` rebuilt in this table, in id order; bound[i] (if it has one) stands for root i.
  std::vector<Dim> substitute(const SymbolTable& other, const std::vector<std::optional<Dim>>& bound);
  std::string to_string(Dim d) const;
  std::string to_string(const Shape& shape) const;  // "[batch,224,224,3]", "<unknown>"

 private:
  struct Key {
    Kind kind;
    Dim lhs, rhs;
    bool operator==(const Key&) const = default;
  };
  struct KeyHash {
    size_t operator()(const Key& key) const {
      const auto mix = [](uint64_t h) { return (h ^ (h >> 29)) * 0xbf58476d1ce4e5b9u; };
      return mix(mix(static_cast<uint64_t>(key.lhs.value()) * 31 + static_cast<uint64_t>(key.kind)) +
                 static_cast<uint64_t>(key.rhs.value()));
    }
  };
  friend class SymbolAlgebra;
  Dim intern(Kind kind, Dim a, Dim b);

  std::vector<Entry> entries_;
  std::unordered_map<Key, int32_t, KeyHash> interned_;
  std::unordered_map<std::string, int32_t> named_;
};

// A constant: dense row-major data that somebody (a mapped file, a folded buffer) keeps alive.
struct Tensor {
  DType dtype = DType::kInvalid;
  Dims dims;
  const std::byte* data = nullptr;  // may be unaligned when it points into a file; see aligned()
  size_t bytes = 0;
  std::shared_ptr<const void> owner;

  int64_t element_count() const;
  template <class T>
  std::span<const T> as() const {
    return {reinterpret_cast<const T*>(data), bytes / sizeof(T)};
  }
};
using TensorPtr = std::shared_ptr<const Tensor>;

// Allocates (64-byte aligned) and fills by `fill(void*)`-style use of the returned pointer; error when memory is short.
struct NewTensor {
  std::shared_ptr<Tensor> tensor;
  std::byte* data;
};
Result<NewTensor> allocate_tensor(DType dtype, Dims dims);
// The same tensor with data aligned to 64 bytes (itself when it is already).
Result<TensorPtr> aligned(const TensorPtr& tensor);
template <class T>
TensorPtr make_tensor(DType dtype, Dims dims, std::span<const T> values);  // defined for the C++ type of `dtype`
TensorPtr make_scalar_i64(int64_t value);
// Elements of an integer constant as int64_t; nullopt for other dtypes.
std::optional<std::vector<int64_t>> integer_values(const Tensor& tensor);

template <class T>
TensorPtr make_tensor(DType dtype, Dims dims, std::span<const T> values) {
  auto made = allocate_tensor(dtype, std::move(dims));
  if (!made.ok()) return nullptr;
  auto* out = reinterpret_cast<T*>(made->data);
  for (size_t i = 0; i < values.size(); ++i) out[i] = values[i];
  return made->tensor;
}

}  // namespace blade::ir
