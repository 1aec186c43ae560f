// BladeStoredWeight as the Const it was before the region was written.
#pragma once

#include "base/status.h"
#include "frontends/tensorflow/proto/graph_def.h"
#include "frontends/tensorflow/shared_pieces.h"

namespace blade::tensorflow {

// A Const with the node's name whose elements are a view of the bytes of `engine`. An error where these lie outside the
// engine or do not have the checksum that they were stored with.
Result<NodeDef> stored_weight_const(const NodeDef& node, const SharedPieces& engine);

}  // namespace blade::tensorflow
