// Signatures of a SavedModel that the optimized one does not offer, and that clients may call.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "frontends/tensorflow/model_loader.h"

namespace blade::optimizer {

// What the report says of them; empty where there are none. `original`: the SavedModel of which `path`, where `model`
// was loaded from, is a frozen copy with one signature, or `path` itself, or empty. `optimized`: a serialized GraphDef,
// with `outputs`.
std::string about_lost_signatures(const tensorflow::LoadedModel& model, const std::string& original,
                                  const std::string& path, std::string_view optimized,
                                  const std::vector<std::string>& outputs);

}  // namespace blade::optimizer
