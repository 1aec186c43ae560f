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
  const bool found = look_up(library, "TF_NewSessionOptions", api.new_session_options) &&
                     look_up(library, "TF_DeleteSessionOptions", api.delete_session_options) &&
                     look_up(library, "TF_SetConfig", api.set_config) &&
                     look_up(library, "TF_NewDeprecatedSession", api.new_session) &&
                     look_up(library, "TF_DeleteDeprecatedSession", api.delete_session) &&
                     look_up(library, "TF_ExtendGraph", api.extend_graph) && look_up(library, "TF_Run", api.run);
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
