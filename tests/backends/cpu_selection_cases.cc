// Ops whose results' sizes depend on data: nothing selected, everything, one element, many.
#include "backends/cpu_cases.h"

namespace blade::backends {
namespace {

using ir::DType;
using ir::Op;

struct Cases {
  std::vector<Case> all;
  void add(Op op, ir::Attrs attrs, std::vector<ir::TensorPtr> inputs, int outputs = 1) {
    all.push_back({std::string(ir::op_name(op)) + std::to_string(all.size()), op, std::move(attrs), std::move(inputs),
                   ~0u, outputs, 0});
  }
};

ir::TensorPtr bools(ir::Dims dims, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<uint8_t> values(1);
  for (int64_t d : dims) values.resize(values.size() * static_cast<size_t>(d));
  for (uint8_t& v : values) v = static_cast<uint8_t>(seed < 2 ? seed : random() % 2);  // 0: none, 1: all
  return tensor<uint8_t>(DType::kBool, std::move(dims), std::move(values));
}

void add_suppression(Cases& m) {
  const auto scalar = [](float value) { return tensor<float>(DType::kFloat32, {}, {value}); };
  for (const int64_t boxes : {1, 7, 100, 1000}) {
    ir::TensorPtr corners = random_floats({boxes, 4}, 0, 1), scores = random_floats({boxes}, 0, 1);
    for (const int32_t most : {1, 20}) {
      for (const int64_t version : {3, 4}) {
        ir::NonMaxSuppressionAttrs attrs;
        attrs.version = version;
        m.add(Op::kNonMaxSuppression, attrs, {corners, scores, ints({}, {most}), scalar(0.3f), scalar(0.2f)},
              version == 3 ? 1 : 2);
      }
      for (const float sigma : {0.0f, 0.4f}) {
        ir::NonMaxSuppressionAttrs attrs;
        attrs.version = 5;
        m.add(Op::kNonMaxSuppression, attrs,
              {corners, scores, ints({}, {most}), scalar(0.8f), scalar(0.2f), scalar(sigma)}, 3);
      }
    }
  }
}

// Few different scores: many are equal.
ir::TensorPtr coarse_scores(ir::Dims dims, uint32_t levels) {
  std::mt19937 random(levels);
  std::vector<float> values(static_cast<size_t>(dims[0] * dims[1] * dims[2]));
  for (float& v : values) v = static_cast<float>(random() % levels) / static_cast<float>(levels);
  return tensor<float>(DType::kFloat32, std::move(dims), std::move(values));
}

void add_combined(Cases& m) {
  const auto scalar = [](float value) { return tensor<float>(DType::kFloat32, {}, {value}); };
  for (const int64_t boxes : {0, 1, 30, 200}) {
    for (const int64_t sets : {1, 19}) {
      for (const uint32_t levels : {5u, 1000000u}) {
        for (const int32_t most : {1, 7, 100}) {
          m.add(Op::kCombinedNonMaxSuppression, ir::CombinedNonMaxSuppressionAttrs{most == 7, levels == 5},
                {random_floats({2, boxes, sets, 4}, -0.2, 1.2), coarse_scores({2, boxes, 19}, levels), ints({}, {most}),
                 ints({}, {40}), scalar(0.4f), scalar(0.3f)},
                4);
          m.all.back().variable_inputs = 0b110011;  // the limits decide the outputs' sizes
        }
      }
    }
  }
}

}  // namespace

std::vector<Case> selection_cases() {
  Cases m;
  const std::vector<ir::Dims> shapes = {{0}, {1}, {17}, {3, 5}, {2, 0, 3}, {2, 3, 4, 5}, {1000}};
  for (const ir::Dims& dims : shapes) {
    for (const uint32_t seed : {0u, 1u, 2u}) m.add(Op::kWhere, ir::EmptyAttrs{}, {bools(dims, seed)});
  }
  for (const int64_t count : {0, 1, 13, 500}) {
    for (DType type : {DType::kFloat32, DType::kInt32, DType::kInt64, DType::kUInt8}) {
      const ir::TensorPtr x = random_tensor(type, {count}, 0, 20), y = random_tensor(type, {11}, 0, 20);
      for (DType index : {DType::kInt32, DType::kInt64}) {
        m.add(Op::kUnique, ir::PositionsAttrs{index}, {x}, 3);
        m.add(Op::kListDiff, ir::PositionsAttrs{index}, {x, y}, 2);
      }
    }
    const ir::TensorPtr parts = random_tensor(DType::kInt32, {count}, 0, 2);
    m.add(Op::kDynamicPartition, ir::EmptyAttrs{}, {random_floats({count, 3}), parts}, 3);
    m.add(Op::kDynamicPartition, ir::EmptyAttrs{}, {random_tensor(DType::kInt64, {count}, 0, 9), parts}, 3);
  }
  for (DType type : {DType::kFloat32, DType::kInt64, DType::kUInt8}) {
    const ir::TensorPtr list = random_tensor(type, {5, 3}, 0, 20);
    m.add(Op::kSetRows, ir::EmptyAttrs{}, {list, ints({}, {4}), random_tensor(type, {3}, 0, 20)});
    m.add(Op::kSetRows, ir::EmptyAttrs{}, {list, ints({2}, {3, 0}), random_tensor(type, {2, 3}, 0, 20)});
    m.add(Op::kAppendRow, ir::EmptyAttrs{}, {list, random_tensor(type, {3}, 0, 20)});
    m.add(Op::kAppendRow, ir::EmptyAttrs{}, {random_tensor(type, {0, 3}), random_tensor(type, {3}, 0, 20)});
  }
  for (const int64_t count : {0, 1, 40}) {
    for (const int64_t rows : {5, 60}) {
      const ir::TensorPtr at = random_tensor(DType::kInt64, {count, 2}, 0, 4);
      m.add(Op::kFillEmptyRows, ir::EmptyAttrs{},
            {at, random_floats({count}), tensor<int64_t>(DType::kInt64, {2}, {rows, 5}), random_floats({})}, 4);
      m.all.back().variable_inputs = 0b1011;  // the dense shape decides an output's size
    }
  }
  add_suppression(m);
  add_combined(m);
  return std::move(m.all);
}

}  // namespace blade::backends
