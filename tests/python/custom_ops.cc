// Ops that only this library knows, on TensorFlow's C API: MysteryScale (y = 2 x + 1) and MysterySplit (x, -x).
#include <tensorflow/c/kernels.h>
#include <tensorflow/c/ops.h>
#include <tensorflow/c/tf_tensor.h>

#include <cstdint>
#include <vector>

namespace {

template <int kOutputs>
void same_shape(TF_ShapeInferenceContext* context, TF_Status* status) {
  TF_ShapeHandle* shape = TF_NewShapeHandle();
  TF_ShapeInferenceContextGetInput(context, 0, shape, status);
  for (int i = 0; i < kOutputs && TF_GetCode(status) == TF_OK; ++i) {
    TF_ShapeInferenceContextSetOutput(context, i, shape, status);
  }
  TF_DeleteShapeHandle(shape);
}

float* output_like(TF_OpKernelContext* context, int index, const TF_Tensor* x, TF_Status* status) {
  std::vector<int64_t> dims(TF_NumDims(x));
  for (size_t i = 0; i < dims.size(); ++i) dims[i] = TF_Dim(x, static_cast<int>(i));
  TF_Tensor* out = TF_AllocateOutput(context, index, TF_FLOAT, dims.data(), static_cast<int>(dims.size()),
                                     TF_TensorByteSize(x), status);
  float* data = static_cast<float*>(TF_TensorData(out));
  TF_DeleteTensor(out);
  return data;
}

template <int kOutputs>
void compute(void*, TF_OpKernelContext* context) {
  TF_Status* status = TF_NewStatus();
  TF_Tensor* x = nullptr;
  TF_GetInput(context, 0, &x, status);
  const float* from = static_cast<const float*>(TF_TensorData(x));
  float* first = output_like(context, 0, x, status);
  float* second = kOutputs > 1 ? output_like(context, 1, x, status) : nullptr;
  for (int64_t i = 0; i < TF_TensorElementCount(x); ++i) {
    first[i] = kOutputs > 1 ? from[i] : 2 * from[i] + 1;
    if (second != nullptr) second[i] = -from[i];
  }
  TF_DeleteTensor(x);
  TF_DeleteStatus(status);
}

void* create(TF_OpKernelConstruction*) { return nullptr; }
void destroy(void*) {}

template <int kOutputs>
void define(const char* name) {
  TF_Status* status = TF_NewStatus();
  TF_OpDefinitionBuilder* op = TF_NewOpDefinitionBuilder(name);
  TF_OpDefinitionBuilderAddInput(op, "x: float");
  TF_OpDefinitionBuilderAddOutput(op, "y: float");
  if (kOutputs > 1) TF_OpDefinitionBuilderAddOutput(op, "z: float");
  TF_OpDefinitionBuilderSetShapeInferenceFunction(op, same_shape<kOutputs>);
  TF_RegisterOpDefinition(op, status);
  TF_KernelBuilder* kernel = TF_NewKernelBuilder(name, "CPU", create, compute<kOutputs>, destroy);
  TF_RegisterKernelBuilder(name, kernel, status);
  TF_DeleteStatus(status);
}

const bool defined = (define<1>("MysteryScale"), define<2>("MysterySplit"), true);

}  // namespace
