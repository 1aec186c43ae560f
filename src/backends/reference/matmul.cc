// Batched matrix product and Einsum by definition.
#include <algorithm>
#include <map>

#include "backends/reference/common.h"

namespace blade::backends::reference {
namespace {

template <class W>
Status run_matmul_as(const Call& call) {
  const auto& attrs = call.node.get<ir::MatMulAttrs>();
  const Array<W> a = read<W>(call, 0), b = read<W>(call, 1);
  Array<W> y = make_array<W>(call.out_dims());
  const size_t rank = y.dims.size();
  const ir::Dims a_strides = broadcast_strides(a.dims, y.dims), b_strides = broadcast_strides(b.dims, y.dims);
  const ir::Dims a_own = row_major_strides(a.dims), b_own = row_major_strides(b.dims);
  const size_t a_rank = a.dims.size(), b_rank = b.dims.size();
  const int64_t depth = a.dims[a_rank - (attrs.transpose_a ? 2 : 1)];
  const int64_t a_row = a_own[a_rank - (attrs.transpose_a ? 1 : 2)], a_k = a_own[a_rank - (attrs.transpose_a ? 2 : 1)];
  const int64_t b_col = b_own[b_rank - (attrs.transpose_b ? 2 : 1)], b_k = b_own[b_rank - (attrs.transpose_b ? 1 : 2)];
  for_each_index(y.dims, [&](int64_t offset, const ir::Dims& index) {
    ir::Dims batch = index;
    batch[rank - 2] = batch[rank - 1] = 0;
    const int64_t a_at = offset_of(batch, a_strides) + index[rank - 2] * a_row;
    const int64_t b_at = offset_of(batch, b_strides) + index[rank - 1] * b_col;
    W sum = 0;
    for (int64_t k = 0; k < depth; ++k) sum += a[a_at + k * a_k] * b[b_at + k * b_k];
    y[offset] = sum;
  });
  BLADE_RETURN_IF_ERROR(apply_epilogue(call, attrs.epilogue, 2, y));
  write(call, 0, y);
  return Status::ok_status();
}

// A subscript becomes one number a dim: letters are themselves, ellipsis dims are 256 + their distance from the last.
struct Equation {
  std::vector<std::vector<int>> inputs;
  std::vector<int> output;
};

std::vector<int> parse_subscript(const std::string& text, int rank) {
  const int letters = static_cast<int>(std::count_if(text.begin(), text.end(), [](char c) { return c != '.'; }));
  std::vector<int> labels;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '.') {
      labels.push_back(static_cast<unsigned char>(text[i]));
    } else if (text.compare(i, 3, "...") == 0) {
      for (int k = rank - letters; k-- > 0;) labels.push_back(256 + k);
      i += 2;
    }
  }
  return labels;
}

Result<Equation> parse_equation(const Call& call) {
  std::string text = call.node.get<ir::EinsumAttrs>().equation;
  std::erase(text, ' ');
  const size_t arrow = text.find("->");
  const std::string left = text.substr(0, arrow);
  Equation equation;
  size_t begin = 0;
  for (int i = 0; i < call.num_inputs(); ++i) {
    const size_t comma = std::min(left.find(',', begin), left.size());
    const auto rank = static_cast<int>(call.in_dims(i).size());
    equation.inputs.push_back(parse_subscript(left.substr(std::min(begin, left.size()), comma - begin), rank));
    if (static_cast<int>(equation.inputs.back().size()) != rank) {
      return invalid_argument(call.where() + "equation '" + text + "' does not fit the rank of operand " +
                              std::to_string(i) + ", which is " + std::to_string(rank) + ".");
    }
    begin = comma + 1;
  }
  const auto out_rank = static_cast<int>(call.out_dims().size());
  if (arrow != std::string::npos) equation.output = parse_subscript(text.substr(arrow + 2), out_rank);
  if (arrow == std::string::npos || static_cast<int>(equation.output.size()) != out_rank) {
    return invalid_argument(call.where() + "equation '" + text + "' must name each dim of the output after '->'.");
  }
  return equation;
}

template <class W>
Status run_einsum_as(const Call& call) {
  BLADE_ASSIGN_OR_RETURN(const Equation equation, parse_equation(call));
  std::vector<Array<W>> operands;
  std::map<int, int64_t> sizes;
  for (int i = 0; i < call.num_inputs(); ++i) {
    operands.push_back(read<W>(call, i));
    for (size_t d = 0; d < equation.inputs[i].size(); ++d) {
      int64_t& size = sizes.try_emplace(equation.inputs[i][d], 1).first->second;
      if (operands[i].dims[d] != 1) size = operands[i].dims[d];
    }
  }
  // Loop over output dims first, then over summed labels.
  std::vector<int> labels = equation.output;
  for (const auto& [label, size] : sizes) {
    if (std::find(labels.begin(), labels.end(), label) == labels.end()) labels.push_back(label);
  }
  ir::Dims space;
  for (int label : labels) space.push_back(sizes.count(label) != 0 ? sizes[label] : 1);
  std::vector<ir::Dims> strides;
  auto strides_for = [&](const std::vector<int>& own, const ir::Dims& dims) {
    const ir::Dims dense = row_major_strides(dims);
    ir::Dims result(labels.size(), 0);
    for (size_t d = 0; d < own.size(); ++d) {
      const size_t at = static_cast<size_t>(std::find(labels.begin(), labels.end(), own[d]) - labels.begin());
      if (dims[d] != 1) result[at] += dense[d];  // a repeated label walks the diagonal
    }
    return result;
  };
  for (size_t i = 0; i < operands.size(); ++i) strides.push_back(strides_for(equation.inputs[i], operands[i].dims));
  Array<W> y = make_array<W>(call.out_dims());
  const ir::Dims y_strides = strides_for(equation.output, y.dims);
  for_each_index(space, [&](int64_t, const ir::Dims& index) {
    W product = 1;
    for (size_t i = 0; i < operands.size(); ++i) product *= operands[i][offset_of(index, strides[i])];
    y[offset_of(index, y_strides)] += product;
  });
  write(call, 0, y);
  return Status::ok_status();
}

}  // namespace

Status run_matmul(const Call& call) {
  return with_wide(call.in_dtype(0), [&]<class W>(W) { return run_matmul_as<W>(call); });
}

Status run_einsum(const Call& call) {
  return with_wide(call.in_dtype(0), [&]<class W>(W) { return run_einsum_as<W>(call); });
}

}  // namespace blade::backends::reference
