// Scatters, segments, searches, windows, diagonals, recurrent layers, and the rows of types beside float32.
#include "backends/cpu_cases.h"

namespace blade::backends {
namespace {

using ir::DType;
using ir::Op;

constexpr DType kTypes[] = {DType::kFloat32, DType::kFloat64, DType::kInt32, DType::kInt64, DType::kUInt8};

struct Cases {
  std::vector<Case> all;
  void add(Op op, ir::Attrs attrs, std::vector<ir::TensorPtr> inputs, int outputs = 1, double tolerance = 3e-6,
           uint32_t variable = ~0u) {
    all.push_back({std::string(ir::op_name(op)) + std::to_string(all.size()), op, std::move(attrs), std::move(inputs),
                   variable, outputs, tolerance});
  }
};

ir::TensorPtr wide_ints(ir::Dims dims, std::vector<int64_t> values) {
  return tensor<int64_t>(DType::kInt64, std::move(dims), std::move(values));
}

void add_segments(Cases& m) {
  for (DType type : kTypes) {
    const auto data = random_tensor(type, {6, 5}, 0, 9);
    for (ir::ScatterKind kind : {ir::ScatterKind::kUpdate, ir::ScatterKind::kAdd, ir::ScatterKind::kSub,
                                 ir::ScatterKind::kMax, ir::ScatterKind::kMin}) {
      m.add(Op::kTensorScatter, ir::TensorScatterAttrs{kind, false},
            {data, ints({3, 1}, {4, 0, 2}), random_tensor(type, {3, 5}, 0, 9)});
    }
    m.add(Op::kScatterNd, ir::EmptyAttrs{},
          {wide_ints({3, 1}, {1, 1, 3}), random_tensor(type, {3, 5}, 0, 9), wide_ints({2}, {4, 5})}, 1, 3e-6, 3u);
    for (ir::ReduceKind kind : {ir::ReduceKind::kSum, ir::ReduceKind::kMean, ir::ReduceKind::kProd,
                                ir::ReduceKind::kMax, ir::ReduceKind::kMin}) {
      ir::SegmentReduceAttrs attrs;
      attrs.kind = kind;
      m.add(Op::kSegmentReduce, attrs, {data, ints({6}, {2, 0, -1, 2, 0, 2}), ints({}, {4})}, 1, 1e-5, 3u);
      m.add(Op::kSegmentReduce, attrs, {random_tensor(type, {6}, 0, 9), ints({6}, {2, 0, -1, 2, 0, 2}), ints({}, {4})},
            1, 1e-5, 3u);
      attrs.sorted = attrs.empty_is_zero = true;
      m.add(Op::kSegmentReduce, attrs, {data, ints({6}, {0, 0, 1, 3, 3, 3}), ints({}, {5})}, 1, 1e-5, 3u);
    }
    m.add(Op::kSearchSorted, ir::SearchSortedAttrs{true, DType::kInt32},
          {tensor<int32_t>(DType::kInt32, {2, 3}, {1, 3, 5, 2, 2, 4}), ints({2, 2}, {3, 9, 2, 0})});
    std::vector<int32_t> steps(60);
    for (int32_t i = 0; i < 60; ++i) steps[static_cast<size_t>(i)] = i / 2;
    for (const bool right : {false, true}) {
      m.add(Op::kSearchSorted, ir::SearchSortedAttrs{right, DType::kInt64},
            {ints({1, 60}, steps), random_tensor(DType::kInt32, {1, 50}, -2, 33)});
    }
    for (ir::CumulativeKind kind : {ir::CumulativeKind::kSum, ir::CumulativeKind::kProd}) {
      m.add(Op::kCumulative, ir::CumulativeAttrs{0, true, true, kind}, {random_tensor(type, {4, 3}, 0, 4)});
      m.add(Op::kCumulative, ir::CumulativeAttrs{1, false, false, kind}, {random_tensor(type, {2, 5, 3}, 0, 3)});
      for (const bool reverse : {false, true}) {  // lines of single elements, several at a time
        m.add(Op::kCumulative, ir::CumulativeAttrs{1, reverse, !reverse, kind}, {random_tensor(type, {7, 5}, 0, 3)});
        m.add(Op::kCumulative, ir::CumulativeAttrs{1, reverse, reverse, kind}, {random_tensor(type, {6, 4}, 0, 3)});
      }
    }
    m.add(Op::kTopK, ir::TopKAttrs{true, DType::kInt32}, {random_tensor(type, {3, 40}, 0, 9), ints({}, {7})}, 2, 0, 1u);
    for (int32_t k : {1, 5, 300, 1500}) {
      m.add(Op::kTopK, ir::TopKAttrs{true, DType::kInt32}, {random_tensor(type, {2, 1501}, 0, 99), ints({}, {k})}, 2, 0,
            1u);
    }
  }
}

void add_typed(Cases& m) {
  for (DType type : kTypes) {
    m.add(Op::kMatMul, ir::MatMulAttrs{}, {random_tensor(type, {2, 3, 5}, 0, 5), random_tensor(type, {5, 7}, 0, 5)}, 1,
          1e-5);
    ir::MatMulAttrs both;
    both.transpose_a = both.transpose_b = true;
    m.add(Op::kMatMul, both, {random_tensor(type, {5, 3}, 0, 5), random_tensor(type, {7, 5}, 0, 5)}, 1, 1e-5);
    ir::ConvAttrs conv;
    conv.strides = {1, 2};
    conv.dilations = {2, 1};
    conv.padding = ir::Padding::kSame;
    conv.groups = 2;
    m.add(Op::kConv, conv, {random_tensor(type, {2, 5, 6, 4}, 0, 5), random_tensor(type, {3, 2, 2, 6}, 0, 5)}, 1, 1e-5);
    ir::ConvTransposeAttrs back;
    back.strides = {2, 1};
    back.dilations = {1, 2};
    back.padding = ir::Padding::kSame;
    m.add(Op::kConvTranspose, back,
          {random_tensor(type, {2, 3, 5, 4}, 0, 5), random_tensor(type, {3, 2, 6, 4}, 0, 5), ints({4}, {2, 5, 5, 6})},
          1, 1e-5, 3u);
    for (ir::PoolKind kind : {ir::PoolKind::kMax, ir::PoolKind::kAverage}) {
      m.add(Op::kPool, ir::PoolAttrs{kind, {2, 3}, {2, 1}, ir::Padding::kSame, {}},
            {random_tensor(type, {2, 5, 6, 3}, 0, 9)});
    }
    for (ir::ReduceKind kind : {ir::ReduceKind::kSum, ir::ReduceKind::kMean, ir::ReduceKind::kProd,
                                ir::ReduceKind::kMax, ir::ReduceKind::kMin}) {
      m.add(Op::kReduce, ir::ReduceAttrs{kind, {1}, false}, {random_tensor(type, {3, 4, 5}, 1, 3)}, 1, 1e-5);
      m.add(Op::kReduce, ir::ReduceAttrs{kind, {0, 2}, true}, {random_tensor(type, {3, 4, 5}, 1, 3)}, 1, 1e-5);
    }
  }
  m.add(Op::kReduce, ir::ReduceAttrs{ir::ReduceKind::kAll, {1}, false}, {bools({2, 3}, {1, 1, 1, 1, 0, 1})});
  m.add(Op::kReduce, ir::ReduceAttrs{ir::ReduceKind::kAny, {0}, false}, {bools({2, 3}, {0, 1, 0, 0, 0, 1})});
  for (ir::PointwiseOp op : {ir::PointwiseOp::kSin, ir::PointwiseOp::kLgamma, ir::PointwiseOp::kNdtri}) {
    m.add(Op::kPointwise, ir::PointwiseAttrs{ir::PointwiseProgram::unary(op)},
          {random_tensor(DType::kFloat64, {3, 50}, 0.1, 0.9)}, 1, 1e-12);
  }
  m.add(Op::kPointwise, ir::PointwiseAttrs{ir::PointwiseProgram::unary(ir::PointwiseOp::kPopulationCount)},
        {ints({4}, {-1, 0, 5, 255})});
  m.add(Op::kBitcast, ir::BitcastAttrs{DType::kInt32}, {random_floats({3, 5})});
}

void add_windows(Cases& m) {
  for (DType type : kTypes) {
    const auto image = random_tensor(type, {2, 6, 7, 3}, 0, 9);
    for (ir::Padding padding : {ir::Padding::kSame, ir::Padding::kValid}) {
      m.add(Op::kExtractPatches, ir::ExtractPatchesAttrs{{2, 3}, {1, 2}, {2, 1}, padding}, {image});
      m.add(Op::kExtractPatches, ir::ExtractPatchesAttrs{{3, 5}, {2, 3}, {1, 1}, padding}, {image});
      m.add(Op::kExtractPatches, ir::ExtractPatchesAttrs{{1, 2}, {1, 1}, {1, 2}, padding}, {image});
      m.add(Op::kDilation, ir::DilationAttrs{{1, 2}, {2, 1}, padding}, {image, random_tensor(type, {2, 2, 3}, 0, 3)});
      ir::MaxPoolArgmaxAttrs argmax;
      argmax.window = {2, 2};
      argmax.strides = {2, 1};
      argmax.padding = padding;
      argmax.include_batch = padding == ir::Padding::kSame;
      m.add(Op::kMaxPoolArgmax, argmax, {image}, 2);
    }
    for (ir::DiagAttrs align : {ir::DiagAttrs{true, false}, ir::DiagAttrs{false, true}}) {
      m.add(Op::kMatrixDiagPart, align,
            {random_tensor(type, {2, 4, 5}, 0, 9), ints({2}, {-2, 1}), random_tensor(type, {}, 0, 9)}, 1, 0, 5u);
      m.add(Op::kMatrixDiag, align,
            {random_tensor(type, {2, 3, 4}, 0, 9), ints({2}, {-1, 1}), ints({}, {4}), ints({}, {4}),
             random_tensor(type, {}, 0, 9)},
            1, 0, 17u);
      m.add(Op::kMatrixSetDiag, align,
            {random_tensor(type, {2, 4, 4}, 0, 9), random_tensor(type, {2, 2, 4}, 0, 9), ints({2}, {0, 1})}, 1, 0, 3u);
    }
  }
  for (bool nearest : {true, false}) {
    m.add(Op::kCropAndResize, ir::CropAndResizeAttrs{nearest, 0.5f},
          {random_floats({2, 6, 7, 3}), random_floats({3, 4}, -0.2, 1.2), ints({3}, {1, 0, 1}), ints({2}, {3, 4})}, 1,
          1e-5, 7u);
  }
  ir::ResizeAttrs area;
  area.kind = ir::ResizeKind::kArea;
  m.add(Op::kResize, area, {random_floats({1, 9, 7, 5}), ints({2}, {4, 10})}, 1, 1e-5);
  m.add(Op::kResize, area, {random_floats({1, 40, 7, 5}), ints({2}, {4, 3})}, 1, 1e-5);  // ten rows to one
  for (bool peephole : {true, false}) {
    m.add(Op::kBlockLstm, ir::BlockLstmAttrs{1, 0.5f, peephole, !peephole},
          {wide_ints({}, {3}), random_floats({4, 2, 5}), random_floats({2, 6}), random_floats({2, 6}),
           random_floats({11, 24}, -1, 1), random_floats({6}), random_floats({6}), random_floats({6}),
           random_floats({24})},
          7, 1e-5);
  }
}

struct Layer {
  int64_t steps, batch, inputs, cells;
};

// Inputs; masked: most samples stop before the end, two start later.
void add_recurrence(Cases& m, const Layer& l, const ir::RecurrenceAttrs& attrs) {
  std::vector<ir::TensorPtr> inputs = {
      random_floats({l.steps, l.batch, l.inputs}), random_floats({l.inputs, attrs.gates() * l.cells}, -1, 1),
      random_floats({attrs.biases() * l.cells}), random_floats({l.cells, attrs.gates() * l.cells}, -0.1, 0.1),
      random_floats({l.batch, l.cells})};
  if (attrs.states() == 2) inputs.push_back(random_floats({l.batch, l.cells}));
  if (attrs.masked) {
    std::vector<uint8_t> mask;
    for (int64_t row = 0; row < l.steps * l.batch; ++row) {
      const int64_t step = row / l.batch, sample = row % l.batch;
      mask.push_back(sample < 2 ? step % 4 > sample : step + sample < l.steps + 1);
    }
    inputs.push_back(bools({l.steps, l.batch}, mask));
  }
  m.add(Op::kRecurrence, attrs, std::move(inputs), 1 + attrs.states(), 2e-5, ~10u);
}

void add_recurrences(Cases& m) {
  using ir::RecurrentCell;
  // Some hundred steps are taken in several pieces.
  for (const Layer& l : {Layer{3, 2, 4, 6}, Layer{1, 1, 1, 1}, Layer{0, 2, 3, 5}, Layer{4, 1, 7, 16},
                         Layer{2, 17, 5, 33}, Layer{3, 1, 9, 131}, Layer{310, 2, 3, 150}, Layer{2, 3, 0, 150}}) {
    for (auto cell :
         {RecurrentCell::kPlain, RecurrentCell::kLstm, RecurrentCell::kGru, RecurrentCell::kGruResetFirst}) {
      for (bool masked : {false, true}) add_recurrence(m, l, {cell, masked, 0});
      if (cell != RecurrentCell::kPlain) add_recurrence(m, l, {cell, false, 0.2F});
    }
  }
}

}  // namespace

std::vector<Case> segment_cases() {
  Cases m;
  add_segments(m);
  add_typed(m);
  add_windows(m);
  add_recurrences(m);
  return std::move(m.all);
}

}  // namespace blade::backends
