// Typed attributes of every op. Each struct lists its fields once in visit(): serialization, printing and
// equality all come from there. Axes are in [0, rank) after import; layouts are channels last.
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <tuple>
#include <variant>
#include <vector>

#include "ir/ops/pointwise.h"
#include "ir/types.h"

namespace blade::ir {

class Graph;
using SubGraph = std::shared_ptr<const Graph>;

// Declares visit(v) over the named fields ("field", value) and memberwise equality.
#define BLADE_FIELD(f) v(#f, f);
#define BLADE_FIELDS_1(a) BLADE_FIELD(a)
#define BLADE_FIELDS_2(a, ...) BLADE_FIELD(a) BLADE_FIELDS_1(__VA_ARGS__)
#define BLADE_FIELDS_3(a, ...) BLADE_FIELD(a) BLADE_FIELDS_2(__VA_ARGS__)
#define BLADE_FIELDS_4(a, ...) BLADE_FIELD(a) BLADE_FIELDS_3(__VA_ARGS__)
#define BLADE_FIELDS_5(a, ...) BLADE_FIELD(a) BLADE_FIELDS_4(__VA_ARGS__)
#define BLADE_FIELDS_6(a, ...) BLADE_FIELD(a) BLADE_FIELDS_5(__VA_ARGS__)
#define BLADE_FIELDS_7(a, ...) BLADE_FIELD(a) BLADE_FIELDS_6(__VA_ARGS__)
#define BLADE_FIELDS_8(a, ...) BLADE_FIELD(a) BLADE_FIELDS_7(__VA_ARGS__)
#define BLADE_FIELDS_PICK(_1, _2, _3, _4, _5, _6, _7, _8, name, ...) name
#define BLADE_ATTRS(...)                                                                                           \
  template <class V>                                                                                               \
  void visit(V& v) {                                                                                               \
    BLADE_FIELDS_PICK(__VA_ARGS__, BLADE_FIELDS_8, BLADE_FIELDS_7, BLADE_FIELDS_6, BLADE_FIELDS_5, BLADE_FIELDS_4, \
                      BLADE_FIELDS_3, BLADE_FIELDS_2, BLADE_FIELDS_1)                                              \
    (__VA_ARGS__)                                                                                                  \
  }

struct EmptyAttrs {
  template <class V>
  void visit(V&) {}
  bool operator==(const EmptyAttrs&) const = default;
};

struct PointwiseAttrs {
  PointwiseProgram program;
  BLADE_ATTRS(program)
  bool operator==(const PointwiseAttrs&) const = default;
};

struct CastAttrs {
  DType to = DType::kFloat32;
  BLADE_ATTRS(to)
  bool operator==(const CastAttrs&) const = default;
};

// Padding of a spatial dim, for convolution and pooling.
enum class Padding : uint8_t { kValid, kSame, kExplicit };

// x [n, spatial..., c_in], w [spatial..., c_in/groups, c_out] -> [n, spatial..., c_out]; spatial rank = strides.size()
// (1 to 3). Depthwise: groups == c_in, w [spatial..., 1, c_in*multiplier]. The epilogue's program input 0 is the
// convolution, input k >= 1 is node input 1 + k; each of those is a scalar, a [c_out] vector or shaped like the output.
struct ConvAttrs {
  std::vector<int64_t> strides, dilations;
  Padding padding = Padding::kValid;
  std::vector<int64_t> explicit_pads;  // begin, end of each spatial dim; only for kExplicit
  int64_t groups = 1;
  PointwiseProgram epilogue;  // empty program: none
  BLADE_ATTRS(strides, dilations, padding, explicit_pads, groups, epilogue)
  bool operator==(const ConvAttrs&) const = default;
};

// The gradient of Conv with respect to its input, as TensorFlow's Conv2DBackpropInput: x [n, spatial..., c_in],
// w [spatial..., c_out, c_in], output_size: int tensor [n, spatial..., c_out]. Epilogue operands start at node input 3.
struct ConvTransposeAttrs {
  std::vector<int64_t> strides, dilations;
  Padding padding = Padding::kValid;
  std::vector<int64_t> explicit_pads;
  PointwiseProgram epilogue;
  BLADE_ATTRS(strides, dilations, padding, explicit_pads, epilogue)
  bool operator==(const ConvTransposeAttrs&) const = default;
};

// a [..., m, k] (or [..., k, m] transposed), b [..., k, n]; leading dims broadcast. Epilogue as for Conv, its vector
// operands are [n].
struct MatMulAttrs {
  bool transpose_a = false, transpose_b = false;
  PointwiseProgram epilogue;
  BLADE_ATTRS(transpose_a, transpose_b, epilogue)
  bool operator==(const MatMulAttrs&) const = default;
};

struct EinsumAttrs {
  std::string equation;
  BLADE_ATTRS(equation)
  bool operator==(const EinsumAttrs&) const = default;
};

// softmax(scale * q k^T + mask + mask) v, the masks optional; with mask_replaces the first one does not add to scores
// but stands in their place where it is not 0. For [batch..., row, column] operands: input i of q, k, v transposed by
// its permutation, as Transpose does; the result is transposed by output_perm. Dims broadcast as they do in the
// products and sums. Masks are of the operands' type or float32.
struct AttentionAttrs {
  float scale = 1;
  std::vector<int64_t> query_perm, key_perm, value_perm, output_perm;
  bool mask_replaces = false;
  BLADE_ATTRS(scale, query_perm, key_perm, value_perm, output_perm, mask_replaces)
  bool operator==(const AttentionAttrs&) const = default;
};

struct BatchNormAttrs {
  float epsilon = 1e-3f;
  BLADE_ATTRS(epsilon)
  bool operator==(const BatchNormAttrs&) const = default;
};

// (x - mean) * scale / sqrt(variance + epsilon) + offset, over the last axis.
struct LayerNormAttrs {
  float epsilon = 1e-12f;
  BLADE_ATTRS(epsilon)
  bool operator==(const LayerNormAttrs&) const = default;
};

// As tf.nn.local_response_normalization over the last axis.
struct LrnAttrs {
  int64_t depth_radius = 5;
  float bias = 1, alpha = 1, beta = 0.5f;
  BLADE_ATTRS(depth_radius, bias, alpha, beta)
  bool operator==(const LrnAttrs&) const = default;
};

enum class PoolKind : uint8_t { kMax, kAverage };
// x [n, spatial..., c]. Averages count only elements inside the input, as TensorFlow does.
struct PoolAttrs {
  PoolKind kind = PoolKind::kMax;
  std::vector<int64_t> window, strides;  // spatial dims only
  Padding padding = Padding::kValid;
  std::vector<int64_t> explicit_pads;
  BLADE_ATTRS(kind, window, strides, padding, explicit_pads)
  bool operator==(const PoolAttrs&) const = default;
};

// Max pooling that also gives, for each result, where it was: ((b * h + y) * w + x) * c + channel with the batch term
// only where include_batch is set.
struct MaxPoolArgmaxAttrs {
  std::vector<int64_t> window, strides;
  Padding padding = Padding::kValid;
  std::vector<int64_t> explicit_pads;
  bool include_batch = false;
  DType index_dtype = DType::kInt64;
  BLADE_ATTRS(window, strides, padding, explicit_pads, include_batch, index_dtype)
  bool operator==(const MaxPoolArgmaxAttrs&) const = default;
};

// x [n, spatial..., c] -> [n, windows..., window elements * c]: each window's elements, zeros where it hangs over.
struct ExtractPatchesAttrs {
  std::vector<int64_t> window, strides, dilations;
  Padding padding = Padding::kValid;
  BLADE_ATTRS(window, strides, dilations, padding)
  bool operator==(const ExtractPatchesAttrs&) const = default;
};

// Grey-scale morphological dilation: x [n, h, w, c], filter [kh, kw, c], max over the window of x + filter.
struct DilationAttrs {
  std::vector<int64_t> strides, dilations;
  Padding padding = Padding::kValid;
  BLADE_ATTRS(strides, dilations, padding)
  bool operator==(const DilationAttrs&) const = default;
};

// Over the last axis.
struct SoftmaxAttrs {
  bool log = false;
  BLADE_ATTRS(log)
  bool operator==(const SoftmaxAttrs&) const = default;
};

enum class ReduceKind : uint8_t { kSum, kMean, kProd, kMax, kMin, kAll, kAny };
struct ReduceAttrs {
  ReduceKind kind = ReduceKind::kSum;
  std::vector<int64_t> axes;
  bool keep_dims = false;
  BLADE_ATTRS(kind, axes, keep_dims)
  bool operator==(const ReduceAttrs&) const = default;
};

struct ArgReduceAttrs {
  bool is_max = true;
  int64_t axis = 0;
  DType index_dtype = DType::kInt64;
  BLADE_ATTRS(is_max, axis, index_dtype)
  bool operator==(const ArgReduceAttrs&) const = default;
};

enum class CumulativeKind : uint8_t { kSum, kProd, kLogSumExp };
struct CumulativeAttrs {
  int64_t axis = 0;
  bool exclusive = false, reverse = false;
  CumulativeKind kind = CumulativeKind::kSum;
  BLADE_ATTRS(axis, exclusive, reverse, kind)
  bool operator==(const CumulativeAttrs&) const = default;
};

struct TopKAttrs {
  bool sorted = true;
  DType index_dtype = DType::kInt32;
  BLADE_ATTRS(sorted, index_dtype)
  bool operator==(const TopKAttrs&) const = default;
};

// What a removed or kept Identity stood for in the source graph; CheckNumerics fails a run only in the source
// framework.
enum class IdentityKind : uint8_t { kPlain, kCheckNumerics, kStopGradient, kSnapshot, kPlaceholderWithDefault };
struct IdentityAttrs {
  IdentityKind kind = IdentityKind::kPlain;
  BLADE_ATTRS(kind)
  bool operator==(const IdentityAttrs&) const = default;
};

// dims: what the shape must be, -1 where any size will do.
struct EnsureShapeAttrs {
  std::vector<int64_t> dims;
  BLADE_ATTRS(dims)
  bool operator==(const EnsureShapeAttrs&) const = default;
};

struct AxisAttrs {
  int64_t axis = 0;
  BLADE_ATTRS(axis)
  bool operator==(const AxisAttrs&) const = default;
};
struct AxesAttrs {
  std::vector<int64_t> axes;
  BLADE_ATTRS(axes)
  bool operator==(const AxesAttrs&) const = default;
};
struct PermAttrs {
  std::vector<int64_t> perm;
  BLADE_ATTRS(perm)
  bool operator==(const PermAttrs&) const = default;
};

// sizes empty: equal parts, as many as the node has outputs.
struct SplitAttrs {
  int64_t axis = 0;
  std::vector<int64_t> sizes;
  BLADE_ATTRS(axis, sizes)
  bool operator==(const SplitAttrs&) const = default;
};

struct StridedSliceAttrs {
  int64_t begin_mask = 0, end_mask = 0, ellipsis_mask = 0, new_axis_mask = 0, shrink_axis_mask = 0;
  BLADE_ATTRS(begin_mask, end_mask, ellipsis_mask, new_axis_mask, shrink_axis_mask)
  bool operator==(const StridedSliceAttrs&) const = default;
};

struct UnpackAttrs {
  int64_t axis = 0;
  BLADE_ATTRS(axis)
  bool operator==(const UnpackAttrs&) const = default;
};

enum class PadMode : uint8_t { kConstant, kReflect, kSymmetric };
struct PadAttrs {
  PadMode mode = PadMode::kConstant;
  BLADE_ATTRS(mode)
  bool operator==(const PadAttrs&) const = default;
};

enum class ShapeOfKind : uint8_t { kShape, kSize, kRank };
struct ShapeOfAttrs {
  ShapeOfKind kind = ShapeOfKind::kShape;
  DType dtype = DType::kInt32;
  BLADE_ATTRS(kind, dtype)
  bool operator==(const ShapeOfAttrs&) const = default;
};

struct GatherAttrs {
  int64_t axis = 0, batch_dims = 0;
  BLADE_ATTRS(axis, batch_dims)
  bool operator==(const GatherAttrs&) const = default;
};

// What happens to an element that several updates reach (or that a base already holds).
enum class ScatterKind : uint8_t { kUpdate, kAdd, kSub, kMax, kMin };
// base, indices [..., depth], updates [..., base dims after depth] -> base changed. sorted_unique: indices that repeat
// or go backwards are an error.
struct TensorScatterAttrs {
  ScatterKind kind = ScatterKind::kUpdate;
  bool sorted_unique = false;
  BLADE_ATTRS(kind, sorted_unique)
  bool operator==(const TensorScatterAttrs&) const = default;
};

// data [ids dims..., rest...], segment_ids, num_segments -> [num_segments, rest...]. Sum, mean, prod, max or min of the
// slices of each segment; sorted: ids must not fall, else negative ids are left out. Segments without slices hold the
// kind's neutral element (the lowest or highest finite number for max and min), or 0 where empty_is_zero. sqrt_n: the
// sum divided by the square root of the number of slices.
struct SegmentReduceAttrs {
  ReduceKind kind = ReduceKind::kSum;
  bool sorted = false, empty_is_zero = false, sqrt_n = false;
  BLADE_ATTRS(kind, sorted, empty_is_zero, sqrt_n)
  bool operator==(const SegmentReduceAttrs&) const = default;
};

// sorted [..., n], values [..., m] -> how many of the row's n are less than (or, right: not greater than) each value.
struct SearchSortedAttrs {
  bool right = false;
  DType index_dtype = DType::kInt32;
  BLADE_ATTRS(right, index_dtype)
  bool operator==(const SearchSortedAttrs&) const = default;
};

// Which end of a row of packed diagonals holds the padding of the shorter ones, as MatrixDiagV3's `align`.
struct DiagAttrs {
  bool super_left = false, sub_left = true;
  BLADE_ATTRS(super_left, sub_left)
  bool operator==(const DiagAttrs&) const = default;
};

struct BitcastAttrs {
  DType to = DType::kInt32;
  BLADE_ATTRS(to)
  bool operator==(const BitcastAttrs&) const = default;
};

struct CropAndResizeAttrs {
  bool nearest = false;
  float extrapolation = 0;
  BLADE_ATTRS(nearest, extrapolation)
  bool operator==(const CropAndResizeAttrs&) const = default;
};

struct CombinedNonMaxSuppressionAttrs {
  bool pad_per_class = false, clip_boxes = true;
  BLADE_ATTRS(pad_per_class, clip_boxes)
  bool operator==(const CombinedNonMaxSuppressionAttrs&) const = default;
};

// A whole sequence of LSTM steps, as TensorFlow's BlockLSTM: gates in the order of the weights' columns.
struct BlockLstmAttrs {
  float forget_bias = 1, cell_clip = 3;  // cell_clip <= 0: none
  bool peephole = false;
  bool ifco = false;  // columns i, f, c, o (BlockLSTMV2) instead of i, c, f, o
  BLADE_ATTRS(forget_bias, cell_clip, peephole, ifco)
  bool operator==(const BlockLstmAttrs&) const = default;
};

// A recurrent layer over a whole sequence. Gates are sigmoids but for the candidate g, a tanh; x, h and c are this
// step's input, the state and an LSTM's cell. kPlain: h' = tanh. kLstm (i, f, g, o): c' = f c + i g, h' = o tanh(c').
// kGru (z, r, g): h' = z h + (1 - z) g, where r scales what comes from h in g; kGruResetFirst: where r scales h itself.
enum class RecurrentCell : uint8_t { kPlain, kLstm, kGru, kGruResetFirst };
struct RecurrenceAttrs {
  RecurrentCell cell = RecurrentCell::kLstm;
  bool masked = false;   // the last input says which steps count; in the others states stay what they were
  float hard_slope = 0;  // where it is not 0, gates are hard sigmoids: clip(hard_slope x + 0.5, 0, 1)
  int gates() const { return cell == RecurrentCell::kPlain ? 1 : cell == RecurrentCell::kLstm ? 4 : 3; }
  // Parts of the bias: one a gate, and for kGru one more for what comes from h in g.
  int biases() const { return gates() + (cell == RecurrentCell::kGru ? 1 : 0); }
  int states() const { return cell == RecurrentCell::kLstm ? 2 : 1; }
  BLADE_ATTRS(cell, masked, hard_slope)
  bool operator==(const RecurrenceAttrs&) const = default;
};

// Discrete Fourier transforms along the last axis; complex numbers are two tensors, real and imaginary parts. kForward
// and kInverse: both parts to both parts. kReal: x and a length n, to which longer rows are cut, to the parts of
// n / 2 + 1 numbers. kRealInverse: both parts and a length n to n real numbers.
enum class FftKind : uint8_t { kForward, kInverse, kReal, kRealInverse };
struct FftAttrs {
  FftKind kind = FftKind::kForward;
  BLADE_ATTRS(kind)
  bool operator==(const FftAttrs&) const = default;
};

// The likeliest class of each step, runs of one class once where merge_repeated, without the blank class (counted from
// the end where negative).
struct CtcGreedyAttrs {
  bool merge_repeated = false;
  int64_t blank = -1;
  BLADE_ATTRS(merge_repeated, blank)
  bool operator==(const CtcGreedyAttrs&) const = default;
};

struct BlockAttrs {
  int64_t block = 2;
  BLADE_ATTRS(block)
  bool operator==(const BlockAttrs&) const = default;
};

enum class ResizeKind : uint8_t { kNearest, kBilinear, kBicubic, kArea };
struct ResizeAttrs {
  ResizeKind kind = ResizeKind::kBilinear;
  bool align_corners = false, half_pixel_centers = false;
  BLADE_ATTRS(kind, align_corners, half_pixel_centers)
  bool operator==(const ResizeAttrs&) const = default;
};

// TensorFlow's ScaleAndTranslate: a weighted sum of what the kernel covers; antialias: it grows as the image shrinks.
enum class SampleKind : uint8_t {
  kLanczos1,
  kLanczos3,
  kLanczos5,
  kGaussian,
  kBox,
  kTriangle,
  kKeysCubic,
  kMitchellCubic
};
struct SampleAttrs {
  SampleKind kind = SampleKind::kLanczos3;
  bool antialias = true;
  BLADE_ATTRS(kind, antialias)
  bool operator==(const SampleAttrs&) const = default;
};

// boxes, scores, max_output_size, iou_threshold, score_threshold as TensorFlow's NonMaxSuppressionV3. Version 5 has
// soft_nms_sigma behind them and gives the scores, too.
struct NonMaxSuppressionAttrs {
  int64_t version = 3;
  bool pad_to_max_output_size = false;
  BLADE_ATTRS(version, pad_to_max_output_size)
  bool operator==(const NonMaxSuppressionAttrs&) const = default;
};

// The type of the positions that Unique and ListDiff give.
struct PositionsAttrs {
  DType index_dtype = DType::kInt32;
  BLADE_ATTRS(index_dtype)
  bool operator==(const PositionsAttrs&) const = default;
};

// Graphs that a node holds, shared and never changed once a node holds them. Their inputs are operands of the node, in
// order.
// If: one a branch; the condition (node input 0) is false or 0 for branch 0, true or 1 for branch 1, ...; any other
// number takes the last. While: the condition (one bool), then the body, which gives the next value of each variable;
// operands after the variables stay the same. A third graph of a While computes, from those, what every iteration
// needs: it runs once before the first iteration of a loop that has one, and its results are further inputs of the
// body.
struct SubGraphsAttrs {
  std::vector<SubGraph> graphs;
  BLADE_ATTRS(graphs)
  bool operator==(const SubGraphsAttrs&) const = default;
};

// A source node that Blade leaves where it is.
struct ForeignAttrs {
  std::string source_op;  // "TensorArrayV3"
  std::string reason;     // why it stays, for the report
  bool side_effects = false;
  BLADE_ATTRS(source_op, reason, side_effects)
  bool operator==(const ForeignAttrs&) const = default;
};

using Attrs =
    std::variant<EmptyAttrs, PointwiseAttrs, CastAttrs, ConvAttrs, ConvTransposeAttrs, MatMulAttrs, EinsumAttrs,
                 BatchNormAttrs, LayerNormAttrs, LrnAttrs, PoolAttrs, MaxPoolArgmaxAttrs, ExtractPatchesAttrs,
                 DilationAttrs, SoftmaxAttrs, ReduceAttrs, ArgReduceAttrs, CumulativeAttrs, TopKAttrs, IdentityAttrs,
                 AxisAttrs, AxesAttrs, PermAttrs, SplitAttrs, StridedSliceAttrs, UnpackAttrs, PadAttrs, ShapeOfAttrs,
                 GatherAttrs, TensorScatterAttrs, SegmentReduceAttrs, SearchSortedAttrs, DiagAttrs, BitcastAttrs,
                 CropAndResizeAttrs, CombinedNonMaxSuppressionAttrs, BlockLstmAttrs, BlockAttrs, ResizeAttrs,
                 NonMaxSuppressionAttrs, PositionsAttrs, SubGraphsAttrs, ForeignAttrs, EnsureShapeAttrs, FftAttrs,
                 CtcGreedyAttrs, SampleAttrs, AttentionAttrs, RecurrenceAttrs>;

}  // namespace blade::ir
