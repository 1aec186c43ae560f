// What `blade inspect`, `explain` and `doctor` show, as JSON text.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "engine/engine.h"
#include "optimizer/load_engine.h"

namespace blade::optimizer {

// Ops, inputs, outputs and coverage of a model file: what an engine would take, and why the rest stays behind. Where a
// TensorFlow is given it is asked, as optimize() asks it, for the types and shapes of what stays.
Result<std::string> inspect_model(const std::string& path, const Wanted& wanted);

// {"x": "float32", ...} of the placeholders of a model file, or of a GraphDef where `path` is empty, under their names
// and the signature's keys.
Result<std::string> placeholder_types(const std::string& path, std::string_view graph_def,
                                      const std::string& signature);

// Decisions and memory of an engine; with input dims also each step's kernel and the rows that were passed over.
Result<std::string> explain_engine(engine::Engine& engine, const std::vector<ir::Dims>* input_dims);

// Every TensorFlow op that the importer knows with its element types, or why it stays, and the kernels of Blade's ops.
std::string op_table();

// What is usable on this machine, and why the rest is not.
std::string doctor(const std::string& tensorflow_dir);

}  // namespace blade::optimizer
