// What nodes of the original leave behind in an optimized GraphDef; not for use outside this folder.
#pragma once

#include <span>
#include <vector>

#include "frontends/tensorflow/proto/graph_def.h"

namespace blade::tensorflow {

// `library` with the functions alone that the callers call, or what those call, and their gradients.
LibraryFields used_functions(const LibraryFields& library, const std::vector<std::span<const NodeDef>>& callers);

// Nodes may be placed beside nodes that are gone now.
void drop_dangling_colocations(std::vector<NodeDef>& nodes);

}  // namespace blade::tensorflow
