// The table of ops as JSON text: what `blade inspect --ops` and docs/ops.md are made from.
#include "frontends/tensorflow/op_table.h"

#include <nlohmann/json.hpp>

#include "backends/kernel.h"
#include "optimizer/describe.h"

namespace blade::optimizer {
namespace {

using json = nlohmann::ordered_json;

// The types that the attribute T may be; empty where the op has no such attribute, or it is of complex numbers.
json types_of(const tensorflow::OpSpec& spec) {
  json types = json::array();
  if (spec.signature.find("complex64") != std::string::npos) return types;
  if (spec.signature.find(":T") == std::string::npos && spec.signature.find("*T") == std::string::npos) return types;
  for (int i = 1; i < static_cast<int>(ir::DType::kOpaque); ++i) {
    if ((spec.dtypes >> i & 1u) != 0) types.push_back(ir::dtype_name(static_cast<ir::DType>(i)));
  }
  return types;
}

}  // namespace

std::string op_table() {
  json ops = json::array(), kernels = json::array();
  for (const tensorflow::OpSpec& spec : tensorflow::all_ops()) {
    if (spec.name.starts_with("Blade")) continue;
    const bool covered = spec.lower != nullptr;
    ops.push_back({{"op", spec.name},
                   {"covered", covered},
                   {"types", covered ? types_of(spec) : json::array()},
                   {"reason", spec.reason}});
  }
  for (int i = 0; i < ir::kNumOps; ++i) {
    const auto op = static_cast<ir::Op>(i);
    json rows = json::array();
    for (const auto table : {backends::cpu_kernels(), backends::reference_kernels()}) {
      for (const backends::KernelEntry& entry : table) {
        if (entry.op == op) rows.push_back(entry.name);
      }
    }
    if (!rows.empty()) kernels.push_back({{"op", ir::op_name(op)}, {"rows", rows}});
  }
  return json{{"ops", ops}, {"kernels", kernels}}.dump();
}

}  // namespace blade::optimizer
