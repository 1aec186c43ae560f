// Data movement: layouts, element sizes, edges and big tensors that are split over threads.
#include "backends/cpu_cases.h"

namespace blade::backends {
namespace {

using ir::DType;
using ir::Op;

class Movement {
 public:
  std::vector<Case> cases;
  void add(Op op, ir::Attrs attrs, std::vector<ir::TensorPtr> inputs, int outputs = 1) {
    const std::string name = std::string(ir::op_name(op)) + std::to_string(cases.size());
    cases.push_back({name, op, std::move(attrs), std::move(inputs), 1, outputs, 0});
  }
};

void add_transposes(Movement& m) {
  for (DType dtype : {DType::kFloat32, DType::kUInt8, DType::kFloat16, DType::kInt64}) {
    m.add(Op::kTranspose, ir::PermAttrs{{0, 3, 1, 2}}, {random_tensor(dtype, {2, 5, 7, 3}, 0, 99)});
    m.add(Op::kTranspose, ir::PermAttrs{{0, 2, 3, 1}}, {random_tensor(dtype, {2, 17, 5, 7}, 0, 99)});
    m.add(Op::kTranspose, ir::PermAttrs{{1, 0}}, {random_tensor(dtype, {130, 257}, 0, 99)});
    m.add(Op::kTranspose, ir::PermAttrs{{0, 2, 1, 3}}, {random_tensor(dtype, {2, 9, 4, 16}, 0, 99)});
    m.add(Op::kTranspose, ir::PermAttrs{{3, 2, 1, 0}}, {random_tensor(dtype, {4, 3, 1, 6}, 0, 99)});
    m.add(Op::kTranspose, ir::PermAttrs{{0, 1}}, {random_tensor(dtype, {4, 3}, 0, 99)});
    for (int64_t few : {2, 3, 4}) {  // woven to one row, and taken apart again
      m.add(Op::kTranspose, ir::PermAttrs{{0, 1, 3, 2}}, {random_tensor(dtype, {2, 9, few, 29}, 0, 99)});
      m.add(Op::kTranspose, ir::PermAttrs{{0, 1, 3, 2}}, {random_tensor(dtype, {2, 9, 29, few}, 0, 99)});
      m.add(Op::kTranspose, ir::PermAttrs{{0, 3, 1, 2}}, {random_tensor(dtype, {2, 41, 53, few}, 0, 99)});
      m.add(Op::kTranspose, ir::PermAttrs{{0, 2, 1}}, {random_tensor(dtype, {1, few, 2173}, 0, 99)});
    }
    m.add(Op::kTranspose, ir::PermAttrs{{0, 3, 2, 1}}, {random_tensor(dtype, {2, 3, 5, 4}, 0, 99)});
  }
  m.add(Op::kTranspose, ir::PermAttrs{{1, 0}}, {random_floats({0, 3})});
  m.add(Op::kTranspose, ir::PermAttrs{{2, 0, 1}}, {random_floats({33, 41, 67})});
}

void add_joins(Movement& m) {
  for (int64_t axis : {0, 1, 2}) {
    ir::Dims a = {3, 4, 5}, b = {3, 4, 5}, empty = {3, 4, 5};
    b[static_cast<size_t>(axis)] = 7;
    empty[static_cast<size_t>(axis)] = 0;
    m.add(Op::kConcat, ir::AxisAttrs{axis},
          {random_floats(a), random_floats(b), random_floats(empty), random_floats(a)});
    m.add(Op::kPack, ir::AxisAttrs{axis}, {random_floats({4, 5}), random_floats({4, 5}), random_floats({4, 5})});
    m.add(Op::kUnpack, ir::UnpackAttrs{axis}, {random_tensor(DType::kUInt8, {3, 3, 3}, 0, 99)}, 3);
    m.add(Op::kSplit, ir::SplitAttrs{axis, {}}, {random_floats({6, 6, 6})}, 3);
    m.add(Op::kSplit, ir::SplitAttrs{axis, {1, 0, 5}}, {random_floats({6, 6, 6})}, 3);
  }
  m.add(Op::kConcat, ir::AxisAttrs{1}, {random_floats({50, 600}), random_floats({50, 700})});
  // Runs of every length near those that are moved without a call.
  for (int64_t run : {1, 2, 3, 5, 8, 15, 16, 17, 31, 33, 63, 64, 65, 90, 255, 257}) {
    m.add(Op::kConcat, ir::AxisAttrs{2},
          {random_tensor(DType::kUInt8, {3, 41, run}, 0, 99), random_tensor(DType::kUInt8, {3, 41, run + 1}, 0, 99)});
    m.add(Op::kSplit, ir::SplitAttrs{1, {run, 3}}, {random_floats({700, run + 3})}, 2);
  }
}

void add_slices(Movement& m) {
  const auto x = random_floats({5, 7, 9});
  m.add(Op::kSlice, ir::EmptyAttrs{}, {x, ints({3}, {1, 0, 2}), ints({3}, {2, -1, 3})});
  m.add(Op::kSlice, ir::EmptyAttrs{}, {x, ints({3}, {5, 0, 0}), ints({3}, {0, 7, 9})});
  m.add(Op::kSlice, ir::EmptyAttrs{}, {random_floats({300, 400}), ints({2}, {1, 3}), ints({2}, {290, 390})});
  m.add(Op::kStridedSlice, ir::StridedSliceAttrs{},
        {x, ints({3}, {0, -1, 8}), ints({3}, {5, 0, 0}), ints({3}, {2, -2, -3})});
  ir::StridedSliceAttrs masks;
  masks.begin_mask = 1;
  masks.ellipsis_mask = 2;
  masks.shrink_axis_mask = 4;
  m.add(Op::kStridedSlice, masks, {x, ints({3}, {0, 0, -1}), ints({3}, {3, 0, 0}), ints({3}, {1, 1, 1})});
  masks = {};
  masks.new_axis_mask = 1;
  m.add(Op::kStridedSlice, masks, {x, ints({2}, {0, 4}), ints({2}, {0, 2}), ints({2}, {1, 1})});
  m.add(Op::kReverse, ir::AxesAttrs{{0, 2}}, {x});
  m.add(Op::kReverse, ir::AxesAttrs{{1}}, {random_tensor(DType::kUInt8, {3, 0, 2})});
  m.add(Op::kPad, ir::PadAttrs{}, {x, ints({3, 2}, {1, 2, 0, 0, 3, 1}), floats({}, {7})});
  m.add(Op::kPad, ir::PadAttrs{},
        {random_tensor(DType::kInt64, {2, 3}, 0, 9), ints({2, 2}, {0, 1, 1, 0}),
         tensor<int64_t>(DType::kInt64, {}, {-3})});
  m.add(Op::kPad, ir::PadAttrs{},
        {random_floats({1, 60, 60, 16}), ints({4, 2}, {0, 0, 1, 1, 1, 1, 0, 0}), floats({}, {0})});
  for (ir::PadMode mode : {ir::PadMode::kReflect, ir::PadMode::kSymmetric}) {
    m.add(Op::kPad, ir::PadAttrs{mode}, {x, ints({3, 2}, {1, 2, 0, 0, 3, 1})});
    m.add(Op::kPad, ir::PadAttrs{mode}, {random_floats({2, 30, 41, 7}), ints({4, 2}, {0, 0, 3, 3, 4, 2, 0, 0})});
    m.add(Op::kPad, ir::PadAttrs{mode}, {random_tensor(DType::kUInt8, {13}, 0, 99), ints({1, 2}, {2, 12})});
    m.add(Op::kPad, ir::PadAttrs{mode}, {random_floats({3, 4}), ints({2, 2}, {0, 0, 0, 0})});
  }
  m.add(Op::kPad, ir::PadAttrs{ir::PadMode::kSymmetric},
        {random_tensor(DType::kInt64, {0, 4}, 0, 9), ints({2, 2}, {0, 0, 1, 2})});
}

void add_blocks(Movement& m) {
  m.add(Op::kDepthToSpace, ir::BlockAttrs{2}, {random_floats({2, 3, 5, 12})});
  m.add(Op::kDepthToSpace, ir::BlockAttrs{3}, {random_tensor(DType::kUInt8, {1, 2, 2, 9}, 0, 99)});
  m.add(Op::kSpaceToDepth, ir::BlockAttrs{2}, {random_floats({2, 4, 6, 3})});
  m.add(Op::kSpaceToBatch, ir::EmptyAttrs{},
        {random_floats({2, 5, 7, 3}), ints({2}, {2, 3}), ints({2, 2}, {1, 2, 0, 2})});
  m.add(Op::kSpaceToBatch, ir::EmptyAttrs{}, {random_floats({1, 4, 3}), ints({1}, {4}), ints({1, 2}, {5, 3})});
  m.add(Op::kBatchToSpace, ir::EmptyAttrs{},
        {random_floats({12, 4, 3, 3}), ints({2}, {2, 3}), ints({2, 2}, {1, 2, 0, 2})});
}

void add_indexing(Movement& m) {
  const auto x = random_floats({5, 7, 9});
  for (int64_t axis : {0, 1, 2}) m.add(Op::kGather, ir::GatherAttrs{axis, 0}, {x, ints({2, 3}, {0, 4, 1, 1, 3, 2})});
  m.add(Op::kGather, ir::GatherAttrs{2, 1}, {x, ints({5, 2}, {0, 8, 1, 1, 3, 2, 7, 0, 5, 5})});
  m.add(Op::kGather, ir::GatherAttrs{0, 0}, {x, tensor<int64_t>(DType::kInt64, {}, {4})});
  m.add(Op::kGather, ir::GatherAttrs{0, 0},
        {random_floats({1000, 64}), random_tensor(DType::kInt32, {3, 200}, 0, 1000)});
  m.add(Op::kGatherNd, ir::EmptyAttrs{}, {x, ints({2, 2}, {4, 6, 0, 1})});
  m.add(Op::kGatherNd, ir::EmptyAttrs{}, {x, tensor<int64_t>(DType::kInt64, {1, 3}, {4, 6, 8})});
  for (int64_t axis : {0, 1}) {
    m.add(Op::kOneHot, ir::AxisAttrs{axis},
          {ints({4}, {0, -1, 2, 3}), ints({}, {3}), floats({}, {2}), floats({}, {-1})});
  }
}

void add_shapes(Movement& m) {
  const auto x = random_floats({3, 1, 5});
  m.add(Op::kIdentity, ir::IdentityAttrs{}, {x});
  m.add(Op::kEnsureShape, ir::EnsureShapeAttrs{{-1, 1, 5}}, {x});
  m.add(Op::kReshape, ir::EmptyAttrs{}, {x, ints({2}, {5, -1})});
  m.add(Op::kExpandDims, ir::AxisAttrs{1}, {x});
  m.add(Op::kSqueeze, ir::AxesAttrs{}, {x});
  m.add(Op::kTile, ir::EmptyAttrs{}, {x, ints({3}, {2, 3, 1})});
  m.add(Op::kTile, ir::EmptyAttrs{}, {x, ints({3}, {1, 1, 4})});
  m.add(Op::kTile, ir::EmptyAttrs{}, {x, ints({3}, {1, 0, 4})});
  m.add(Op::kTile, ir::EmptyAttrs{}, {random_floats({1, 900, 4}), ints({3}, {1, 1, 8})});
  m.add(Op::kTranspose, ir::PermAttrs{{0, 2, 1}}, {random_floats({2, 0, 3})});
  m.add(Op::kTranspose, ir::PermAttrs{{0, 2, 1}}, {random_floats({0, 5, 3})});
  m.add(Op::kBroadcastTo, ir::EmptyAttrs{}, {x, ints({4}, {2, 3, 4, 5})});
  m.add(Op::kBroadcastTo, ir::EmptyAttrs{}, {floats({}, {3}), ints({2}, {100, 300})});
  m.add(Op::kFill, ir::EmptyAttrs{}, {ints({2}, {3, 4}), floats({}, {3})});
}

}  // namespace

std::vector<Case> movement_cases() {
  Movement m;
  add_transposes(m);
  add_joins(m);
  add_slices(m);
  add_blocks(m);
  add_indexing(m);
  add_shapes(m);
  return m.cases;
}

}  // namespace blade::backends
