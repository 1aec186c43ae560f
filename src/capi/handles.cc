// The thread's last error and conversions.
#include "capi/handles.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "base/checked_math.h"

namespace blade::capi {
namespace {

thread_local std::string last_error;

blade_status to_c(StatusCode code) {
  switch (code) {
    case StatusCode::kOk:
      return BLADE_OK;
    case StatusCode::kInvalidArgument:
      return BLADE_INVALID_ARGUMENT;
    case StatusCode::kNotFound:
      return BLADE_NOT_FOUND;
    case StatusCode::kUnimplemented:
      return BLADE_UNIMPLEMENTED;
    case StatusCode::kDataLoss:
      return BLADE_DATA_LOSS;
    case StatusCode::kResourceExhausted:
      return BLADE_RESOURCE_EXHAUSTED;
    case StatusCode::kFailedPrecondition:
      return BLADE_FAILED_PRECONDITION;
    case StatusCode::kUnavailable:
      return BLADE_UNAVAILABLE;
    case StatusCode::kCancelled:
      return BLADE_CANCELLED;
    case StatusCode::kInternal:
      return BLADE_INTERNAL;
  }
  return BLADE_INTERNAL;
}

}  // namespace

blade_status report(blade_status code, std::string sentence) {
  last_error = std::move(sentence);
  return code;
}

blade_status report(const Status& status) {
  if (status.ok()) return BLADE_OK;
  return report(to_c(status.code()), status.message());
}

Status copy_text(const std::string& text, char** out) {
  *out = static_cast<char*>(std::malloc(text.size() + 1));
  if (*out == nullptr) return resource_exhausted("out of memory for " + std::to_string(text.size()) + " bytes of text");
  std::memcpy(*out, text.c_str(), text.size() + 1);
  return {};
}

Result<engine::TensorRef> to_tensor_ref(const blade_tensor& tensor, int index) {
  const std::string where = "input " + std::to_string(index);
  int32_t dtype = 0;  // read as a number: a C caller's enum may hold anything
  static_assert(sizeof(tensor.dtype) == sizeof(dtype));
  std::memcpy(&dtype, &tensor.dtype, sizeof(dtype));
  if (dtype <= BLADE_INVALID_DTYPE || dtype > BLADE_BOOL) {
    return invalid_argument(where + " has the unknown dtype " + std::to_string(dtype));
  }
  if (tensor.rank < 0 || tensor.rank > BLADE_MAX_RANK) {
    return invalid_argument(where + " has rank " + std::to_string(tensor.rank) + "; expected 0 to " +
                            std::to_string(BLADE_MAX_RANK));
  }
  engine::TensorRef ref;
  ref.dtype = static_cast<ir::DType>(dtype);
  ref.dims.assign(tensor.dims, tensor.dims + tensor.rank);
  ref.data = tensor.data;
  const auto elements = checked_element_count(ref.dims);
  const auto bytes = elements ? checked_mul<size_t>(*elements, ir::dtype_size(ref.dtype)) : std::nullopt;
  if (!bytes) return invalid_argument(where + " has a negative dim or more elements than memory holds");
  if (tensor.data != nullptr && tensor.bytes < *bytes) {
    return invalid_argument(where + " has " + std::to_string(tensor.bytes) + " bytes of data where its shape needs " +
                            std::to_string(*bytes));
  }
  return ref;
}

Result<std::vector<engine::TensorRef>> to_tensor_refs(const blade_tensor* tensors, int32_t count) {
  std::vector<engine::TensorRef> refs;
  if (count > 0) BLADE_RETURN_IF_ERROR(check_handle(tensors, "inputs"));
  refs.reserve(count > 0 ? count : 0);
  for (int32_t i = 0; i < count; ++i) {
    BLADE_ASSIGN_OR_RETURN(engine::TensorRef ref, to_tensor_ref(tensors[i], i));
    refs.push_back(std::move(ref));
  }
  return refs;
}

Result<optimizer::Wanted> to_wanted(const blade_engine_options* options) {
  optimizer::Wanted wanted;
  if (options == nullptr) return wanted;
  blade_engine_options known = {};
  std::memcpy(&known, options, std::min(options->struct_size, sizeof known));
  if (known.signature != nullptr) wanted.signature = known.signature;
  if (known.tensorflow_dir != nullptr) wanted.tensorflow_dir = known.tensorflow_dir;
  for (int32_t i = 0; known.outputs != nullptr && i < known.num_outputs; ++i) {
    if (known.outputs[i] == nullptr) return invalid_argument("options->outputs[" + std::to_string(i) + "] is NULL");
    wanted.outputs.emplace_back(known.outputs[i]);
  }
  return wanted;
}

Status check_handle(const void* handle, const char* what) {
  if (handle == nullptr) return invalid_argument(std::string(what) + " is NULL");
  return {};
}

Status describe(ir::DType dtype, const ir::Dims& dims, blade_tensor* out) {
  if (dims.size() > BLADE_MAX_RANK) {
    return unimplemented("a tensor has " + std::to_string(dims.size()) + " dims; the C interface holds " +
                         std::to_string(BLADE_MAX_RANK));
  }
  out->dtype = static_cast<blade_dtype>(dtype);
  out->rank = static_cast<int32_t>(dims.size());
  size_t bytes = ir::dtype_size(dtype);
  for (size_t i = 0; i < dims.size(); ++i) {
    out->dims[i] = dims[i];
    bytes *= static_cast<size_t>(dims[i]);
  }
  out->bytes = bytes;
  return {};
}

}  // namespace blade::capi

const char* blade_last_error(void) { return blade::capi::last_error.c_str(); }
