// FoldDilation: a convolution between SpaceToBatch and BatchToSpace, as TensorFlow writes dilated ones, becomes one
// convolution with a dilation; of one dim also where another is added for the convolution alone. Sizes that blocks do
// not divide are an error in TensorFlow, and here where they are known; of others, which only a run tells, the folded
// convolution makes what it would make of any size. Paddings up to whole blocks of such sizes are computed by the
// model; what is cropped again cancels them.
#include <algorithm>

#include "ir/infer.h"
#include "passes/passes_internal.h"
#include "passes/rewriter.h"

namespace blade::passes {
namespace {

using ir::Node;
using ir::Op;
using ir::ValueId;

bool reshapes(const Node& node) {
  return node.op == Op::kReshape || node.op == Op::kExpandDims || node.op == Op::kSqueeze;
}

// [n, length, channels] and [n, 1, length, channels].
bool adds_height(const ir::Shape& line, const ir::Shape& image) {
  return line.has_rank() && image.has_rank() && line.rank() == 3 && image.rank() == 4 && image.dim(1) == ir::Dim(1) &&
         image.dim(0) == line.dim(0) && image.dim(2) == line.dim(1) && image.dim(3) == line.dim(2);
}

ir::Shape with_height(const ir::Shape& line) { return ir::Shape({line.dim(0), ir::Dim(1), line.dim(1), line.dim(2)}); }

// What lies between the two moves, from the end on.
struct Dilated {
  const Node *to_space, *conv, *to_batch;
  bool of_lines;  // a height of 1 is added and removed around the convolution
};

std::optional<Dilated> find_dilated(Rewriter& rewriter, const Node& to_space) {
  const auto before = [&](const Node& node) -> const Node* {
    return rewriter.has_one_use(node.inputs[0]) ? rewriter.producer(node.inputs[0]) : nullptr;
  };
  const Node* conv = before(to_space);
  const bool of_lines = conv != nullptr && reshapes(*conv);
  if (of_lines) {
    if (!adds_height(rewriter.shape(conv->outputs[0]), rewriter.shape(conv->inputs[0]))) return std::nullopt;
    conv = before(*conv);
  }
  if (conv == nullptr || conv->op != Op::kConv || conv->inputs.size() != 2) return std::nullopt;
  ValueId pixels = conv->inputs[0];
  if (of_lines) {
    const Node* expand = rewriter.producer(pixels);
    if (expand == nullptr || !reshapes(*expand)) return std::nullopt;
    if (!adds_height(rewriter.shape(expand->inputs[0]), rewriter.shape(pixels))) return std::nullopt;
    pixels = expand->inputs[0];
  }
  const Node* to_batch = rewriter.producer(pixels, Op::kSpaceToBatch);
  if (to_batch == nullptr || !rewriter.shape(to_batch->inputs[0]).has_rank()) return std::nullopt;
  return Dilated{&to_space, conv, to_batch, of_lines};
}

// The elements of an operand, some of which may be symbols.
using Elements = std::vector<ir::Dim>;

// Those of two such operands of one size, one less the other: nullopt where they differ by what only a run tells.
std::optional<std::vector<int64_t>> difference(ir::SymbolTable& symbols, const Elements& a, const Elements& b) {
  std::vector<int64_t> numbers;
  for (size_t i = 0; i < a.size(); ++i) {
    const auto number = symbols.constant(symbols.sub(a[i], b[i]));
    if (!number) return std::nullopt;
    numbers.push_back(*number);
  }
  return numbers;
}

bool all_equal(const std::vector<int64_t>& values, int64_t value) {
  return std::all_of(values.begin(), values.end(), [&](int64_t v) { return v == value; });
}

// The convolution with the dilation in place of the moves; nullopt where it is another one.
std::optional<ir::ConvAttrs> dilated_attrs(Rewriter& rewriter, const ir::Contents& contents, const Dilated& d) {
  const auto &blocks = contents[d.to_batch->inputs[1]], &other_blocks = contents[d.to_space->inputs[1]];
  const auto &pads = contents[d.to_batch->inputs[2]], &crops = contents[d.to_space->inputs[2]];
  if (!blocks || !pads || !crops || blocks != other_blocks) return std::nullopt;
  ir::SymbolTable& symbols = rewriter.graph().symbols();
  const auto block = difference(symbols, *blocks, Elements(blocks->size(), 0));
  const auto added = difference(symbols, *pads, *crops);
  if (!block || !added) return std::nullopt;
  ir::ConvAttrs attrs = d.conv->get<ir::ConvAttrs>();
  const size_t rank = attrs.strides.size(), first = d.of_lines ? 1 : 0;
  const bool pads_nothing = attrs.padding == ir::Padding::kValid ||
                            (attrs.padding == ir::Padding::kExplicit && all_equal(attrs.explicit_pads, 0));
  if (!pads_nothing || !attrs.epilogue.empty() || !all_equal(attrs.strides, 1)) return std::nullopt;
  if (first + block->size() > rank) return std::nullopt;  // it moves channels, too
  if (std::any_of(added->begin(), added->end(), [](int64_t pad) { return pad < 0; })) return std::nullopt;
  attrs.padding = ir::Padding::kExplicit;
  attrs.explicit_pads.assign(2 * rank, 0);
  std::copy(added->begin(), added->end(), attrs.explicit_pads.begin() + static_cast<std::ptrdiff_t>(2 * first));
  for (size_t i = 0; i < block->size(); ++i) attrs.dilations[first + i] *= (*block)[i];
  return attrs;
}

// Winograd takes no dilation: what it saves on the images that the moves make is worth more than the moves.
bool images_suit_winograd(Rewriter& rewriter, const Dilated& d) {
  constexpr int64_t kLeastChannels = 32, kLeastSide = 8;
  const auto weights = rewriter.shape(d.conv->inputs[1]).static_dims();
  const ir::Shape& image = rewriter.shape(d.conv->outputs[0]);
  if (!weights || weights->size() != 4) return false;
  for (int i : {1, 2}) {
    if (image.dim(i).is_known() && image.dim(i).value() < kLeastSide) return false;
  }
  const bool fits = (*weights)[0] == (*weights)[1] && ((*weights)[0] == 3 || (*weights)[0] == 5);
  return fits && (*weights)[2] >= kLeastChannels && (*weights)[3] >= kLeastChannels;
}

void fold(Rewriter& rewriter, const Dilated& d, ir::ConvAttrs attrs) {
  Node& result = rewriter.graph().node(d.to_space->id);
  const ValueId x = d.to_batch->inputs[0], weights = d.conv->inputs[1];
  const ir::DType dtype = rewriter.dtype(x);
  if (!d.of_lines) {
    rewriter.change(result, Op::kConv, {x, weights}, std::move(attrs));
    return;
  }
  const ir::Shape out = with_height(rewriter.shape(result.outputs[0]));
  const ValueId image =
      rewriter.insert(result, Op::kExpandDims, {x}, ir::AxisAttrs{1}, dtype, with_height(rewriter.shape(x)), "image")
          .outputs[0];
  const ValueId convolved =
      rewriter.insert(result, Op::kConv, {image, weights}, std::move(attrs), dtype, out, "dilated").outputs[0];
  rewriter.change(result, Op::kSqueeze, {convolved}, ir::AxesAttrs{{1}});
}

}  // namespace

Result<PassResult> fold_dilation(ir::Graph& graph, const PassOptions& options) {
  PassResult result;
  BLADE_ASSIGN_OR_RETURN(Rewriter rewriter, Rewriter::create(graph));
  const std::vector<ir::NodeId> order = rewriter.order();
  const auto moves_back = [&](ir::NodeId id) { return graph.node(id).op == Op::kBatchToSpace; };
  if (std::none_of(order.begin(), order.end(), moves_back)) return result;
  BLADE_ASSIGN_OR_RETURN(const ir::Contents contents, ir::infer_contents(graph, {}));
  for (ir::NodeId id : order) {
    if (rewriter.is_dead(id) || !moves_back(id)) continue;
    const auto dilated = find_dilated(rewriter, graph.node(id));
    if (!dilated || !rewriter.shape(graph.node(id).outputs[0]).has_rank()) continue;
    auto attrs = dilated_attrs(rewriter, contents, *dilated);
    // Direct convolutions on tile registers are faster than Winograd, and a dilation costs them nothing.
    if (!attrs || (!options.for_tiles && images_suit_winograd(rewriter, *dilated))) continue;
    fold(rewriter, *dilated, std::move(*attrs));
    ++result.changes;
  }
  rewriter.finish();
  return result;
}

}  // namespace blade::passes
