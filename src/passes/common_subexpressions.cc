// CommonSubexpressions: nodes that compute the same from the same become one, and equal small constants are stored
// once.
#include <algorithm>
#include <cstring>
#include <string>
#include <unordered_map>

#include "passes/passes_internal.h"
#include "passes/rewriter.h"

namespace blade::passes {
namespace {

using ir::Node;
using ir::NodeId;
using ir::ValueId;

constexpr size_t kComparedBytes = size_t{64} << 10;  // larger constants are one only if they share their memory

class Merger {
 public:
  explicit Merger(Rewriter rewriter) : rewriter_(std::move(rewriter)) {}

  PassResult run() {
    merge_constants();
    for (NodeId id : rewriter_.order()) {
      if (rewriter_.is_dead(id) || rewriter_.graph().node(id).op == ir::Op::kForeign) continue;
      merge(rewriter_.graph().node(id));
    }
    rewriter_.finish();
    return std::move(result_);
  }

 private:
  void merge_constants() {
    std::unordered_multimap<size_t, ValueId> seen;
    for (ValueId v = 0; v < rewriter_.graph().num_values(); ++v) {
      const ir::Value& value = rewriter_.graph().value(v);
      if (!value.is_constant() || rewriter_.uses(v) == 0) continue;
      const size_t key = hash(*value.constant);
      const auto [begin, end] = seen.equal_range(key);
      const auto same = std::find_if(begin, end, [&](const auto& entry) {
        return equal(*rewriter_.graph().value(entry.second).constant, *value.constant);
      });
      if (same == end) {
        seen.emplace(key, v);
      } else if (rewriter_.replace(v, same->second)) {
        ++result_.changes;
      }
    }
  }

  static size_t hash(const ir::Tensor& tensor) {
    size_t key = static_cast<size_t>(tensor.dtype) * 31 + tensor.bytes;
    if (tensor.bytes > kComparedBytes) return key * 31 + std::hash<const void*>()(tensor.data);
    return key * 31 + std::hash<std::string_view>()({reinterpret_cast<const char*>(tensor.data), tensor.bytes});
  }

  static bool equal(const ir::Tensor& a, const ir::Tensor& b) {
    if (a.dtype != b.dtype || a.dims != b.dims || a.bytes != b.bytes || a.dtype == ir::DType::kOpaque) return false;
    if (a.data == b.data || a.bytes == 0) return true;
    return a.bytes <= kComparedBytes && std::memcmp(a.data, b.data, a.bytes) == 0;
  }

  void merge(Node& node) {
    if (!node.control_inputs.empty()) return;
    size_t key = static_cast<size_t>(node.op) * 1000003 + node.outputs.size();
    for (ValueId input : node.inputs) key = key * 31 + static_cast<size_t>(input);
    const auto [begin, end] = seen_.equal_range(key);
    for (auto it = begin; it != end; ++it) {
      const Node& other = rewriter_.graph().node(it->second);
      if (rewriter_.is_dead(other.id) || other.op != node.op || other.inputs != node.inputs ||
          other.outputs.size() != node.outputs.size() || !(other.attrs == node.attrs)) {
        continue;
      }
      if (replace_all(node, other)) return;
    }
    seen_.emplace(key, node.id);
  }

  bool replace_all(Node& node, const Node& other) {
    for (size_t i = 0; i < node.outputs.size(); ++i) {
      if (rewriter_.is_output(node.outputs[i]) && rewriter_.is_output(other.outputs[i])) return false;
    }
    for (size_t i = 0; i < node.outputs.size(); ++i) rewriter_.replace(node.outputs[i], other.outputs[i]);
    ++result_.changes;
    return true;
  }

  Rewriter rewriter_;
  std::unordered_multimap<size_t, NodeId> seen_;
  PassResult result_;
};

}  // namespace

Result<PassResult> common_subexpressions(ir::Graph& graph, const PassOptions&) {
  BLADE_ASSIGN_OR_RETURN(Rewriter rewriter, Rewriter::create(graph));
  return Merger(std::move(rewriter)).run();
}

}  // namespace blade::passes
