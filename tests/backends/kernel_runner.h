// Runs single nodes on rows of kernel tables, for tests: random tensors, requests and comparison with the reference.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "backends/kernel.h"
#include "backends/reference/common.h"
#include "backends/reference/evaluate.h"
#include "base/checked_math.h"

namespace blade::backends {

template <class T>
ir::TensorPtr tensor(ir::DType dtype, ir::Dims dims, std::vector<T> values) {
  return ir::make_tensor<T>(dtype, std::move(dims), std::span<const T>(values));
}
inline ir::TensorPtr floats(ir::Dims dims, std::vector<float> values) {
  return tensor<float>(ir::DType::kFloat32, std::move(dims), std::move(values));
}
inline ir::TensorPtr ints(ir::Dims dims, std::vector<int32_t> values) {
  return tensor<int32_t>(ir::DType::kInt32, std::move(dims), std::move(values));
}
inline ir::TensorPtr bools(ir::Dims dims, std::vector<uint8_t> values) {
  return tensor<uint8_t>(ir::DType::kBool, std::move(dims), std::move(values));
}

// Uniform in [lo, hi), the same for the same dims and bounds.
inline ir::TensorPtr random_tensor(ir::DType dtype, ir::Dims dims, double lo = -2, double hi = 2) {
  const int64_t count = checked_element_count(dims).value_or(0);
  std::mt19937 generator(static_cast<uint32_t>(count * 31 + static_cast<int64_t>(dims.size())));
  std::uniform_real_distribution<double> uniform(lo, hi);
  auto made = ir::allocate_tensor(dtype, std::move(dims));
  EXPECT_TRUE(made.ok());
  reference::with_storage(dtype, [&]<class T>(T) {
    T* data = reinterpret_cast<T*>(made->data);
    for (int64_t i = 0; i < count; ++i) data[i] = reference::narrow<T, double>(uniform(generator), dtype);
  });
  return made->tensor;
}
inline ir::TensorPtr random_floats(ir::Dims dims, double lo = -2, double hi = 2) {
  return random_tensor(ir::DType::kFloat32, std::move(dims), lo, hi);
}

inline double element(const ir::Tensor& t, int64_t i) {
  return reference::with_storage(
      t.dtype, [&]<class T>(T) { return reference::widen<T, double>(reinterpret_cast<const T*>(t.data)[i]); });
}

struct Case {
  std::string name;
  ir::Op op;
  ir::Attrs attrs;
  std::vector<ir::TensorPtr> inputs;
  uint32_t variable_inputs = 1;  // bit i: input i is not a constant for selection
  int num_outputs = 1;
  double tolerance = 0;       // on absolute and relative error together; 0: bits must agree
  double mean_tolerance = 0;  // on the errors' root mean square, of that of the results; 0: not looked at
};

struct CaseGraph {
  ir::Graph graph;
  ir::NodeId node;
};

inline CaseGraph make_graph(const Case& c) {
  CaseGraph made;
  std::vector<ir::ValueId> inputs;
  for (const ir::TensorPtr& t : c.inputs) inputs.push_back(made.graph.add_constant(t));
  made.node = made.graph.add_node(c.op, c.name, inputs, c.num_outputs, c.attrs).id;
  return made;
}

inline Result<std::vector<ir::TensorPtr>> run_reference(const Case& c) {
  const CaseGraph made = make_graph(c);
  return evaluate_reference(made.graph, made.graph.node(made.node), c.inputs);
}

// -1 for the dims of outputs that only the data of the inputs decides.
inline void hide_found_dims(const Case& c, KernelRequest& request) {
  ir::Graph graph;
  std::vector<ir::ValueId> inputs;
  for (const ir::TensorPtr& t : c.inputs) {
    inputs.push_back(graph.add_input("in" + std::to_string(inputs.size()), t->dtype, ir::Shape::of(t->dims)));
  }
  const std::vector<ir::ValueId> outputs = graph.add_node(c.op, c.name, inputs, c.num_outputs, c.attrs).outputs;
  EXPECT_TRUE(ir::infer_shapes(graph).ok());
  for (size_t o = 0; o < outputs.size(); ++o) {
    if (!ir::finds_size_of(*request.node, static_cast<int>(o))) continue;
    for (size_t d = 0; d < request.outputs[o].dims.size(); ++d) {
      if (!graph.value(outputs[o]).shape.dim(static_cast<int>(d)).is_known()) request.outputs[o].dims[d] = -1;
    }
  }
}

// The machine that requests are made for: this one, unless a test says otherwise.
inline const Machine*& request_machine() {
  static const Machine* machine = &Machine::host();
  return machine;
}

inline KernelRequest make_request(const Case& c, const ir::Node& node, const std::vector<ir::TensorPtr>& outputs,
                                  int threads) {
  KernelRequest request;
  request.node = &node;
  for (size_t i = 0; i < c.inputs.size(); ++i) {
    request.inputs.push_back({c.inputs[i]->dtype, c.inputs[i]->dims});
    request.constants.push_back(((c.variable_inputs >> i) & 1) != 0 ? nullptr : c.inputs[i]);
  }
  for (const ir::TensorPtr& t : outputs) request.outputs.push_back({t->dtype, t->dims});
  if (ir::finds_its_size(node)) hide_found_dims(c, request);
  request.machine = request_machine();
  request.num_threads = threads;
  return request;
}

// Buffers with canaries behind them, so that a kernel that writes too far is caught.
class GuardedBuffer {
 public:
  explicit GuardedBuffer(size_t bytes) : bytes_(bytes), buffer_(AlignedBuffer::allocate(bytes + kGuard)) {
    std::memset(buffer_.data(), 0xa5, bytes + kGuard);
  }
  std::byte* data() { return buffer_.data(); }
  bool intact() const {
    for (size_t i = 0; i < kGuard; ++i) {
      if (buffer_.data()[bytes_ + i] != std::byte{0xa5}) return false;
    }
    return true;
  }

