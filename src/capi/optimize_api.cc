// blade.h: optimizing a model.
#include <optional>

#include "base/log.h"
#include "capi/handles.h"
#include "optimizer/optimize.h"
#include "optimizer/string_tensor.h"

using blade::Status;
using blade::capi::guarded;
namespace optimizer = blade::optimizer;

struct blade_optimize_result {
  optimizer::OptimizeResult result;
  std::string report_json, report_html;
};

namespace {

blade::Result<optimizer::Feed> copy_feed(const blade_feed& given) {
  optimizer::Feed feed;
  for (int32_t i = 0; i < given.count; ++i) {
    const blade_tensor& tensor = given.tensors[i];
    if (tensor.dtype == BLADE_STRING && tensor.rank >= 0 && tensor.rank <= BLADE_MAX_RANK) {
      BLADE_ASSIGN_OR_RETURN(auto strings, optimizer::copy_packed_strings({tensor.dims, tensor.dims + tensor.rank},
                                                                          tensor.data, tensor.bytes));
      feed.push_back({given.names[i], std::move(strings)});
      continue;
    }
    BLADE_ASSIGN_OR_RETURN(const auto ref, blade::capi::to_tensor_ref(tensor, i));
    BLADE_ASSIGN_OR_RETURN(auto made, blade::ir::allocate_tensor(ref.dtype, ref.dims));
    if (made.tensor->bytes > 0) {
      if (ref.data == nullptr)
        return blade::invalid_argument(std::string("test data for '") + given.names[i] +
                                       "' is NULL; point it to its elements");
      __builtin_memcpy(made.data, ref.data, made.tensor->bytes);
    }
    feed.push_back({given.names[i], made.tensor});
  }
  return feed;
}

Status run(const blade_optimize_request& given, blade_optimize_result** out) {
  if (given.model_path == nullptr && given.model_bytes == nullptr) {
    return blade::invalid_argument("request->model_path and request->model_bytes are both empty; give one of them");
  }
  optimizer::OptimizeRequest request;
  if (given.model_path != nullptr) request.model_path = given.model_path;
  if (given.model_bytes != nullptr)
    request.model_bytes = {static_cast<const char*>(given.model_bytes), given.model_size};
  BLADE_ASSIGN_OR_RETURN(request.options,
                         optimizer::parse_options(given.options_json != nullptr ? given.options_json : ""));
  for (int32_t i = 0; i < given.num_test_data; ++i) {
    BLADE_ASSIGN_OR_RETURN(optimizer::Feed feed, copy_feed(given.test_data[i]));
    request.test_data.push_back(std::move(feed));
  }
  std::optional<blade::ScopedLogOverBar> over_bar;
  if (given.progress != nullptr) {
    over_bar.emplace();
    request.progress = [&given](int percent, const char* phase) {
      return given.progress(given.progress_arg, percent, phase) != 0;
    };
  }
  BLADE_ASSIGN_OR_RETURN(optimizer::OptimizeResult result, optimizer::optimize(request));
  std::string json = result.report.to_json(), html = result.report.to_html();
  *out = new blade_optimize_result{std::move(result), std::move(json), std::move(html)};
  return {};
}

}  // namespace

blade_status blade_optimize(const blade_optimize_request* request, blade_optimize_result** result) {
  return guarded([&]() -> Status {
    if (request == nullptr || result == nullptr) return blade::invalid_argument("request or result is NULL");
    if (request->struct_size < sizeof *request) {
      return blade::invalid_argument("request->struct_size is " + std::to_string(request->struct_size) +
                                     "; set it to sizeof(blade_optimize_request)");
    }
    return run(*request, result);
  });
}

const void* blade_optimize_model(const blade_optimize_result* result, size_t* size) {
  *size = result->result.graph_def.size();
  return result->result.graph_def.data();
}

const char* blade_optimize_report(const blade_optimize_result* result) { return result->report_json.c_str(); }
const char* blade_optimize_report_html(const blade_optimize_result* result) { return result->report_html.c_str(); }

blade_status blade_optimize_write(const blade_optimize_result* result, const char* path) {
  return guarded([&]() -> Status {
    if (path == nullptr) return blade::invalid_argument("path is NULL");
    return optimizer::write_model(result->result, path);
  });
}

void blade_optimize_free(blade_optimize_result* result) { delete result; }
