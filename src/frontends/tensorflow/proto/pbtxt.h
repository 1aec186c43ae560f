// GraphDef as text (.pbtxt): protobuf's text format, read and written through a table of the messages' fields.
#pragma once

#include <string>
#include <string_view>

#include "base/status.h"
#include "frontends/tensorflow/proto/graph_def.h"

namespace blade::tensorflow {

// `what` names the text in errors, which give line and column: "model.pbtxt:12:7: ...".
Result<GraphDef> parse_graph_pbtxt(std::string_view text, std::string_view what);
// Text that TensorFlow's own tools read back to the same graph. Fields that TensorFlow does not have are left out, each
// with a comment in the text.
Result<std::string> print_graph_pbtxt(const GraphDef& graph);

}  // namespace blade::tensorflow