 private:
  static constexpr size_t kGuard = 64;
  size_t bytes_;
  AlignedBuffer buffer_;
};

// Gives outputs of unknown size the buffers that the expected answer needs.
class ExpectedSizes final : public OutputAllocator {
 public:
  ExpectedSizes(const std::vector<ir::TensorPtr>& want, std::vector<GuardedBuffer>& buffers)
      : want_(want), buffers_(buffers) {}
  void* allocate(int output, std::span<const int64_t> dims) override {
    const auto& expected = want_[static_cast<size_t>(output)]->dims;
    EXPECT_EQ(ir::Dims(dims.begin(), dims.end()), expected) << "of output " << output;
    if (ir::Dims(dims.begin(), dims.end()) != expected) return nullptr;
    return buffers_[static_cast<size_t>(output)].data();
  }

 private:
  const std::vector<ir::TensorPtr>& want_;
  std::vector<GuardedBuffer>& buffers_;
};

inline void expect_equal(const ir::Tensor& want, const std::byte* got, double tolerance, const std::string& what) {
  if (tolerance == 0) {
    EXPECT_EQ(want.bytes == 0 ? 0 : std::memcmp(want.data, got, want.bytes), 0) << what << ": bits differ";
    return;
  }
  ir::Tensor view = want;
  view.data = got;
  for (int64_t i = 0; i < want.element_count(); ++i) {
    const double w = element(want, i), g = element(view, i);
    const bool same = (std::isnan(w) && std::isnan(g)) || w == g || std::fabs(w - g) <= tolerance * (1 + std::fabs(w));
    ASSERT_TRUE(same) << what << ": element " << i << " is " << g << ", expected " << w;
  }
}

// By root mean squares: of rows whose single errors may be large.
inline void expect_close_on_average(const ir::Tensor& want, const std::byte* got, double tolerance,
                                    const std::string& what) {
  ir::Tensor view = want;
  view.data = got;
  double errors = 0, squares = 0;
  for (int64_t i = 0; i < want.element_count(); ++i) {
    const double w = element(want, i), error = element(view, i) - w;
    errors += error * error;
    squares += w * w;
  }
  EXPECT_LE(std::sqrt(errors), tolerance * std::sqrt(squares)) << what << ": off by too much on average";
}

inline std::string blocking_text(const Blocking& b) {
  if (b == Blocking()) return "";
  std::string text = " cut";
  for (const int part : {b.vectors, b.tile_parts, b.panel_parts, b.strip}) text += " " + std::to_string(part);
  return text;
}

// Runs one row on the request and compares with `want`. Also runs in place where the kernel says that it can.
inline void check_request(const KernelEntry& row, const Case& c, const std::vector<ir::TensorPtr>& want,
                          const KernelRequest& request) {
  PackCache packs;
  auto kernel = row.create(request, packs);
  EXPECT_TRUE(kernel.ok()) << row.name << ": " << kernel.status().message();
  if (!kernel.ok()) return;
  ThreadPool pool(request.num_threads);
  const std::string what = row.name + blocking_text(request.blocking) + " on " + c.name + ", " +
                           std::to_string(request.num_threads) + " threads";
  for (int shared = -1; shared < static_cast<int>(c.inputs.size()); ++shared) {
    if (shared >= 0 && !(*kernel)->can_run_in_place(shared)) continue;
    std::vector<GuardedBuffer> outputs;
    std::vector<const void*> in;
    std::vector<void*> out;
    for (const ir::TensorPtr& t : c.inputs) in.push_back(t->data);
    for (const ir::TensorPtr& t : want) outputs.emplace_back(t->bytes);
    for (size_t o = 0; o < want.size(); ++o) {
      out.push_back(request.outputs[o].is_static() ? outputs[o].data() : nullptr);
    }
    ExpectedSizes allocator(want, outputs);
    if (shared >= 0) {
      EXPECT_EQ(c.inputs[shared]->bytes, want[0]->bytes) << what << ": cannot run in place of a tensor of another size";
      std::memcpy(out[0], c.inputs[shared]->data, std::min(want[0]->bytes, c.inputs[shared]->bytes));
      in[shared] = out[0];
    }
    GuardedBuffer scratch((*kernel)->scratch_bytes());
    const Status status = (*kernel)->run({in, out, scratch.data(), &pool, &allocator});
    EXPECT_TRUE(status.ok()) << what << ": " << status.message();
    EXPECT_TRUE(scratch.intact()) << what << ": wrote behind the scratch";
    for (size_t o = 0; o < want.size(); ++o) {
      EXPECT_TRUE(outputs[o].intact()) << what << ": wrote behind output " << o;
      const std::string where = what + (shared >= 0 ? ", in place" : "");
      expect_equal(*want[o], outputs[o].data(), c.tolerance, where);
      if (c.mean_tolerance > 0) expect_close_on_average(*want[o], outputs[o].data(), c.mean_tolerance, where);
    }
  }
}

// The row on the case, in every way in which it can cut the work and in some that only a damaged file asks for; false
// if it refuses the case.
inline bool check_row(const KernelEntry& row, const Case& c, const std::vector<ir::TensorPtr>& want, int threads) {
  const CaseGraph made = make_graph(c);
  KernelRequest request = make_request(c, made.graph.node(made.node), want, threads);
  const Support support = row.supports(request);
  if (!support.ok) {
    EXPECT_FALSE(support.reason.empty()) << row.name;
    return false;
  }
  if (row.predicted_us != nullptr) {
    EXPECT_GT(row.predicted_us(request), 0) << row.name;
  }
  check_request(row, c, want, request);
  if (row.blockings == nullptr) return true;
  std::vector<Blocking> blockings = row.blockings(request);
  for (const int wild : {1, 3, 1 << 16}) blockings.push_back({0, wild, wild, wild, wild});
  for (const Blocking& blocking : blockings) {
    request.blocking = blocking;
    check_request(row, c, want, request);
  }
  return true;
}

}  // namespace blade::backends
