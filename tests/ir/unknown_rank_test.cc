// Every op takes inputs of which nothing is known: inference succeeds and gives a type.
#include "infer_test_util.h"

namespace blade::testing {
namespace {

struct Case {
  Op op;
  ir::Attrs attrs;
  std::string inputs;  // one letter an input: f float32, i int32, b bool
  int outputs = 1;
};

std::vector<Case> cases() {
  ir::ConvAttrs conv;
  conv.strides = conv.dilations = {1, 2};
  ir::ConvTransposeAttrs back;
  back.strides = back.dilations = {1, 2};
  const ir::PoolAttrs pool{ir::PoolKind::kAverage, {2, 2}, {2, 2}, ir::Padding::kValid, {}};
  ir::MaxPoolArgmaxAttrs argmax;
  argmax.window = argmax.strides = {2, 2};
  return {
      {Op::kPointwise, ir::PointwiseAttrs{ir::PointwiseProgram::ternary(P::kSelect)}, "bff"},
      {Op::kCast, ir::CastAttrs{DType::kInt32}, "f"},
      {Op::kConv, conv, "ff"},
      {Op::kConvTranspose, back, "ffi"},
      {Op::kMatMul, ir::MatMulAttrs{}, "ff"},
      {Op::kEinsum, ir::EinsumAttrs{"...ij,jk->...ik"}, "ff"},
      {Op::kAttention, ir::AttentionAttrs{1, {0, 1, 2}, {0, 1, 2}, {0, 1, 2}, {0, 1, 2}, false}, "ffff"},
      {Op::kBatchNorm, ir::BatchNormAttrs{}, "fffff"},
      {Op::kLayerNorm, ir::LayerNormAttrs{}, "fff"},
      {Op::kMoments, ir::AxesAttrs{{1}}, "f", 2},
      {Op::kLrn, ir::LrnAttrs{}, "f"},
      {Op::kPool, pool, "f"},
      {Op::kSoftmax, ir::SoftmaxAttrs{}, "f"},
      {Op::kReduce, ir::ReduceAttrs{ir::ReduceKind::kSum, {1}, false}, "f"},
      {Op::kArgReduce, ir::ArgReduceAttrs{}, "f"},
      {Op::kCumulative, ir::CumulativeAttrs{}, "f"},
      {Op::kTopK, ir::TopKAttrs{}, "fi", 2},
      {Op::kIdentity, ir::IdentityAttrs{}, "f"},
      {Op::kReshape, ir::EmptyAttrs{}, "fi"},
      {Op::kExpandDims, ir::AxisAttrs{1}, "f"},
      {Op::kSqueeze, ir::AxesAttrs{{1}}, "f"},
      {Op::kTranspose, ir::PermAttrs{{1, 0}}, "f"},
      {Op::kConcat, ir::AxisAttrs{1}, "fff"},
      {Op::kSplit, ir::SplitAttrs{1, {}}, "f", 3},
      {Op::kSlice, ir::EmptyAttrs{}, "fii"},
      {Op::kStridedSlice, ir::StridedSliceAttrs{}, "fiii"},
      {Op::kPack, ir::AxisAttrs{1}, "ff"},
      {Op::kUnpack, ir::UnpackAttrs{1}, "f", 2},
      {Op::kPad, ir::PadAttrs{}, "fi"},
      {Op::kTile, ir::EmptyAttrs{}, "fi"},
      {Op::kBroadcastTo, ir::EmptyAttrs{}, "fi"},
      {Op::kFill, ir::EmptyAttrs{}, "if"},
      {Op::kRange, ir::EmptyAttrs{}, "iii"},
      {Op::kShapeOf, ir::ShapeOfAttrs{}, "f"},
      {Op::kGather, ir::GatherAttrs{1, 1}, "fi"},
      {Op::kGatherNd, ir::EmptyAttrs{}, "fi"},
      {Op::kScatterNd, ir::EmptyAttrs{}, "ifi"},
      {Op::kOneHot, ir::AxisAttrs{1}, "iiff"},
      {Op::kReverse, ir::AxesAttrs{{1}}, "f"},
      {Op::kDepthToSpace, ir::BlockAttrs{2}, "f"},
      {Op::kSpaceToDepth, ir::BlockAttrs{2}, "f"},
      {Op::kSpaceToBatch, ir::EmptyAttrs{}, "fii"},
      {Op::kBatchToSpace, ir::EmptyAttrs{}, "fii"},
      {Op::kResize, ir::ResizeAttrs{}, "fi"},
      {Op::kScaleAndTranslate, ir::SampleAttrs{}, "fiff"},
      {Op::kMatrixBandPart, ir::EmptyAttrs{}, "fii"},
      {Op::kWhere, ir::EmptyAttrs{}, "b"},
      {Op::kNonMaxSuppression, ir::NonMaxSuppressionAttrs{4, true}, "ffiff", 2},
      {Op::kUnique, ir::PositionsAttrs{}, "f", 3},
      {Op::kListDiff, ir::PositionsAttrs{}, "ff", 2},
      {Op::kFillEmptyRows, ir::EmptyAttrs{}, "lflf", 4},
      {Op::kDynamicPartition, ir::EmptyAttrs{}, "fi", 2},
      {Op::kMaxPoolArgmax, argmax, "f", 2},
      {Op::kExtractPatches, ir::ExtractPatchesAttrs{{2, 2}, {1, 1}, {1, 1}, ir::Padding::kSame}, "f"},
      {Op::kDilation, ir::DilationAttrs{{1, 1}, {1, 1}, ir::Padding::kSame}, "ff"},
      {Op::kSegmentReduce, ir::SegmentReduceAttrs{}, "fii"},
      {Op::kSearchSorted, ir::SearchSortedAttrs{}, "ff"},
      {Op::kBlockLstm, ir::BlockLstmAttrs{}, "iffffffff", 7},
      {Op::kRecurrence, ir::RecurrenceAttrs{ir::RecurrentCell::kLstm, true}, "ffffffb", 3},
      {Op::kBitcast, ir::BitcastAttrs{}, "f"},
      {Op::kTensorScatter, ir::TensorScatterAttrs{}, "fif"},
      {Op::kMatrixDiag, ir::DiagAttrs{}, "fiiif"},
      {Op::kMatrixDiagPart, ir::DiagAttrs{}, "fif"},
      {Op::kMatrixSetDiag, ir::DiagAttrs{}, "ffi"},
      {Op::kCropAndResize, ir::CropAndResizeAttrs{}, "ffii"},
      {Op::kCombinedNonMaxSuppression, ir::CombinedNonMaxSuppressionAttrs{}, "ffiiff", 4},
      {Op::kEnsureShape, ir::EnsureShapeAttrs{{-1, 3}}, "f"},
      {Op::kSparseReshape, ir::EmptyAttrs{}, "lll", 2},
      {Op::kFft, ir::FftAttrs{ir::FftKind::kReal}, "fi", 2},
      {Op::kCtcGreedyDecoder, ir::CtcGreedyAttrs{}, "fi", 4},
      {Op::kSetRows, ir::EmptyAttrs{}, "fif"},
      {Op::kAppendRow, ir::EmptyAttrs{}, "ff"},
      {Op::kForeign, ir::ForeignAttrs{"Anything", "", false}, "ff", 2},
  };
}

DType dtype_of_letter(char letter) {
  if (letter == 'l') return DType::kInt64;
  return letter == 'f' ? DType::kFloat32 : letter == 'i' ? DType::kInt32 : DType::kBool;
}

TEST(UnknownRank, EveryOpTakesIt) {
  const auto all = cases();
  const int with_graphs = 2;  // If and While hold graphs of their own: tests/engine/control_flow_test.cc
  EXPECT_EQ(static_cast<int>(all.size()) + with_graphs, ir::kNumOps) << "add a case for the new op";
  for (const Case& c : all) {
    SCOPED_TRACE(ir::op_name(c.op));
    GraphBuilder b;
    std::vector<ir::ValueId> inputs;
    for (char letter : c.inputs) {
      inputs.push_back(b.input_of_unknown_rank(ir::concat("in", inputs.size()), dtype_of_letter(letter)));
    }
    const auto outputs = b.ops(c.op, inputs, c.outputs, c.attrs);
    const ir::Graph g = b.output(outputs[0]).build();
    if (c.op == Op::kForeign) continue;
    for (const auto id : outputs) EXPECT_NE(g.value(id).dtype, DType::kInvalid);
  }
}

// The same with types unknown too, as behind a Foreign node. build() expects that inference and the verifier agree.
TEST(UnknownRank, AlsoWithoutTypes) {
  for (const Case& c : cases()) {
    SCOPED_TRACE(ir::op_name(c.op));
    GraphBuilder b;
    std::vector<ir::ValueId> inputs;
    for (size_t i = 0; i < c.inputs.size(); ++i) {
      inputs.push_back(b.input_of_unknown_rank(ir::concat("in", i), DType::kInvalid));
    }
    b.output(b.ops(c.op, inputs, c.outputs, c.attrs)[0]).build();
  }
}

TEST(UnknownRank, WrongNumbersOfInputsAreErrors) {
  for (const Case& c : cases()) {
    if (c.op == Op::kForeign) continue;
    SCOPED_TRACE(ir::op_name(c.op));
    GraphBuilder b;
    b.ops(c.op, {}, c.outputs, c.attrs, "lonely");
    EXPECT_INFER_ERROR(b, "Node 'lonely'");
  }
}

TEST(UnknownRank, ForeignKeepsWhatTheImporterSaid) {
  GraphBuilder b;
  const auto y = b.op(Op::kForeign, {b.input("x", {2})}, ir::ForeignAttrs{"Custom", "no kernel", false});
  b.graph().value(y).dtype = DType::kFloat32;
  b.graph().value(y).shape = ir::Shape({ir::Dim(3), b.symbol("rows")});
  EXPECT_EQ(inferred(b, y), "float32[3,rows]");
}

}  // namespace
}  // namespace blade::testing
