// The part of TensorFlow's C API that opens sessions, of its two kinds the one without a TF_Graph, which would hold the
// weights once more. It is in another library than the part for kernels, which this one is linked to, so that it is
// looked up in the process.
#pragma once

#include "tensorflow/c/c_api.h"

namespace blade::tensorflow_op {

struct SessionApi {
  decltype(&::TF_NewSessionOptions) new_session_options;
  decltype(&::TF_DeleteSessionOptions) delete_session_options;
  decltype(&::TF_SetConfig) set_config;
  decltype(&::TF_NewDeprecatedSession) new_session;
  decltype(&::TF_DeleteDeprecatedSession) delete_session;
  decltype(&::TF_ExtendGraph) extend_graph;
  decltype(&::TF_Run) run;
};

// Of the TensorFlow in this process; null where it does not offer sessions to C.
const SessionApi* session_api();

}  // namespace blade::tensorflow_op
