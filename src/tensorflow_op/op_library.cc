// Registers Blade's ops and kernels with TensorFlow when the library is loaded.
#include <cstdio>
#include <vector>

#include "tensorflow/c/ops.h"
#include "tensorflow_op/kernels.h"
#include "tensorflow_op/tf_support.h"

namespace blade::tensorflow_op {
namespace {

// Output shapes come from the caller's annotations (StatelessIf's output_shapes); the engine's are dynamic.
void infer_scalar(TF_ShapeInferenceContext* context, TF_Status* status) {
  TF_ShapeHandle* scalar = TF_ShapeInferenceContextScalar(context);
  TF_ShapeInferenceContextSetOutput(context, 0, scalar, status);
  TF_DeleteShapeHandle(scalar);
}

void infer_unknown(TF_ShapeInferenceContext* context, TF_Status* status) {
  TF_ShapeInferenceContextSetUnknownShape(context, status);
}

struct OpRow {
  const char* name;
  std::vector<const char*> inputs, outputs, attributes;
  void (*infer)(TF_ShapeInferenceContext*, TF_Status*);
  bool is_stateful = false;
};

std::vector<OpRow> op_rows() {
  return {
      // A constant under another name: TensorFlow's graph optimizer copies the value of a Const for whoever reads it,
      // too. Stateful: no two are compared.
      {"BladeEnginePiece", {}, {"piece: uint8"}, {"value: tensor"}, infer_unknown, true},
      // Stateful: what it gives means something in this process only, and is never folded.
      {"BladeEngineFile", {"pieces: N * uint8"}, {"engine: uint8"}, {"N: int >= 1"}, infer_unknown, true},
      {"BladeEngine",
       {"engine: uint8", "inputs: Tin"},
       {"outputs: Tout"},
       {"Tin: list(type) >= 0", "Tout: list(type) >= 0"},
       infer_unknown},
      {"BladeInProfile",
       {"engine: uint8", "inputs: Tin", "given: Tdefault", "defaults: Tdefault"},
       {"in_profile: bool"},
       {"Tin: list(type) >= 0", "Tdefault: list(type) >= 0 = []",
        "fallback_counts: bool = false"},  // absent in graphs of older Blades
       infer_scalar},
      {"BladeOriginalReady", {"engine: uint8"}, {"ready: bool"}, {"original: func"}, infer_scalar},
      {"BladeOriginal",
       {"engine: uint8", "inputs: Tin"},
       {"outputs: Tout"},
       {"Tin: list(type) >= 0", "Tout: list(type) >= 0", "original: func"},
       infer_unknown},
      {"BladeStoredWeight",
       {"engine: uint8"},
       {"weight: dtype"},
       {"offset: int", "checksum: int", "dims: list(int) >= 0", "dtype: type"},
       infer_unknown}};
}

void register_op(const OpRow& row) {
  TF_OpDefinitionBuilder* builder = TF_NewOpDefinitionBuilder(row.name);
  for (const char* input : row.inputs) TF_OpDefinitionBuilderAddInput(builder, input);
  for (const char* output : row.outputs) TF_OpDefinitionBuilderAddOutput(builder, output);
  for (const char* attribute : row.attributes) TF_OpDefinitionBuilderAddAttr(builder, attribute);
  TF_OpDefinitionBuilderSetIsStateful(builder, row.is_stateful);
  TF_OpDefinitionBuilderSetShapeInferenceFunction(builder, row.infer);
  StatusPtr status = new_status();
  TF_RegisterOpDefinition(builder, status.get());
  if (TF_GetCode(status.get()) != TF_OK) std::fprintf(stderr, "Blade: %s\n", TF_Message(status.get()));
}

const bool registered = [] {
  for (const OpRow& row : op_rows()) register_op(row);
  register_engine_kernels();
  register_engine_file_kernels();
  register_original_kernels();
  register_stored_weight_kernel();
  return true;
}();

}  // namespace
}  // namespace blade::tensorflow_op
