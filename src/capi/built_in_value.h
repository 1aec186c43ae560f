// Values that a caller has for placeholders whose default is built in.
#pragma once

#include "base/status.h"
#include "engine/engine.h"
#include "frontends/tensorflow/importer.h"

namespace blade::capi {

// An error where the caller's value is another one. Any value is taken where no output needs the placeholder; NaN
// equals NaN.
Status check_built_in_value(const tensorflow::UnreadPlaceholder& placeholder, const engine::TensorRef& given);

}  // namespace blade::capi
