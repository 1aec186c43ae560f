// Finds the functions of session_api.h in the libraries that TensorFlow comes as.
#include "tensorflow_op/session_api.h"

#include <dlfcn.h>

#include <optional>

namespace blade::tensorflow_op {
namespace {

template <class F>
bool look_up(void* library, const char* name, F& out) {
  out = reinterpret_cast<F>(dlsym(library, name));
  return out != nullptr;
}

std::optional<SessionApi> api_of(void* library) {
  SessionApi api;
  const bool found =
      look_up(library, "TF_NewGraph", api.new_graph) && look_up(library, "TF_DeleteGraph", api.delete_graph) &&
      look_up(library, "TF_NewImportGraphDefOptions", api.new_import_options) &&
      look_up(library, "TF_DeleteImportGraphDefOptions", api.delete_import_options) &&
      look_up(library, "TF_GraphImportGraphDef", api.import_graph_def) &&
      look_up(library, "TF_GraphOperationByName", api.operation_by_name) &&
      look_up(library, "TF_NewSessionOptions", api.new_session_options) &&
      look_up(library, "TF_DeleteSessionOptions", api.delete_session_options) &&
      look_up(library, "TF_SetConfig", api.set_config) && look_up(library, "TF_NewSession", api.new_session) &&
      look_up(library, "TF_DeleteSession", api.delete_session) && look_up(library, "TF_SessionRun", api.run);
  return found ? std::optional(api) : std::nullopt;
}

std::optional<SessionApi> find_api() {
  // The wheel's library, and that of TensorFlow for C; only where they are loaded already.
  for (const char* name : {"libtensorflow_cc.so.2", "libtensorflow.so.2"}) {
    void* library = dlopen(name, RTLD_LAZY | RTLD_NOLOAD);
    if (library == nullptr) continue;
    if (auto api = api_of(library)) return api;
  }
  return api_of(RTLD_DEFAULT);
}

}  // namespace

const SessionApi* session_api() {
  static const std::optional<SessionApi> api = find_api();
  return api ? &*api : nullptr;
}

}  // namespace blade::tensorflow_op
