// Registers Blade's ops and kernels with TensorFlow when the library is loaded.
#include <cstdio>

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

void finish(TF_OpDefinitionBuilder* builder) {
  StatusPtr status = new_status();
  TF_RegisterOpDefinition(builder, status.get());
  if (TF_GetCode(status.get()) != TF_OK) std::fprintf(stderr, "Blade: %s\n", TF_Message(status.get()));
}

void register_ops() {
  // A constant under another name: TensorFlow's graph optimizer copies the value of a Const for whoever reads it, too.
  TF_OpDefinitionBuilder* piece = TF_NewOpDefinitionBuilder("BladeEnginePiece");
  TF_OpDefinitionBuilderAddOutput(piece, "piece: uint8");
  TF_OpDefinitionBuilderAddAttr(piece, "value: tensor");
  TF_OpDefinitionBuilderSetIsStateful(piece, true);  // no two are compared
  TF_OpDefinitionBuilderSetShapeInferenceFunction(piece, infer_unknown);
  finish(piece);

  TF_OpDefinitionBuilder* file = TF_NewOpDefinitionBuilder("BladeEngineFile");
  TF_OpDefinitionBuilderAddInput(file, "pieces: N * uint8");
  TF_OpDefinitionBuilderAddOutput(file, "engine: uint8");
  TF_OpDefinitionBuilderAddAttr(file, "N: int >= 1");
  TF_OpDefinitionBuilderSetIsStateful(file, true);  // what it gives means something in this process only: never folded
  TF_OpDefinitionBuilderSetShapeInferenceFunction(file, infer_unknown);
  finish(file);

  TF_OpDefinitionBuilder* engine = TF_NewOpDefinitionBuilder("BladeEngine");
  TF_OpDefinitionBuilderAddInput(engine, "engine: uint8");
  TF_OpDefinitionBuilderAddInput(engine, "inputs: Tin");
  TF_OpDefinitionBuilderAddOutput(engine, "outputs: Tout");
  TF_OpDefinitionBuilderAddAttr(engine, "Tin: list(type) >= 0");
  TF_OpDefinitionBuilderAddAttr(engine, "Tout: list(type) >= 0");
  TF_OpDefinitionBuilderSetShapeInferenceFunction(engine, infer_unknown);
  finish(engine);

  TF_OpDefinitionBuilder* in_profile = TF_NewOpDefinitionBuilder("BladeInProfile");
  TF_OpDefinitionBuilderAddInput(in_profile, "engine: uint8");
  TF_OpDefinitionBuilderAddInput(in_profile, "inputs: Tin");
  TF_OpDefinitionBuilderAddInput(in_profile, "given: Tdefault");
  TF_OpDefinitionBuilderAddInput(in_profile, "defaults: Tdefault");
  TF_OpDefinitionBuilderAddOutput(in_profile, "in_profile: bool");
  TF_OpDefinitionBuilderAddAttr(in_profile, "Tin: list(type) >= 0");
  TF_OpDefinitionBuilderAddAttr(in_profile, "Tdefault: list(type) >= 0 = []");
  TF_OpDefinitionBuilderAddAttr(in_profile, "fallback_counts: bool = false");  // absent in graphs of older Blades
  TF_OpDefinitionBuilderSetShapeInferenceFunction(in_profile, infer_scalar);
  finish(in_profile);

  TF_OpDefinitionBuilder* ready = TF_NewOpDefinitionBuilder("BladeOriginalReady");
  TF_OpDefinitionBuilderAddInput(ready, "engine: uint8");
  TF_OpDefinitionBuilderAddOutput(ready, "ready: bool");
  TF_OpDefinitionBuilderAddAttr(ready, "original: func");
  TF_OpDefinitionBuilderSetShapeInferenceFunction(ready, infer_scalar);
  finish(ready);

  TF_OpDefinitionBuilder* original = TF_NewOpDefinitionBuilder("BladeOriginal");
  TF_OpDefinitionBuilderAddInput(original, "engine: uint8");
  TF_OpDefinitionBuilderAddInput(original, "inputs: Tin");
  TF_OpDefinitionBuilderAddOutput(original, "outputs: Tout");
  TF_OpDefinitionBuilderAddAttr(original, "Tin: list(type) >= 0");
  TF_OpDefinitionBuilderAddAttr(original, "Tout: list(type) >= 0");
  TF_OpDefinitionBuilderAddAttr(original, "original: func");
  TF_OpDefinitionBuilderSetShapeInferenceFunction(original, infer_unknown);
  finish(original);

  TF_OpDefinitionBuilder* weight = TF_NewOpDefinitionBuilder("BladeStoredWeight");
  TF_OpDefinitionBuilderAddInput(weight, "engine: uint8");
  TF_OpDefinitionBuilderAddOutput(weight, "weight: dtype");
  TF_OpDefinitionBuilderAddAttr(weight, "offset: int");
  TF_OpDefinitionBuilderAddAttr(weight, "checksum: int");
  TF_OpDefinitionBuilderAddAttr(weight, "dims: list(int) >= 0");
  TF_OpDefinitionBuilderAddAttr(weight, "dtype: type");
  TF_OpDefinitionBuilderSetShapeInferenceFunction(weight, infer_unknown);
  finish(weight);
}

const bool registered = [] {
  register_ops();
  register_engine_kernels();
  register_engine_file_kernels();
  register_original_kernels();
  register_stored_weight_kernel();
  return true;
}();

}  // namespace
}  // namespace blade::tensorflow_op
