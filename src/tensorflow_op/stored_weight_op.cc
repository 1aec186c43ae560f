// BladeStoredWeight: a weight of the original graph, read out of the engine tensor without a copy.
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/checksum.h"
#include "tensorflow_op/engine_registry.h"
#include "tensorflow_op/kernels.h"
#include "tensorflow_op/tf_support.h"

namespace blade::tensorflow_op {
namespace {

class StoredWeightKernel {
 public:
  explicit StoredWeightKernel(TF_OpKernelConstruction* construction) {
    StatusPtr status = new_status();
    const auto failed = [&] { return TF_GetCode(status.get()) != TF_OK; };
    TF_OpKernelConstruction_GetAttrInt64(construction, "offset", &offset_, status.get());
    if (!failed()) TF_OpKernelConstruction_GetAttrInt64(construction, "checksum", &checksum_, status.get());
    if (!failed()) TF_OpKernelConstruction_GetAttrType(construction, "dtype", &dtype_, status.get());
    int32_t count = 0, bytes = 0;
    if (!failed()) TF_OpKernelConstruction_GetAttrSize(construction, "dims", &count, &bytes, status.get());
    if (!failed() && count > 0) {
      dims_.resize(count);
      TF_OpKernelConstruction_GetAttrInt64List(construction, "dims", dims_.data(), count, status.get());
    }
    if (failed()) TF_OpKernelConstruction_Failure(construction, status.get());
  }

  void compute(TF_OpKernelContext* context) {
    TensorPtr file = get_input(context, 0);
    if (!file) return;
    std::shared_ptr<EngineBytes> engine = engine_.get(std::move(file), EngineBytes::of);
    if (!engine->error().empty()) return fail(context, TF_FAILED_PRECONDITION, "Blade: " + engine->error());
    size_t bytes = TF_DataTypeSize(dtype_);
    bool fits = offset_ >= 0 && bytes > 0;
    for (const int64_t dim : dims_)
      fits = fits && dim >= 0 && !__builtin_mul_overflow(bytes, static_cast<size_t>(dim), &bytes);
    const auto stored = fits ? engine->bytes().find(static_cast<uint64_t>(offset_), bytes) : std::nullopt;
    if (!stored) {
      return fail(context, TF_DATA_LOSS,
                  "Blade: a stored weight at offset " + std::to_string(offset_) + " is not inside the engine of " +
                      std::to_string(engine->bytes().size()) +
                      " bytes: the optimized model is damaged, optimize it again");
    }
    if (!is_intact(*stored)) {
      return fail(
          context, TF_DATA_LOSS,
          "Blade: a stored weight at offset " + std::to_string(offset_) +
              " does not have the checksum it was stored with: the optimized model is damaged, optimize it again");
    }
    using Owner = std::shared_ptr<EngineBytes>;
    const auto release = [](void*, size_t, void* owner) { delete static_cast<Owner*>(owner); };
    const TensorPtr view(TF_NewTensor(dtype_, dims_.data(), static_cast<int>(dims_.size()),
                                      const_cast<std::byte*>(stored->data()), bytes, release,
                                      new Owner(std::move(engine))));
    if (!view) return fail(context, TF_INTERNAL, "Blade: TensorFlow refused a view of a stored weight");
    StatusPtr status = new_status();
    TF_SetOutput(context, 0, view.get(), status.get());
    if (TF_GetCode(status.get()) != TF_OK) TF_OpKernelContext_Failure(context, status.get());
  }

 private:
  // Checked once for each place the engine tensor stands at.
  bool is_intact(std::span<const std::byte> stored) {
    if (checked_.load(std::memory_order_acquire) == stored.data()) return true;
    if (static_cast<int64_t>(checksum(stored)) != checksum_) return false;
    checked_.store(stored.data(), std::memory_order_release);
    return true;
  }

  TensorMemo<EngineBytes> engine_;
  int64_t offset_ = 0, checksum_ = 0;
  std::atomic<const std::byte*> checked_ = nullptr;
  TF_DataType dtype_ = TF_FLOAT;
  std::vector<int64_t> dims_;
};

}  // namespace

void register_stored_weight_kernel() { register_cpu_kernel<StoredWeightKernel>("BladeStoredWeight"); }

}  // namespace blade::tensorflow_op
