// Small RAII and conversions over TensorFlow's C API, shared by the ops.
#pragma once

#include <memory>
#include <string>

#include "blade/blade.h"
#include "tensorflow/c/kernels.h"
#include "tensorflow/c/tf_status.h"
#include "tensorflow/c/tf_tensor.h"

namespace blade::tensorflow_op {

struct DeleteStatus {
  void operator()(TF_Status* s) const { TF_DeleteStatus(s); }
};
using StatusPtr = std::unique_ptr<TF_Status, DeleteStatus>;
inline StatusPtr new_status() { return StatusPtr(TF_NewStatus()); }

struct DeleteTensor {
  void operator()(TF_Tensor* t) const { TF_DeleteTensor(t); }
};
using TensorPtr = std::unique_ptr<TF_Tensor, DeleteTensor>;
using SharedTensor = std::shared_ptr<TF_Tensor>;

// BLADE_INVALID_DTYPE for types Blade has none for.
blade_dtype to_blade(TF_DataType dtype);
TF_DataType to_tensorflow(blade_dtype dtype);

// Describes `tensor` without copying; false when its type or rank has no place in a blade_tensor.
bool describe(const TF_Tensor* tensor, blade_tensor* out);

// Gives the running op's only output, a bool.
void set_bool(TF_OpKernelContext* context, bool value);
// Input `index` of the running op, or null with the op already failed.
TensorPtr get_input(TF_OpKernelContext* context, int index);
void fail(TF_OpKernelContext* context, TF_Code code, const std::string& message);
// With blade_last_error() as the sentence.
void fail_with_last_error(TF_OpKernelContext* context, blade_status status);

}  // namespace blade::tensorflow_op
