// The part of TensorFlow's C API that opens sessions. It is in another library than the part for kernels, which this
// one is linked to, so that it is looked up in the process.
#pragma once

#include "tensorflow/c/c_api.h"

namespace blade::tensorflow_op {

struct SessionApi {
  decltype(&::TF_NewGraph) new_graph;
  decltype(&::TF_DeleteGraph) delete_graph;
  decltype(&::TF_NewImportGraphDefOptions) new_import_options;
  decltype(&::TF_DeleteImportGraphDefOptions) delete_import_options;
  decltype(&::TF_GraphImportGraphDef) import_graph_def;
  decltype(&::TF_GraphOperationByName) operation_by_name;
  decltype(&::TF_NewSessionOptions) new_session_options;
  decltype(&::TF_DeleteSessionOptions) delete_session_options;
  decltype(&::TF_SetConfig) set_config;
  decltype(&::TF_NewSession) new_session;
  decltype(&::TF_DeleteSession) delete_session;
  decltype(&::TF_SessionRun) run;
};

// Of the TensorFlow in this process; null where it does not offer sessions to C.
const SessionApi* session_api();

}  // namespace blade::tensorflow_op
