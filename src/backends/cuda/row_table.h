// Tables of rows of CUDA kernels that are compiled in several variants. A row's functions carry no state: which variant
// it is stands in their type. Needs no CUDA, so that tests without a card see it.
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "backends/kernel.h"

namespace blade::backends::cuda {

// Rows for Conv and MatMul alike, for sums of two convolutions, for products whose float32 cast alone is read, and for
// those whose columns are several tensors. Row:
// supports, predicted_us and create, and for the others as named below.
struct ProductRows {
  std::deque<std::string> names;  // what the rows point to
  std::vector<KernelEntry> rows, sum_rows, cast_rows, split_rows;

  template <class Row>
  void add_conv_row(const std::string& label) {
    names.push_back("cuda.conv." + label);
    rows.push_back({names.back().c_str(), ir::Op::kConv, Row::supports, Row::predicted_us, Row::create});
  }
  template <class Row>
  void add_rows(const std::string& label) {
    add_conv_row<Row>(label);
    names.push_back("cuda.matmul." + label);
    rows.push_back({names.back().c_str(), ir::Op::kMatMul, Row::supports, Row::predicted_us, Row::create});
  }
  template <class Row>
  void add_sum_row(const std::string& label) {
    names.push_back("cuda.conv_sum." + label);
    sum_rows.push_back({names.back().c_str(), ir::Op::kConv, Row::supports_sum, Row::predicted_us, Row::create});
  }
  template <class Row>
  void add_cast_row(const std::string& label) {
    names.push_back("cuda.product_cast." + label);
    cast_rows.push_back(
        {names.back().c_str(), ir::Op::kCast, Row::supports_cast, Row::predicted_cast_us, Row::create_cast});
  }
  template <class Row>
  void add_split_row(const std::string& label) {
    names.push_back("cuda.product_split." + label);
    split_rows.push_back(
        {names.back().c_str(), ir::Op::kSplit, Row::supports_split, Row::predicted_split_us, Row::create_split});
  }
};

// How many variants a function that lists them gives: its span says so in its type.
template <class List>
inline constexpr int kCountOf = static_cast<int>(decltype(std::declval<List>()())::extent);

// One variant of a family. Family: variants(), label(variant), supports(request, variant), predict_us(request, variant)
// and create(request, packs, variant); where kTakesProducts also whether a request is_sum() or is_split(), and for the
// latter the number of parts as the last argument of create().
template <class Family, int kNumber>
struct FamilyRow {
  static const auto& variant() { return Family::variants()[kNumber]; }
  static Support supports(const KernelRequest& request) { return Family::supports(request, variant()); }
  static double predicted_us(const KernelRequest& request) { return Family::predict_us(request, variant()); }
  static Result<std::unique_ptr<Kernel>> create(const KernelRequest& request, PackCache& packs) {
    return Family::create(request, packs, variant());
  }
  static Support supports_sum(const KernelRequest& request) {
    if (Support s = Family::is_sum(request); !s.ok) return s;
    return supports(request);
  }
  static Support supports_split(const KernelRequest& request) {
    if (Support s = Family::is_split(request); !s.ok) return s;
    return supports(*request.producer);
  }
  static double predicted_split_us(const KernelRequest& request) { return predicted_us(*request.producer); }
  static Result<std::unique_ptr<Kernel>> create_split(const KernelRequest& request, PackCache& packs) {
    return Family::create(*request.producer, packs, variant(), static_cast<int64_t>(request.outputs.size()));
  }
};

// A row, or one of each form, for every variant of a family.
template <class Family>
class RowTable : public ProductRows {
 public:
  // The only one: names stay where rows point.
  static const RowTable& get() {
    static const RowTable table;
    return table;
  }

 private:
  static constexpr int kCount = kCountOf<decltype(Family::variants)>;
  static_assert(kCount >= 0, "variants() has to say in its type how many there are");

  RowTable() { add_all(std::make_integer_sequence<int, kCount>{}); }
  template <int... kNumbers>
  void add_all(std::integer_sequence<int, kNumbers...> /*unused*/) {
    (add<FamilyRow<Family, kNumbers>>(), ...);
  }
  template <class Row>
  void add() {
    const std::string label = Family::label(Row::variant());
    if constexpr (Family::kTakesProducts) {
      add_rows<Row>(label);
      add_sum_row<Row>(label);
      add_split_row<Row>(label);
    } else {
      add_conv_row<Row>(label);
    }
  }
};

inline std::string tile_label(const std::string& kind, int rows, int columns, int warps_k, int split_log2) {
  return kind + "_" + std::to_string(rows) + "x" + std::to_string(columns) + "k" + std::to_string(warps_k) +
         (split_log2 > 0 ? "_split" + std::to_string(1 << split_log2) : "");
}

}  // namespace blade::backends::cuda
