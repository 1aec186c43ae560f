// Windows of rows, composed where nodes share a step, and requests with fewer rows.
#include "engine/strip_rows.h"

#include <algorithm>
#include <numeric>

#include "backends/reference/common.h"
#include "base/checked_math.h"
#include "ir/text.h"

namespace blade::engine {
namespace {

using backends::KernelRequest;
using backends::TensorDesc;

bool is_image(const TensorDesc& desc) { return desc.dims.size() == 4 && desc.is_static() && desc.element_count() > 0; }

constexpr RowWindow kAllRows = {1, 1, 0, 1, /*all=*/true};

// An operand of elementwise work.
std::optional<RowWindow> operand_window(const TensorDesc& desc, const TensorDesc& out) {
  const ir::Dims &dims = desc.dims, &rows = out.dims;
  if (dims.size() < 3 || (dims.size() == 3 && dims[0] == 1)) return kAllRows;
  if (dims.size() != 4) return std::nullopt;
  if (dims[1] == 1 && rows[1] != 1) return kAllRows;
  if (dims[0] != rows[0] || dims[1] != rows[1]) return std::nullopt;
  return RowWindow{};
}

RowWindow sliding(const KernelRequest& request, const ir::Dims& taps, const std::vector<int64_t>& strides,
                  const std::vector<int64_t>& dilations, ir::Padding padding, const std::vector<int64_t>& pads) {
  const auto windows = backends::reference::make_windows(request.inputs[0].dims, request.outputs[0].dims, taps, strides,
                                                         dilations, padding, pads);
  const auto& rows = windows.dim[1];
  return {rows.stride, (rows.size - 1) * rows.dilation + 1, rows.pad_before, 1, false};
}

std::optional<RowWindow> first_window(const KernelRequest& request) {
  const ir::Node& node = *request.node;
  switch (node.op) {
    case ir::Op::kConv: {
      const auto& a = node.get<ir::ConvAttrs>();
      if (a.strides.size() != 2 || request.constants[1] == nullptr) return std::nullopt;
      return sliding(request, request.inputs[1].dims, a.strides, a.dilations, a.padding, a.explicit_pads);
    }
    case ir::Op::kPool: {
      const auto& a = node.get<ir::PoolAttrs>();
      if (a.strides.size() != 2) return std::nullopt;
      return sliding(request, a.window, a.strides, {}, a.padding, a.explicit_pads);
    }
    case ir::Op::kConvTranspose: {
      const auto& a = node.get<ir::ConvTransposeAttrs>();
      const bool apart = a.strides.size() == 2 && a.strides[0] == request.inputs[1].dims[0] &&
                         a.padding != ir::Padding::kExplicit &&
                         request.outputs[0].dims[1] == request.inputs[0].dims[1] * a.strides[0];
      if (!apart || request.constants[1] == nullptr) return std::nullopt;
      return RowWindow{1, 1, 0, a.strides[0], false};
    }
    case ir::Op::kDepthToSpace:
      return RowWindow{1, 1, 0, node.get<ir::BlockAttrs>().block, false};
    case ir::Op::kSpaceToDepth: {
      const int64_t block = node.get<ir::BlockAttrs>().block;
      return RowWindow{block, block, 0, 1, false};
    }
    case ir::Op::kConcat:
      if (node.get<ir::AxisAttrs>().axis != 3) return std::nullopt;
      return RowWindow{};
    case ir::Op::kCast:
      return RowWindow{};
    case ir::Op::kPointwise:
      return operand_window(request.inputs[0], request.outputs[0]);
    default:
      return std::nullopt;
  }
}

// One an input.
std::optional<std::vector<RowWindow>> own_windows(const KernelRequest& request) {
  if (request.outputs.size() != 1 || !is_image(request.outputs[0])) return std::nullopt;
  const auto first = first_window(request);
  if (!first || (!first->all && !is_image(request.inputs[0]))) return std::nullopt;
  std::vector<RowWindow> windows = {*first};
  const ir::Op op = request.node->op;
  const size_t weights = op == ir::Op::kConv ? 1 : op == ir::Op::kConvTranspose ? 2 : 0;
  for (size_t i = 1; i < request.inputs.size(); ++i) {
    const auto window = i <= weights ? std::optional(kAllRows) : operand_window(request.inputs[i], request.outputs[0]);
    if (!window) return std::nullopt;
    windows.push_back(*window);
  }
  // Constants are those of all strips: no rows of them, and nothing that differs from image to image.
  for (size_t i = 0; i < windows.size(); ++i) {
    const ir::Dims& dims = request.inputs[i].dims;
    const bool is_weight = i > 0 && i <= weights, of_images = !is_weight && dims.size() == 4 && dims[0] != 1;
    if (request.constants[i] != nullptr && (!windows[i].all || of_images)) return std::nullopt;
  }
  return windows;
}

// What the result reads of the operand `inner` through a value between.
std::optional<RowWindow> composed(const RowWindow& outer, const RowWindow& inner) {
  if (inner.all) return inner;
  if (outer.all || outer.up != 1 || inner.up != 1) return std::nullopt;
  return RowWindow{outer.stride * inner.stride, (outer.reach - 1) * inner.stride + inner.reach,
                   outer.pad * inner.stride + inner.pad, 1, false};
}

// In the order of the step's inputs: the producer's, then the node's own without the value between them.
template <class T>
void join_inputs(std::vector<T>& producers, const std::vector<T>& own, size_t between) {
  for (size_t i = 0; i < own.size(); ++i) {
    if (i != between) producers.push_back(own[i]);
  }
}

RowRange within(RowRange range, int64_t rows) {
  range.begin = std::clamp<int64_t>(range.begin, 0, rows);
  return {range.begin, std::clamp(range.end, range.begin, rows)};
}

// Padding of a window over a part of the rows.
template <class Attrs>
void pad_part(Attrs& attrs, const KernelRequest& whole, const RowWindow& window, RowRange out, const ir::Dims& taps,
              const std::vector<int64_t>& dilations) {
  const auto windows = backends::reference::make_windows(whole.inputs[0].dims, whole.outputs[0].dims, taps,
                                                         attrs.strides, dilations, attrs.padding, attrs.explicit_pads);
  const auto& columns = windows.dim[2];
  const RowRange read = window.rows(out);
  const int64_t right =
      (columns.out - 1) * columns.stride + (columns.size - 1) * columns.dilation + 1 - columns.pad_before - columns.in;
  attrs.padding = ir::Padding::kExplicit;
  attrs.explicit_pads = {std::max<int64_t>(0, -read.begin), std::max<int64_t>(0, read.end - whole.inputs[0].dims[1]),
                         columns.pad_before, std::max<int64_t>(0, right)};
}

// The node alone for some rows of its result; `reads` gets the rows of its operands.
KernelRequest part_of_node(const KernelRequest& whole, RowRange out, ir::Node& node, std::vector<RowRange>& reads) {
  KernelRequest part = whole;
  part.node = &node;
  part.blocking = {};
  part.blocking.vectors = whole.blocking.vectors;
  const std::vector<RowWindow> windows = *own_windows(whole);
  const int64_t images = whole.outputs[0].dims[0];
  for (size_t i = 0; i < windows.size(); ++i) {
    ir::Dims& dims = part.inputs[i].dims;
    reads.emplace_back();
    if (!windows[i].all) {
      reads.back() = within(windows[i].rows(out), dims[1]);
      dims[1] = reads.back().count();
    }
    if (whole.constants[i] == nullptr && dims.size() == 4 && dims[0] == images) dims[0] = 1;
  }
  part.outputs[0].dims[0] = 1;
  part.outputs[0].dims[1] = out.count();
  if (auto* conv = std::get_if<ir::ConvAttrs>(&node.attrs)) {
    pad_part(*conv, whole, windows[0], out, whole.inputs[1].dims, conv->dilations);
  } else if (auto* pool = std::get_if<ir::PoolAttrs>(&node.attrs)) {
    pad_part(*pool, whole, windows[0], out, pool->window, {});
  }
  return part;
}

int64_t row_unit(const backends::KernelEntry& entry, const KernelRequest& request) {
  return entry.row_unit != nullptr ? entry.row_unit(request) : 0;
}

void add_key(std::string& key, const KernelRequest& part) {
  for (const TensorDesc& input : part.inputs) key += ir::concat(input.dims.size() > 1 ? input.dims[1] : 0, ',');
  if (const auto* conv = std::get_if<ir::ConvAttrs>(&part.node->attrs)) key += ir::concat('p', conv->explicit_pads[0]);
  if (const auto* pool = std::get_if<ir::PoolAttrs>(&part.node->attrs)) key += ir::concat('p', pool->explicit_pads[0]);
  key += ir::concat(':', part.outputs[0].dims[1], ' ');
}

}  // namespace

RowRange RowWindow::rows(RowRange out) const {
  return {out.begin / up * stride - pad, (out.end - 1) / up * stride - pad + reach};
}

int64_t RowWindow::computable(int64_t rows) const {
  const int64_t beyond = rows + pad - reach;
  return beyond < 0 ? 0 : (beyond / stride + 1) * up;
}

size_t StripStep::row_bytes(const TensorDesc& desc) {
  return desc.bytes() / static_cast<size_t>(desc.dims[0] * desc.dims[1]);
}

size_t StripStep::image_bytes(size_t i) const {
  const TensorDesc& desc = input_descs[i];
  const bool shared = is_constant[i] != 0 || desc.dims.size() != 4 || desc.dims[0] != images();
  return shared ? 0 : desc.bytes() / static_cast<size_t>(images());
}

std::optional<StripStep> strip_step(const ir::Graph& graph, const ir::Node& node, const Fusion& fusion,
                                    const Decisions& decisions, const PlanOptions& options) {
  StripStep step;
  const std::vector<const ir::Node*> nodes = fusion.nodes_of_step(graph, node);
  for (const ir::Node* own : nodes) step.requests.push_back(fusion.request(graph, *own, options));
  for (size_t k = 0; k < nodes.size(); ++k) {
    KernelRequest& request = step.requests[k];
    const auto own = own_windows(request);
    if (!own) return std::nullopt;
    std::vector<char> constant;
    for (const ir::TensorPtr& tensor : request.constants) constant.push_back(tensor != nullptr ? 1 : 0);
    size_t between = own->size();
    if (k > 0) {
      request.producer = &step.requests[k - 1];
      between = request.producer_input = fusion.producer_input(*nodes[k]);
      step.repeated += std::max<int64_t>(0, (*own)[between].reach - (*own)[between].stride);
      for (RowWindow& window : step.windows) {
        const auto through = composed((*own)[between], window);
        if (!through) return std::nullopt;
        window = *through;
      }
    }
    join_inputs(step.windows, *own, between);
    join_inputs(step.input_descs, request.inputs, between);
    join_inputs(step.is_constant, constant, between);
  }
  const KernelRequest& request = step.requests.back();
  const auto entry = nodes.size() > 1 ? select_kernel(request, decisions, fused_kernels(options), nullptr)
                                      : select_kernel(request, decisions, backends::cpu_kernels(), nullptr);
  if (!entry.ok() || row_unit(**entry, request) == 0) return std::nullopt;
  step.entry = *entry;
  step.unit = row_unit(*step.entry, request);
  for (const RowWindow& window : step.windows) step.unit = std::lcm(step.unit, window.up);
  step.inputs = fusion.step_inputs(graph, node);
  step.output = node.outputs[0];
  return step;
}

StepPart part_of(const StripStep& step, RowRange rows, int threads) {
  StepPart part;
  const size_t count = step.requests.size();
  part.requests.resize(count);
  std::vector<std::vector<RowRange>> reads(count);
  for (size_t k = count; k-- > 0;) {
    const KernelRequest& whole = step.requests[k];
    part.nodes.push_back(std::make_unique<ir::Node>(*whole.node));
    part.requests[k] = part_of_node(whole, rows, *part.nodes.back(), reads[k]);
    part.requests[k].num_threads = threads;
    add_key(part.key, part.requests[k]);
    if (k > 0) rows = reads[k][whole.producer_input];
  }
  for (size_t k = 0; k < count; ++k) {
    if (k > 0) part.requests[k].producer = &part.requests[k - 1];
    join_inputs(part.inputs, reads[k], k > 0 ? step.requests[k].producer_input : reads[k].size());
  }
  return part;
}

bool StepPart::is_like(const StripStep& step) const {
  for (const KernelRequest& request : requests) {
    for (const TensorDesc& input : request.inputs) {
      if (input.element_count() == 0) return false;  // windows that lie in padding alone
    }
  }
  const KernelRequest& own = requests.back();
  return step.entry->supports(own).ok && row_unit(*step.entry, own) == row_unit(*step.entry, step.requests.back());
}

}  // namespace blade::engine
