// Shorthand for inference tests: shapes as text, errors by a part of their sentence.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "support/graph_builder.h"

namespace blade::testing {

using ir::DType;
using ir::Op;
using P = ir::PointwiseOp;

// "float32[x.0,8]" of one value after inference; the sentence of the error where it fails.
inline std::string inferred(GraphBuilder& b, ir::ValueId id) {
  const Status status = ir::infer_shapes(b.graph());
  if (!status.ok()) return status.message();
  const ir::Value& value = b.graph().value(id);
  return std::string(ir::dtype_name(value.dtype)) + b.graph().symbols().to_string(value.shape);
}

#define EXPECT_INFER_ERROR(b, part)                                                                           \
  do {                                                                                                        \
    const ::blade::Status infer_status_ = ::blade::ir::infer_shapes((b).graph());                             \
    EXPECT_FALSE(infer_status_.ok());                                                                         \
    EXPECT_NE(infer_status_.message().find(part), std::string::npos) << "found: " << infer_status_.message(); \
  } while (false)

}  // namespace blade::testing
