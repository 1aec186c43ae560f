// LSTM and GRU cells and sequences that TensorFlow holds in one op.
#include "frontends/tensorflow/lower.h"

namespace blade::tensorflow {

// `argument`: 0 LSTMBlockCell (one step), 1 BlockLSTM, 2 BlockLSTMV2 (no forget bias, another order of the gates).
Status lower_lstm(LowerContext& context, int argument) {
  ir::BlockLstmAttrs attrs;
  BLADE_ASSIGN_OR_RETURN(attrs.forget_bias, float_attr_or(context.node(), "forget_bias", argument == 2 ? 0 : 1));
  BLADE_ASSIGN_OR_RETURN(attrs.cell_clip, float_attr_or(context.node(), "cell_clip", argument == 2 ? 0 : 3));
  BLADE_ASSIGN_OR_RETURN(attrs.peephole, bool_attr_or(context.node(), "use_peephole", false));
  attrs.ifco = argument == 2;
  if (argument > 0) {
    BLADE_ASSIGN_OR_RETURN(auto outputs, context.emit_many(ir::Op::kBlockLstm, "", context.inputs(), 7, attrs));
    return context.finish(std::move(outputs));
  }
  std::vector<ir::ValueId> inputs = context.inputs();
  BLADE_ASSIGN_OR_RETURN(inputs[0], context.emit(ir::Op::kExpandDims, "x", {inputs[0]}, ir::AxisAttrs{0}));
  inputs.insert(inputs.begin(), context.add_ints(ir::DType::kInt64, {1}, true));
  BLADE_ASSIGN_OR_RETURN(auto steps, context.emit_many(ir::Op::kBlockLstm, "steps", std::move(inputs), 7, attrs));
  std::vector<ir::ValueId> outputs;
  for (size_t i = 0; i < steps.size(); ++i) {
    const std::string suffix = i == 0 ? "" : std::to_string(i);
    BLADE_ASSIGN_OR_RETURN(ir::ValueId out, context.emit(ir::Op::kSqueeze, suffix, {steps[i]}, ir::AxesAttrs{{0}}));
    outputs.push_back(out);
  }
  return context.finish(std::move(outputs));
}

// r, u = sigmoid([x, h] w_ru + b_ru); c = tanh([x, r * h] w_c + b_c); h' = u * h + (1 - u) * c.
Status lower_gru_cell(LowerContext& context, int) {
  using ir::PointwiseOp;
  const ir::ValueId x = context.input(0), h = context.input(1);
  Emitter e(context);
  const auto gate = [&](ir::ValueId state, int weights, int bias, PointwiseOp activation, const char* name) {
    const ir::ValueId both = e.emit(ir::Op::kConcat, "both", {x, state}, ir::AxisAttrs{1});
    const ir::ValueId product = e.emit(ir::Op::kMatMul, "product", {both, context.input(weights)}, ir::MatMulAttrs{});
    return e.pointwise(activation, name, {e.pointwise(PointwiseOp::kAdd, "sum", {product, context.input(bias)})});
  };
  const ir::ValueId both_gates = gate(h, 2, 4, PointwiseOp::kSigmoid, "gates");
  BLADE_RETURN_IF_ERROR(e.status());
  BLADE_ASSIGN_OR_RETURN(auto gates,
                         context.emit_many(ir::Op::kSplit, "split", {both_gates}, 2, ir::SplitAttrs{1, {}}));
  const ir::ValueId r = gates[0], u = gates[1];
  const ir::ValueId c = gate(e.pointwise(PointwiseOp::kMul, "reset", {r, h}), 3, 5, PointwiseOp::kTanh, "candidate");
  const ir::ValueId kept = e.pointwise(PointwiseOp::kMul, "kept", {u, h});
  const ir::ValueId rest = e.pointwise(PointwiseOp::kSub, "rest", {e.scalar(context.dtype(x), 1), u});
  const ir::ValueId added = e.pointwise(PointwiseOp::kMul, "added", {rest, c});
  const ir::ValueId out = e.pointwise(PointwiseOp::kAdd, "", {kept, added});
  BLADE_RETURN_IF_ERROR(e.status());
  return context.finish(std::vector<ir::ValueId>{r, u, c, out});
}

}  // namespace blade::tensorflow
