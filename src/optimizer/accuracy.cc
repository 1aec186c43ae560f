// Compares outputs element by element in double.
#include "optimizer/accuracy.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>

#include "base/half.h"
#include "ir/plain_text.h"
#include "optimizer/string_tensor.h"

namespace blade::optimizer {
namespace {

template <class T>
std::vector<double> widened(const ir::Tensor& tensor) {
  std::vector<double> values;
  values.reserve(tensor.as<T>().size());
  for (size_t i = 0; i < tensor.bytes / sizeof(T); ++i) {
    T value;
    std::memcpy(&value, tensor.data + i * sizeof(T), sizeof(T));
    values.push_back(static_cast<double>(value));
  }
  return values;
}

std::vector<double> to_doubles(const ir::Tensor& tensor) {
  switch (tensor.dtype) {
    case ir::DType::kFloat32:
      return widened<float>(tensor);
    case ir::DType::kFloat64:
      return widened<double>(tensor);
    case ir::DType::kInt8:
      return widened<int8_t>(tensor);
    case ir::DType::kInt16:
      return widened<int16_t>(tensor);
    case ir::DType::kInt32:
      return widened<int32_t>(tensor);
    case ir::DType::kInt64:
      return widened<int64_t>(tensor);
    case ir::DType::kUInt8:
      return widened<uint8_t>(tensor);
    case ir::DType::kUInt16:
      return widened<uint16_t>(tensor);
    case ir::DType::kUInt32:
      return widened<uint32_t>(tensor);
    case ir::DType::kUInt64:
      return widened<uint64_t>(tensor);
    case ir::DType::kBool:
      return widened<uint8_t>(tensor);
    case ir::DType::kFloat16:
    case ir::DType::kBFloat16: {
      std::vector<double> values;
      for (const uint16_t bits : widened<uint16_t>(tensor)) {
        values.push_back(tensor.dtype == ir::DType::kFloat16 ? float16_to_float(bits) : bfloat16_to_float(bits));
      }
      return values;
    }
    default:
      return {};
  }
}

std::string number(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.3g", value);
  return text;
}

// Fills max_difference and max_expected; false when one is not finite where the other is, or not the same way.
bool measure_difference(const std::vector<double>& expected, const std::vector<double>& got, OutputDifference& result) {
  for (size_t i = 0; i < expected.size(); ++i) {
    if (std::isfinite(expected[i]) && std::isfinite(got[i])) {
      ++result.compared;
      result.max_expected = std::max(result.max_expected, std::fabs(expected[i]));
      result.max_difference = std::max(result.max_difference, std::fabs(expected[i] - got[i]));
    } else if (!(std::isnan(expected[i]) && std::isnan(got[i])) && expected[i] != got[i]) {
      result.message = "element " + std::to_string(i) + " is " + number(got[i]) + ", expected " + number(expected[i]);
      return false;
    }
  }
  return true;
}

int64_t unequal_strings(const ir::Tensor& expected, const ir::Tensor& got) {
  const std::vector<std::string_view> a = unpack_strings(expected), b = unpack_strings(got);
  int64_t unequal = 0;
  for (size_t i = 0; i < a.size(); ++i) unequal += a[i] == b[i] ? 0 : 1;
  return unequal;
}

// Of strings, and of integers, some of which double cannot tell apart.
int64_t unequal_elements(const ir::Tensor& expected, const ir::Tensor& got) {
  if (expected.dtype == ir::DType::kOpaque) return unequal_strings(expected, got);
  const size_t size = ir::dtype_size(expected.dtype);
  int64_t unequal = 0;
  for (size_t at = 0; at < expected.bytes; at += size) {
    const auto* a = static_cast<const std::byte*>(expected.data) + at;
    const auto* b = static_cast<const std::byte*>(got.data) + at;
    if (std::memcmp(a, b, size) != 0) ++unequal;
  }
  return unequal;
}

// Whether so few elements differ, and by so little, that rounding alone may be the reason.
bool holds_but_for_few(const OutputDifference& result, const Rounding& rounding) {
  return result.unequal > 0 && result.max_difference <= rounding.difference &&
         static_cast<double>(result.unequal) <= rounding.share * static_cast<double>(result.compared);
}

OutputDifference compare_output(const std::string& name, const ir::Tensor& expected, const ir::Tensor& got,
                                const AccuracyOptions& options) {
  OutputDifference result;
  result.output = name;
  result.holds = false;
  if (expected.dtype != got.dtype) {
    result.message = std::string("dtype ") + ir::dtype_name(got.dtype) + ", expected " + ir::dtype_name(expected.dtype);
    return result;
  }
  if (expected.dims != got.dims) {
    result.message = "shape " + ir::plain_text(got.dims) + ", expected " + ir::plain_text(expected.dims);
    return result;
  }
  if (expected.dtype == ir::DType::kOpaque) result.compared = expected.element_count();
  if (!measure_difference(to_doubles(expected), to_doubles(got), result)) return result;
  if (ir::is_floating(expected.dtype)) {
    result.allowed = options.atol + (options.metric == "max_relative" ? options.rtol * result.max_expected : 0);
  }
  if (!ir::is_floating(expected.dtype)) result.unequal = unequal_elements(expected, got);
  const auto rounding = options.roundings.find(name);
  const bool exact = options.rtol == 0 && options.atol == 0;
  if (!exact && rounding != options.roundings.end() && holds_but_for_few(result, rounding->second)) {
    result.allowed = rounding->second.difference;
    result.holds = true;
    result.message = std::to_string(result.unequal) + " of " + std::to_string(result.compared) +
                     " elements differ, by at most " + number(result.max_difference) +
                     ", as rounding of the floats that decide them may";
    return result;
  }
  result.holds = result.max_difference <= result.allowed;
  if (result.holds && result.unequal > 0) {  // strings, or integers too large for double to tell apart
    result.holds = false;
    result.max_difference = std::max(result.max_difference, 1.0);
  }
  if (!result.holds) {
    result.message = expected.dtype == ir::DType::kOpaque ? "its strings are not equal"
                                                          : "largest difference " + number(result.max_difference) +
                                                                ", allowed " + number(result.allowed);
  }
  return result;
}

}  // namespace

std::string AccuracyResult::message() const {
  for (const OutputDifference& output : outputs) {
    if (!output.holds) return "output '" + output.output + "': " + output.message;
  }
  return "";
}

std::string AccuracyResult::nothing_compared() const {
  std::string text;
  for (const OutputDifference& output : outputs) {
    if (output.compared > 0 || !output.holds) continue;
    text += (text.empty() ? "output '" : "; output '") + output.output + "' has no finite element";
  }
  return text;
}

AccuracyResult does_not_hold(const std::string& output, std::string why) {
  AccuracyResult result;
  result.holds = false;
  result.outputs.emplace_back();
  result.outputs[0].output = output;
  result.outputs[0].holds = false;
  result.outputs[0].message = std::move(why);
  return result;
}

AccuracyResult check_accuracy(const std::vector<std::string>& names, const std::vector<ir::TensorPtr>& expected,
                              const std::vector<ir::TensorPtr>& got, const AccuracyOptions& options) {
  AccuracyResult result;
  for (size_t i = 0; i < names.size(); ++i) {
    result.outputs.push_back(compare_output(names[i], *expected[i], *got[i], options));
    result.holds = result.holds && result.outputs.back().holds;
  }
  return result;
}

}  // namespace blade::optimizer
