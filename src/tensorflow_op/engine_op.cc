// BladeInProfile: whether the engine takes these inputs. BladeEngine: runs it on them. Together with the original graph
// in the other branch they make the fallback: whatever the engine cannot do right, TensorFlow does.
#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "tensorflow_op/engine_registry.h"
#include "tensorflow_op/kernels.h"
#include "tensorflow_op/tf_support.h"

namespace blade::tensorflow_op {
namespace {

// Some of the op's inputs; `held` keeps their buffers for the length of the call.
struct Inputs {
  std::vector<TensorPtr> held;
  std::vector<blade_tensor> tensors;
};

// `count` inputs after the engine's bytes and `first` others. False with the op failed when TensorFlow gives no input;
// an input that Blade cannot describe makes `describable` false.
bool get_inputs(TF_OpKernelContext* context, int first, int count, Inputs& inputs, bool& describable) {
  inputs.held.reserve(count);
  inputs.tensors.resize(count);
  for (int i = 0; i < count; ++i) {
    TensorPtr tensor = get_input(context, 1 + first + i);
    if (!tensor) return false;
    describable = describable && describe(tensor.get(), &inputs.tensors[i]);
    inputs.held.push_back(std::move(tensor));
  }
  return true;
}

bool is_same(const blade_tensor& a, const blade_tensor& b) {
  return a.rank == b.rank && std::equal(a.dims, a.dims + a.rank, b.dims) && a.bytes == b.bytes &&
         (a.bytes == 0 || std::memcmp(a.data, b.data, a.bytes) == 0);
}

class InProfileKernel {
 public:
  explicit InProfileKernel(TF_OpKernelConstruction* context) {
    const TF_StringView name = TF_OpKernelConstruction_GetName(context);
    name_.assign(name.data, name.len);
    StatusPtr status = new_status();
    int32_t bytes = 0;
    TF_OpKernelConstruction_GetAttrSize(context, "Tdefault", &defaults_, &bytes, status.get());
    if (TF_GetCode(status.get()) != TF_OK) defaults_ = 0;
    unsigned char fallback_counts = 0;
    TF_OpKernelConstruction_GetAttrBool(context, "fallback_counts", &fallback_counts, status.get());
    fallback_counts_ = TF_GetCode(status.get()) == TF_OK && fallback_counts != 0;
  }

  void compute(TF_OpKernelContext* context) {
    TensorPtr file = get_input(context, 0);
    Inputs inputs, given, defaults;
    bool describable = true;
    const int count = TF_NumInputs(context) - 1 - 2 * defaults_;
    if (!file || !get_inputs(context, 0, count, inputs, describable) ||
        !get_inputs(context, count, defaults_, given, describable) ||
        !get_inputs(context, count + defaults_, defaults_, defaults, describable)) {
      return;
    }
    const auto engine = engine_.get(std::move(file), find_or_load);
    std::string why_not;
    if (engine->get() == nullptr) {
      why_not = engine->error();
    } else if (!describable) {
      why_not = "an input has a type or rank that Blade has none for";
    } else if (!std::equal(given.tensors.begin(), given.tensors.end(), defaults.tensors.begin(), is_same)) {
      why_not = "a placeholder is fed another value or rank than the engine was built for";
    } else if (blade_engine_prepare(engine->get(), inputs.tensors.data(), static_cast<int32_t>(inputs.tensors.size()),
                                    nullptr, 0) != BLADE_OK) {
      why_not = blade_last_error();
    }
    if (!why_not.empty()) {
      engine->note_fallback(why_not + " (node '" + name_ + "'; further runs of this engine are only counted)");
      if (!fallback_counts_) count_fallback(*engine, "without its weights as constants: optimize the model again");
    }
    set_bool(context, why_not.empty());
  }

 private:
  TensorMemo<LoadedEngine> engine_;
  std::string name_;
  int32_t defaults_ = 0;  // placeholders whose default the engine took for given
  // Whether BladeOriginalReady counts, which knows where the original graph runs; graphs of older Blades have none.
  bool fallback_counts_ = false;
};

// Hands TensorFlow's own output buffers to the engine.
struct OutputAllocator {
  TF_OpKernelContext* context;
  std::vector<TensorPtr> held;

  static void* allocate(void* self, int32_t index, const blade_tensor* description) {
    auto* allocator = static_cast<OutputAllocator*>(self);
    StatusPtr status = new_status();
    TensorPtr tensor(TF_AllocateOutput(allocator->context, index, to_tensorflow(description->dtype), description->dims,
                                       description->rank, description->bytes, status.get()));
    if (TF_GetCode(status.get()) != TF_OK || !tensor) return nullptr;
    void* data = TF_TensorData(tensor.get());
    allocator->held.push_back(std::move(tensor));
    static char empty;  // a zero-sized tensor may have no memory
    return data != nullptr ? data : &empty;
  }
};

class EngineKernel {
 public:
  explicit EngineKernel(TF_OpKernelConstruction*) {}

  void compute(TF_OpKernelContext* context) {
    TensorPtr file = get_input(context, 0);
    Inputs inputs;
    bool describable = true;
    if (!file || !get_inputs(context, 0, TF_NumInputs(context) - 1, inputs, describable)) return;
    const auto engine = engine_.get(std::move(file), find_or_load);
    if (engine->get() == nullptr) return fail(context, TF_FAILED_PRECONDITION, "Blade: " + engine->error());
    if (!describable)
      return fail(context, TF_UNIMPLEMENTED, "Blade: an input has a type or rank that Blade has none for");
    OutputAllocator allocator{context, {}};
    const blade_status status =
        blade_engine_run_with(engine->get(), inputs.tensors.data(), static_cast<int32_t>(inputs.tensors.size()),
                              OutputAllocator::allocate, &allocator);
    if (status != BLADE_OK) fail_with_last_error(context, status);
  }

 private:
  TensorMemo<LoadedEngine> engine_;
};

}  // namespace

void register_engine_kernels() {
  register_cpu_kernel<InProfileKernel>("BladeInProfile");
  register_cpu_kernel<EngineKernel>("BladeEngine");
}

}  // namespace blade::tensorflow_op
