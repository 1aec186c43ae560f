// Small RAII and conversions over TensorFlow's C API.
#include "tensorflow_op/tf_support.h"

#include <utility>

namespace blade::tensorflow_op {
namespace {

constexpr std::pair<TF_DataType, blade_dtype> kTypes[] = {
    {TF_FLOAT, BLADE_FLOAT32}, {TF_DOUBLE, BLADE_FLOAT64}, {TF_HALF, BLADE_FLOAT16},  {TF_BFLOAT16, BLADE_BFLOAT16},
    {TF_INT8, BLADE_INT8},     {TF_INT16, BLADE_INT16},    {TF_INT32, BLADE_INT32},   {TF_INT64, BLADE_INT64},
    {TF_UINT8, BLADE_UINT8},   {TF_UINT16, BLADE_UINT16},  {TF_UINT32, BLADE_UINT32}, {TF_UINT64, BLADE_UINT64},
    {TF_BOOL, BLADE_BOOL}};

TF_Code to_tensorflow(blade_status status) {
  switch (status) {
    case BLADE_OK:
      return TF_OK;
    case BLADE_INVALID_ARGUMENT:
      return TF_INVALID_ARGUMENT;
    case BLADE_NOT_FOUND:
      return TF_NOT_FOUND;
    case BLADE_UNIMPLEMENTED:
      return TF_UNIMPLEMENTED;
    case BLADE_DATA_LOSS:
      return TF_DATA_LOSS;
    case BLADE_RESOURCE_EXHAUSTED:
      return TF_RESOURCE_EXHAUSTED;
    case BLADE_FAILED_PRECONDITION:
      return TF_FAILED_PRECONDITION;
    case BLADE_UNAVAILABLE:
      return TF_UNAVAILABLE;
    case BLADE_CANCELLED:
      return TF_CANCELLED;
    case BLADE_OUT_OF_PROFILE:
      return TF_OUT_OF_RANGE;
    case BLADE_INTERNAL:
      break;
  }
  return TF_INTERNAL;
}

}  // namespace

blade_dtype to_blade(TF_DataType dtype) {
  for (const auto& [tf, ours] : kTypes) {
    if (tf == dtype) return ours;
  }
  return BLADE_INVALID_DTYPE;
}

TF_DataType to_tensorflow(blade_dtype dtype) {
  for (const auto& [tf, ours] : kTypes) {
    if (ours == dtype) return tf;
  }
  return TF_VARIANT;
}

bool describe(const TF_Tensor* tensor, blade_tensor* out) {
  const int rank = TF_NumDims(tensor);
  *out = {};
  out->dtype = to_blade(TF_TensorType(tensor));
  if (out->dtype == BLADE_INVALID_DTYPE || rank > BLADE_MAX_RANK) return false;
  out->rank = rank;
  for (int i = 0; i < rank; ++i) out->dims[i] = TF_Dim(tensor, i);
  out->data = TF_TensorData(tensor);
  out->bytes = TF_TensorByteSize(tensor);
  return true;
}

void set_bool(TF_OpKernelContext* context, bool value) {
  StatusPtr status = new_status();
  const TensorPtr out(TF_AllocateOutput(context, 0, TF_BOOL, nullptr, 0, sizeof(bool), status.get()));
  if (TF_GetCode(status.get()) != TF_OK) return TF_OpKernelContext_Failure(context, status.get());
  *static_cast<bool*>(TF_TensorData(out.get())) = value;
}

TensorPtr get_input(TF_OpKernelContext* context, int index) {
  StatusPtr status = new_status();
  TF_Tensor* tensor = nullptr;
  TF_GetInput(context, index, &tensor, status.get());
  if (TF_GetCode(status.get()) != TF_OK) {
    TF_OpKernelContext_Failure(context, status.get());
    return nullptr;
  }
  return TensorPtr(tensor);
}

void fail(TF_OpKernelContext* context, TF_Code code, const std::string& message) {
  StatusPtr status = new_status();
  TF_SetStatus(status.get(), code, message.c_str());
  TF_OpKernelContext_Failure(context, status.get());
}

void fail_with_last_error(TF_OpKernelContext* context, blade_status status) {
  fail(context, to_tensorflow(status), std::string("Blade: ") + blade_last_error());
}

}  // namespace blade::tensorflow_op
