// Importing a model with what TensorFlow knows of the nodes that stay in it.
#pragma once

#include "frontends/tensorflow/importer.h"
#include "optimizer/tensorflow_library.h"

namespace blade::optimizer {

// `model` as imported with `options`, or, where nodes stay in TensorFlow, imported again with the types and shapes that
// TensorFlow infers for their results, so that what reads them need not stay too.
Result<tensorflow::ImportedModel> import_knowing_shapes(const TensorFlowApi& api, const tensorflow::GraphDef& graph,
                                                        tensorflow::ImportOptions options,
                                                        tensorflow::ImportedModel model);

}  // namespace blade::optimizer
