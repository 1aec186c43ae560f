// BladeEnginePiece: a part of a large engine file. BladeEngineFile: one small tensor for an engine that stands in
// several pieces, so that what runs, guards and replaces the engine takes one input, and a conditional passes on one.
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "tensorflow_op/engine_bytes.h"
#include "tensorflow_op/kernels.h"
#include "tensorflow_op/tf_support.h"

namespace blade::tensorflow_op {
namespace {

class EnginePieceKernel {
 public:
  explicit EnginePieceKernel(TF_OpKernelConstruction* construction) {
    StatusPtr status = new_status();
    TF_Tensor* value = nullptr;
    TF_OpKernelConstruction_GetAttrTensor(construction, "value", &value, status.get());
    value_.reset(value);
    if (TF_GetCode(status.get()) == TF_OK && TF_TensorType(value) != TF_UINT8)
      TF_SetStatus(status.get(), TF_INVALID_ARGUMENT, "Blade: a piece of an engine is not of type uint8");
    if (TF_GetCode(status.get()) != TF_OK) TF_OpKernelConstruction_Failure(construction, status.get());
  }

  void compute(TF_OpKernelContext* context) {
    StatusPtr status = new_status();
    TF_SetOutput(context, 0, value_.get(), status.get());
    if (TF_GetCode(status.get()) != TF_OK) TF_OpKernelContext_Failure(context, status.get());
  }

 private:
  TensorPtr value_;
};

class EngineFileKernel {
 public:
  explicit EngineFileKernel(TF_OpKernelConstruction*) {}

  void compute(TF_OpKernelContext* context) {
    std::vector<TensorPtr> pieces;
    std::vector<TensorKey> keys;
    for (int i = 0; i < TF_NumInputs(context); ++i) {
      pieces.push_back(get_input(context, i));
      if (!pieces.back()) return;
      keys.push_back(key_of(pieces.back().get()));
    }
    SharedTensor handle = find(keys);
    if (!handle) {
      // Whoever comes first makes the handle: one for all, and engines are found by it.
      const std::scoped_lock lock(making_);
      handle = find(keys);
      if (!handle) handle = make(keys, std::move(pieces));
    }
    if (!handle) return fail(context, TF_RESOURCE_EXHAUSTED, "Blade: there is no memory for a handle");
    StatusPtr status = new_status();
    TF_SetOutput(context, 0, handle.get(), status.get());
    if (TF_GetCode(status.get()) != TF_OK) TF_OpKernelContext_Failure(context, status.get());
  }

 private:
  struct Joined {
    std::vector<TensorKey> keys;
    SharedTensor handle;  // keeps the pieces, so that no others get their addresses
  };

  SharedTensor find(const std::vector<TensorKey>& keys) const {
    const std::shared_ptr<const Joined> last = std::atomic_load(&last_);
    return last && last->keys == keys ? last->handle : nullptr;
  }

  SharedTensor make(const std::vector<TensorKey>& keys, std::vector<TensorPtr> pieces) {
    SharedTensor handle = EngineBytes::make_handle(std::make_shared<EngineBytes>(
        std::vector<SharedTensor>(std::make_move_iterator(pieces.begin()), std::make_move_iterator(pieces.end()))));
    if (handle) std::atomic_store(&last_, std::make_shared<const Joined>(Joined{keys, handle}));
    return handle;
  }

  std::mutex making_;
  std::shared_ptr<const Joined> last_;  // accessed with std::atomic_load/store: kernels run concurrently
};

}  // namespace

void register_engine_file_kernels() {
  register_cpu_kernel<EnginePieceKernel>("BladeEnginePiece");
  register_cpu_kernel<EngineFileKernel>("BladeEngineFile");
}

}  // namespace blade::tensorflow_op
