// The table of all ops, made from ops/ops.inc.
#include "ir/op.h"

#include <string_view>
#include <unordered_map>

#include "ir/ops/infer_functions.h"

namespace blade::ir {
namespace {

constexpr OpInfo kOps[] = {
#define BLADE_OP(name, attrs, infer) {#name, [] { return Attrs(attrs{}); }, infer},
#include "ir/ops/ops.inc"
#undef BLADE_OP
};
static_assert(std::size(kOps) == kNumOps);

}  // namespace

const OpInfo& op_info(Op op) {
  const auto i = static_cast<size_t>(op);
  return kOps[i < std::size(kOps) ? i : static_cast<size_t>(Op::kForeign)];
}

const char* op_name(Op op) { return op_info(op).name; }

std::optional<Op> op_from_name(std::string_view name) {
  static const auto* const kByName = [] {
    auto* map = new std::unordered_map<std::string_view, Op>();
    for (int i = 0; i < kNumOps; ++i) map->emplace(kOps[i].name, static_cast<Op>(i));
    return map;
  }();
  const auto it = kByName->find(name);
  return it == kByName->end() ? std::nullopt : std::optional(it->second);
}

}  // namespace blade::ir
