// Nodes that stay in the source framework: what the importer knows of their outputs is kept, nothing is inferred.
#include "ir/ops/infer_support.h"

namespace blade::ir {

Status infer_foreign(InferContext&) { return Status(); }

}  // namespace blade::ir
