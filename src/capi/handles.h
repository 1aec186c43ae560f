// The C handles' contents, the thread's last error, and conversions between blade.h and the C++ types.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "blade/blade.h"
#include "engine/engine.h"
#include "optimizer/load_engine.h"

struct blade_engine {
  std::shared_ptr<blade::engine::Engine> engine;
  std::vector<std::string> input_keys, output_keys;  // see optimizer::LoadedEngine
  std::vector<blade::tensorflow::UnreadPlaceholder> unread;
  blade::tensorflow::ModelNames names;
};

namespace blade::capi {

// Remembers the sentence for blade_last_error() and gives its code; OK leaves the last error alone.
blade_status report(const Status& status);
blade_status report(blade_status code, std::string sentence);

// Runs `body` (returning Status) so that no exception, not even of memory, leaves the C interface.
template <class Body>
blade_status guarded(Body&& body) {
  try {
    return report(body());
  } catch (const std::bad_alloc&) {
    return report(resource_exhausted("out of memory"));
  } catch (const std::exception& error) {
    return report(internal_error(error.what()));
  }
}

// A malloc'ed copy for the caller to blade_free().
Status copy_text(const std::string& text, char** out);

Result<engine::TensorRef> to_tensor_ref(const blade_tensor& tensor, int index);
Result<std::vector<engine::TensorRef>> to_tensor_refs(const blade_tensor* tensors, int32_t count);
// dtype, rank, dims and bytes of a tensor whose size is known to fit; an error for more than BLADE_MAX_RANK dims.
Status describe(ir::DType dtype, const ir::Dims& dims, blade_tensor* out);
// What of a model is wanted; old callers have shorter structs: fields past struct_size keep their defaults.
Result<optimizer::Wanted> to_wanted(const blade_engine_options* options);

Status check_handle(const void* handle, const char* what);

}  // namespace blade::capi
