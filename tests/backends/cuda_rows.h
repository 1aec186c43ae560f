// What the tests of CUDA kernels share: operands on the device, float16 forms of cases, comparison with the reference.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <iostream>
#include <optional>
#include <set>
#include <thread>

#include "backends/cpu_cases.h"
#include "backends/cuda/loader.h"
#include "ir/half_types.h"

namespace blade::backends {

// A row and the type of 16 bits that it read or wrote; where there is none, the type of its result.
using Form = std::pair<std::string, ir::DType>;
inline std::set<Form>& exercised() {
  static std::set<Form> forms;
  return forms;
}
inline Form form_of(const KernelEntry& row, const std::vector<ir::TensorPtr>& inputs,
                    const std::vector<ir::TensorPtr>& results) {
  for (const auto* tensors : {&inputs, &results}) {
    for (const ir::TensorPtr& t : *tensors) {
      if (t != nullptr && ir::is_half(t->dtype)) return {row.name, t->dtype};
    }
  }
  return {row.name, results.at(0)->dtype};
}

// Rows that a library of NVIDIA's keeps from work by not being there.
inline std::set<std::string>& absent() {
  static std::set<std::string> names;
  return names;
}

// Float32 operands stored as float16.
inline ir::TensorPtr halved(const ir::TensorPtr& t) {
  if (t->dtype != ir::DType::kFloat32) return t;
  std::vector<Float16> values;
  for (int64_t i = 0; i < t->element_count(); ++i) values.emplace_back(static_cast<float>(element(*t, i)));
  return tensor<Float16>(ir::DType::kFloat16, t->dims, values);
}

inline Case in_half(Case c) {
  c.name += "_f16";
  for (ir::TensorPtr& t : c.inputs) t = halved(t);
  c.tolerance = std::max(c.tolerance, 4e-3);
  return c;
}

inline bool in_float16(const ir::TensorPtr& t) { return t != nullptr && t->dtype == ir::DType::kFloat16; }

inline bool has_float16(const Case& c) {
  const auto* cast = std::get_if<ir::CastAttrs>(&c.attrs);
  return std::any_of(c.inputs.begin(), c.inputs.end(), in_float16) ||
         (cast != nullptr && cast->to == ir::DType::kFloat16);
}

// What is float16 in bfloat16, which keeps three bits less.
inline Case with_bfloat16(Case c) {
  c.name += "_as_bf16";
  for (ir::TensorPtr& t : c.inputs) {
    if (!in_float16(t)) continue;
    std::vector<BFloat16> values;
    for (int64_t i = 0; i < t->element_count(); ++i) values.emplace_back(static_cast<float>(element(*t, i)));
    t = tensor<BFloat16>(ir::DType::kBFloat16, t->dims, values);
  }
  if (auto* cast = std::get_if<ir::CastAttrs>(&c.attrs); cast != nullptr && cast->to == ir::DType::kFloat16) {
    cast->to = ir::DType::kBFloat16;
  }
  c.tolerance *= 8;
  return c;
}

// Those with operands or a result in float16, in bfloat16.
inline std::vector<Case> with_bfloat16(const std::vector<Case>& cases) {
  std::vector<Case> made;
  for (const Case& c : cases) {
    if (has_float16(c)) made.push_back(with_bfloat16(c));
  }
  return made;
}

// fn(i) for all i below `count`, on all cores.
template <class Fn>
void in_parallel(size_t count, Fn fn) {
  std::atomic<size_t> next = 0;
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < std::max(1u, std::thread::hardware_concurrency()); ++t) {
    threads.emplace_back([&] {
      for (size_t i = next++; i < count; i = next++) fn(i);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

using References = std::vector<Result<std::vector<ir::TensorPtr>>>;
// What the reference kernels give: most of a test's time.
inline References references_of(const std::vector<Case>& cases) {
  References all(cases.size(), unavailable("not computed"));
  in_parallel(cases.size(), [&](size_t i) { all[i] = run_reference(cases[i]); });
  return all;
}

// A kernel's operands on the device; outputs are poisoned, with a guard behind each.
class Operands {
 public:
  static Result<Operands> create(Device& device, const Kernel& kernel, const std::vector<ir::TensorPtr>& inputs,
                                 const std::vector<ir::TensorPtr>& want) {
    Operands made;
    for (size_t i = 0; i < inputs.size(); ++i) {
      BLADE_ASSIGN_OR_RETURN(DeviceBuffer buffer, device.upload(inputs[i]->data, inputs[i]->bytes));
      made.in_.push_back(kernel.reads_input(static_cast<int>(i)) ? buffer.data() : nullptr);
      made.buffers_.push_back(std::move(buffer));
    }
    for (const ir::TensorPtr& t : want) {
      const std::vector<std::byte> poison(t->bytes + kGuard, std::byte{0xff});  // NaN in every floating type
      BLADE_ASSIGN_OR_RETURN(DeviceBuffer buffer, device.upload(poison.data(), poison.size()));
      made.out_.push_back(buffer.data());
      made.sizes_.push_back(t->bytes);
      made.buffers_.push_back(std::move(buffer));
    }
    BLADE_ASSIGN_OR_RETURN(DeviceBuffer scratch, device.allocate(kernel.scratch_bytes() + 1));
    made.scratch_ = scratch.data();
    made.buffers_.push_back(std::move(scratch));
    return made;
  }

  KernelArgs args(DeviceQueue& queue) const {
    KernelArgs args;
    args.inputs = in_;
    args.outputs = out_;
    args.scratch = scratch_;
    args.queue = queue.handle();
    return args;
  }

  // All outputs one after another.
  Result<std::vector<std::byte>> results(DeviceQueue& queue) const {
    std::vector<std::byte> all;
    for (size_t o = 0; o < out_.size(); ++o) {
      std::vector<std::byte> got(sizes_[o] + kGuard);
      BLADE_RETURN_IF_ERROR(queue.copy_to_host(got.data(), static_cast<const std::byte*>(out_[o]), got.size()));
      BLADE_RETURN_IF_ERROR(queue.wait());
      for (size_t i = 0; i < kGuard; ++i) {
        if (got[sizes_[o] + i] != std::byte{0xff}) return internal_error("wrote behind output " + std::to_string(o));
      }
      all.insert(all.end(), got.begin(), got.end() - kGuard);
    }
    return all;
  }

 private:
  static constexpr size_t kGuard = 256;
  std::vector<DeviceBuffer> buffers_;
  std::vector<const void*> in_;
  std::vector<void*> out_;
  std::vector<size_t> sizes_;
  std::byte* scratch_ = nullptr;
};

inline Result<std::vector<std::byte>> run_on(Device& device, const Kernel& kernel,
                                             const std::vector<ir::TensorPtr>& inputs,
                                             const std::vector<ir::TensorPtr>& want) {
  BLADE_ASSIGN_OR_RETURN(auto queue, device.create_queue());
  BLADE_ASSIGN_OR_RETURN(const Operands operands, Operands::create(device, kernel, inputs, want));
  BLADE_RETURN_IF_ERROR(kernel.run(operands.args(*queue)));
  BLADE_RETURN_IF_ERROR(queue->wait());
  return operands.results(*queue);
}

inline void expect_results(const std::vector<std::byte>& got, const Case& c, const std::vector<ir::TensorPtr>& want,
                           const std::string& name) {
  size_t at = 0;
  for (const ir::TensorPtr& t : want) {
    // Even where the CPU agrees to the bit, float arithmetic on another machine does not.
    const bool exact = !ir::is_floating(t->dtype);
    expect_equal(*t, got.data() + at, exact ? 0 : std::max(c.tolerance, 2e-5), name + " on " + c.name);
    at += t->bytes;
  }
}

inline void check_kernel(Device& device, const KernelEntry& row, const KernelRequest& request, const Case& c,
                         const std::vector<ir::TensorPtr>& inputs, const std::vector<ir::TensorPtr>& want,
                         PackCache& packs) {
  const Support support = row.supports(request);
  if (!support.ok) {
    EXPECT_FALSE(support.reason.empty()) << row.name;
    if (support.reason.find("was not found") != std::string::npos) absent().insert(row.name);
    return;
  }
  const auto kernel = row.create(request, packs);
  if (!kernel.ok() && kernel.status().code() == StatusCode::kUnavailable) {  // the planner takes another row
    std::cout << row.name << " on " << c.name << ": " << kernel.status().message() << '\n';
    return;
  }
  ASSERT_TRUE(kernel.ok()) << row.name << " on " << c.name << ": " << kernel.status().message();
  const auto got = run_on(device, **kernel, inputs, want);
  ASSERT_TRUE(got.ok()) << row.name << " on " << c.name << ": " << got.status().message();
  exercised().insert(form_of(row, inputs, want));
  expect_results(*got, c, want, row.name);
}

// Two nodes that one kernel computes: what `first` makes is input `input` of `second`.
struct PairCase {
  Case first, second;
  size_t input = 0;
  std::optional<bool> is_taken = std::nullopt;  // by a row; without: not looked at
};

inline void check_typed_pairs(const std::vector<PairCase>& pairs) {
  const auto& card = cuda_device();
  if (!card.ok()) GTEST_SKIP() << "needs a GPU: " << card.status().message();
  std::vector<Case> firsts, seconds;
  for (const PairCase& pair : pairs) firsts.push_back(pair.first);
  const References betweens = references_of(firsts);
  for (size_t i = 0; i < pairs.size(); ++i) {
    ASSERT_TRUE(betweens[i].ok()) << firsts[i].name << ": " << betweens[i].status().message();
    seconds.push_back(pairs[i].second);
    seconds.back().inputs[pairs[i].input] = (*betweens[i])[0];
  }
  const References wants = references_of(seconds);
  for (size_t i = 0; i < pairs.size(); ++i) {
    PairCase pair = pairs[i];
    pair.second = seconds[i];
    const auto &between = betweens[i], &want = wants[i];
    ASSERT_TRUE(want.ok()) << pair.second.name << ": " << want.status().message();
    const CaseGraph first = make_graph(pair.first), second = make_graph(pair.second);
    KernelRequest producer = make_request(pair.first, first.graph.node(first.node), *between, 1);
    KernelRequest request = make_request(pair.second, second.graph.node(second.node), *want, 1);
    producer.device = request.device = *card;
    request.producer = &producer;
    request.producer_input = pair.input;
    std::vector<ir::TensorPtr> inputs = pair.first.inputs;
    for (size_t k = 0; k < pair.second.inputs.size(); ++k) {
      if (k != pair.input) inputs.push_back(pair.second.inputs[k]);
    }
    PackCache packs;  // rows pack alike what they name alike
    bool is_taken = false;
    for (const KernelEntry& row : (*card)->fused_kernels()) {
      if (row.op != pair.second.op) continue;
      is_taken = is_taken || row.supports(request).ok;
      check_kernel(**card, row, request, pair.second, inputs, *want, packs);
      if (::testing::Test::HasFatalFailure()) return;
    }
    EXPECT_EQ(is_taken, pair.is_taken.value_or(is_taken)) << pair.second.name << " of " << pair.first.name;
  }
}

// And what is float16 in bfloat16.
inline void check_pairs(const std::vector<PairCase>& pairs) {
  check_typed_pairs(pairs);
  std::vector<PairCase> brains = pairs;
  std::erase_if(brains, [](const PairCase& pair) { return !has_float16(pair.first) && !has_float16(pair.second); });
  for (PairCase& pair : brains) {
    pair.first = with_bfloat16(pair.first);
    pair.second = with_bfloat16(pair.second);
  }
  if (!::testing::Test::HasFatalFailure() && !::testing::Test::IsSkipped()) check_typed_pairs(brains);
}

// Whether the rows of warp groups ("wgmma") are to be had.
inline bool has_warp_groups() { return cuda_device().ok() && (*cuda_device())->info().capability == 90; }

// Every row whose name has `part` in it; if that is no empty one, some of them have to take each case. What is float16
// in bfloat16, too.
inline void check_rows(std::vector<Case> cases, const std::string& part) {
  const auto& card = cuda_device();
  if (!card.ok()) GTEST_SKIP() << "needs a GPU: " << card.status().message();
  for (Case& c : with_bfloat16(cases)) cases.push_back(std::move(c));
  const References references = references_of(cases);
  for (size_t i = 0; i < cases.size(); ++i) {
    const Case& c = cases[i];
    const auto& want = references[i];
    ASSERT_TRUE(want.ok()) << c.name << ": " << want.status().message();
    bool empty = false;
    for (const ir::TensorPtr& t : *want) empty = empty || t->bytes == 0;
    if (empty) continue;  // the planner makes no step of it
    const CaseGraph made = make_graph(c);
    KernelRequest request = make_request(c, made.graph.node(made.node), *want, 1);
    request.device = *card;
    PackCache packs;  // rows pack alike what they name alike
    bool is_taken = part.empty();
    for (const KernelEntry& row : (*card)->kernels()) {
      if (row.op != c.op || std::string(row.name).find(part) == std::string::npos) continue;
      is_taken = is_taken || row.supports(request).ok;
      check_kernel(**card, row, request, c, c.inputs, *want, packs);
      if (::testing::Test::HasFatalFailure()) return;
    }
    EXPECT_TRUE(is_taken) << part << " takes no " << c.name;
  }
}

inline void check_all(const std::vector<Case>& cases) { check_rows(cases, ""); }

// Every row on the least work that it takes.
inline void check_smallest(const std::vector<Case>& cases) {
  const auto& card = cuda_device();
  if (!card.ok()) GTEST_SKIP() << "needs a GPU: " << card.status().message();
  struct Prepared {
    const Case* c;
    std::vector<ir::TensorPtr> want;
    int64_t work;
  };
  std::vector<Prepared> prepared;
  const References references = references_of(cases);
  for (size_t i = 0; i < cases.size(); ++i) {
    const Case& c = cases[i];
    const auto& want = references[i];
    ASSERT_TRUE(want.ok()) << c.name << ": " << want.status().message();
    const int64_t depth = c.inputs[1]->element_count() / (*want)[0]->dims.back();
    prepared.push_back({&c, *want, (*want)[0]->element_count() * depth});
  }
  std::stable_sort(prepared.begin(), prepared.end(),
                   [](const Prepared& a, const Prepared& b) { return a.work < b.work; });
  for (const KernelEntry& row : (*card)->kernels()) {
    for (const Prepared& p : prepared) {
      const CaseGraph made = make_graph(*p.c);
      KernelRequest request = make_request(*p.c, made.graph.node(made.node), p.want, 1);
      request.device = *card;
      if (row.op != p.c->op || !row.supports(request).ok) continue;
      PackCache packs;
      check_kernel(**card, row, request, *p.c, p.c->inputs, p.want, packs);
      if (::testing::Test::HasFatalFailure()) return;
      break;
    }
  }
}

inline std::vector<Case> in_half(const std::vector<Case>& cases) {
  std::vector<Case> half;
  for (const Case& c : cases) half.push_back(in_half(c));
  return half;
}

}  // namespace blade::backends
