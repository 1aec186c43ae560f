// The names of attribute enums, and const visiting: what printing and serialization of attributes share.
#pragma once

#include <span>

#include "ir/ops/attrs.h"

namespace blade::ir {

template <class E>
struct EnumNames;  // value: one name an enumerator, in order

template <>
struct EnumNames<Padding> {
  static constexpr const char* value[] = {"valid", "same", "explicit"};
};
template <>
struct EnumNames<PoolKind> {
  static constexpr const char* value[] = {"max", "average"};
};
template <>
struct EnumNames<ReduceKind> {
  static constexpr const char* value[] = {"sum", "mean", "prod", "max", "min", "all", "any"};
};
template <>
struct EnumNames<IdentityKind> {
  static constexpr const char* value[] = {"plain", "check_numerics", "stop_gradient", "snapshot",
                                          "placeholder_with_default"};
};
template <>
struct EnumNames<FftKind> {
  static constexpr const char* value[] = {"forward", "inverse", "real", "real_inverse"};
};
template <>
struct EnumNames<PadMode> {
  static constexpr const char* value[] = {"constant", "reflect", "symmetric"};
};
template <>
struct EnumNames<ShapeOfKind> {
  static constexpr const char* value[] = {"shape", "size", "rank"};
};
template <>
struct EnumNames<ResizeKind> {
  static constexpr const char* value[] = {"nearest", "bilinear", "bicubic", "area"};
};
template <>
struct EnumNames<SampleKind> {
  static constexpr const char* value[] = {"lanczos1", "lanczos3", "lanczos5",  "gaussian",
                                          "box",      "triangle", "keyscubic", "mitchellcubic"};
};

template <>
struct EnumNames<CumulativeKind> {
  static constexpr const char* value[] = {"sum", "prod", "log_sum_exp"};
};
template <>
struct EnumNames<ScatterKind> {
  static constexpr const char* value[] = {"update", "add", "sub", "max", "min"};
};

template <>
struct EnumNames<RecurrentCell> {
  static constexpr const char* value[] = {"plain", "lstm", "gru", "gru_reset_first"};
};

// Calls v(name, field) for each field; `v` must not change the fields.
template <class V>
void visit_attrs(const Attrs& attrs, V& v) {
  std::visit([&](const auto& a) { const_cast<std::remove_cvref_t<decltype(a)>&>(a).visit(v); }, attrs);
}
template <class V>
void visit_attrs(Attrs& attrs, V& v) {
  std::visit([&](auto& a) { a.visit(v); }, attrs);
}

// "strides=[1,1] padding=same groups=1", without the fields that hold their defaults where that is the empty value.
std::string to_string(const Attrs& attrs);

}  // namespace blade::ir
