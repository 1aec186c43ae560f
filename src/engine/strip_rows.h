// Steps that compute images row by row: which rows of its operands a step reads for some rows of its result, and the
// same step for those rows alone.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "backends/kernel.h"
#include "engine/fusion.h"

namespace blade::engine {

struct RowRange {
  int64_t begin = 0, end = 0;
  int64_t count() const { return end - begin; }
};

// Rows [a, b) of the result read rows [a / up * stride - pad, ((b - 1) / up) * stride - pad + reach) of the operand,
// those beyond the image aside.
struct RowWindow {
  int64_t stride = 1, reach = 1, pad = 0, up = 1;
  bool all = false;  // no image with these rows: each row of the result reads all of it

  RowRange rows(RowRange out) const;       // may begin and end beyond the image
  int64_t computable(int64_t rows) const;  // rows of the result that the first `rows` of the operand suffice for
};

// One of several steps that could run strip by strip: one node, or those that share its step, producers first.
struct StripStep {
  std::vector<backends::KernelRequest> requests;  // each but the first points to the one before it
  const backends::KernelEntry* entry = nullptr;
  std::vector<ir::ValueId> inputs;  // as Fusion::step_inputs()
  ir::ValueId output = ir::kNone;
  std::vector<RowWindow> windows;  // one an input
  std::vector<backends::TensorDesc> input_descs;
  std::vector<char> is_constant;  // one an input
  int64_t unit = 1;               // rows of the result that strips have whole multiples of
  int64_t repeated = 0;           // rows between the nodes that two strips both compute

  const backends::TensorDesc& result() const { return requests.back().outputs[0]; }
  int64_t images() const { return result().dims[0]; }
  int64_t rows() const { return result().dims[1]; }
  // Bytes of one row of an image, and of what one image has of input `i`; 0 where all images share it.
  size_t row_bytes() const { return row_bytes(result()); }
  static size_t row_bytes(const backends::TensorDesc& desc);
  size_t image_bytes(size_t i) const;
};

// Nothing where the step does not go by rows, or gives other bits where it goes by strips.
std::optional<StripStep> strip_step(const ir::Graph& graph, const ir::Node& node, const Fusion& fusion,
                                    const Decisions& decisions, const PlanOptions& options);

// The step for some rows of one image, on so many threads.
struct StepPart {
  std::vector<std::unique_ptr<ir::Node>> nodes;   // with the paddings that are left
  std::vector<backends::KernelRequest> requests;  // as StripStep's
  std::vector<RowRange> inputs;                   // rows that the operands have; unused where a window is `all`
  std::string key;                                // parts with one key are the same work

  // Whether the step's row takes it and gives the same bits.
  bool is_like(const StripStep& step) const;
};
StepPart part_of(const StripStep& step, RowRange rows, int threads);

}  // namespace blade::engine
