// Loads TensorFlow's C API at run time and wraps its sessions.
#include "optimizer/tensorflow_library.h"

#include <dlfcn.h>

#include <cstring>
#include <filesystem>
#include <mutex>
#include <protozero/pbf_writer.hpp>
#include <set>

#include "base/own_module.h"
#include "optimizer/string_tensor.h"

namespace blade::optimizer {
namespace {

// TF_DataType numbers (tensorflow/c/tf_datatype.h).
constexpr std::pair<int, ir::DType> kTypes[] = {
    {1, ir::DType::kFloat32}, {2, ir::DType::kFloat64}, {19, ir::DType::kFloat16}, {14, ir::DType::kBFloat16},
    {6, ir::DType::kInt8},    {5, ir::DType::kInt16},   {3, ir::DType::kInt32},    {9, ir::DType::kInt64},
    {4, ir::DType::kUInt8},   {17, ir::DType::kUInt16}, {22, ir::DType::kUInt32},  {23, ir::DType::kUInt64},
    {10, ir::DType::kBool}};
constexpr int kString = 7;

int to_tensorflow(ir::DType dtype) {
  for (const auto& [tf, ours] : kTypes) {
    if (ours == dtype) return tf;
  }
  return 0;
}

ir::DType to_ir(int dtype) {
  for (const auto& [tf, ours] : kTypes) {
    if (tf == dtype) return ours;
  }
  return ir::DType::kOpaque;
}

// Types that engines do not have, as what their elements are compared as: complex numbers as two real ones, quantized
// numbers as integers.
ir::DType comparable(int dtype) {
  switch (dtype) {
    case 8:  // DT_COMPLEX64
      return ir::DType::kFloat32;
    case 18:  // DT_COMPLEX128
      return ir::DType::kFloat64;
    case 11:  // DT_QINT8
      return ir::DType::kInt8;
    case 12:  // DT_QUINT8
      return ir::DType::kUInt8;
    case 13:  // DT_QINT32
      return ir::DType::kInt32;
    case 15:  // DT_QINT16
      return ir::DType::kInt16;
    case 16:  // DT_QUINT16
      return ir::DType::kUInt16;
    default:
      return to_ir(dtype);
  }
}
bool is_complex(int dtype) { return dtype == 8 || dtype == 18; }

class StatusHolder {
 public:
  explicit StatusHolder(const TensorFlowApi& api) : api_(api), status_(api.TF_NewStatus()) {}
  ~StatusHolder() { api_.TF_DeleteStatus(status_); }
  StatusHolder(const StatusHolder&) = delete;
  StatusHolder& operator=(const StatusHolder&) = delete;
  TF_Status* get() { return status_; }
  Status to_status(const std::string& doing) const {
    if (api_.TF_GetCode(status_) == 0) return {};
    const std::string message = api_.TF_Message(status_);
    const bool unknown_op = message.find("Op type not registered") != std::string::npos;
    return invalid_argument("TensorFlow, " + doing + ": " + message +
                            (unknown_op ? "; give the library that defines the op in custom_ops" : ""));
  }

 private:
  const TensorFlowApi& api_;
  TF_Status* status_;
};

template <class F>
bool resolve(void* library, const char* name, F*& out) {
  out = reinterpret_cast<F*>(dlsym(library, name));
  return out != nullptr;
}

Result<const TensorFlowApi*> resolve_all(void* library, const std::string& path) {
  auto api = std::make_unique<TensorFlowApi>();
  const char* missing = nullptr;
#define BLADE_RESOLVE(name) \
  if (missing == nullptr && !resolve(library, #name, api->name)) missing = #name;
  BLADE_RESOLVE(TF_Version)
  BLADE_RESOLVE(TF_NewStatus)
  BLADE_RESOLVE(TF_DeleteStatus)
  BLADE_RESOLVE(TF_GetCode)
  BLADE_RESOLVE(TF_Message)
  BLADE_RESOLVE(TF_NewGraph)
  BLADE_RESOLVE(TF_DeleteGraph)
  BLADE_RESOLVE(TF_NewImportGraphDefOptions)
  BLADE_RESOLVE(TF_DeleteImportGraphDefOptions)
  BLADE_RESOLVE(TF_GraphImportGraphDef)
  BLADE_RESOLVE(TF_GraphOperationByName)
  BLADE_RESOLVE(TF_OperationNumOutputs)
  BLADE_RESOLVE(TF_OperationOutputType)
  BLADE_RESOLVE(TF_GraphGetTensorNumDims)
  BLADE_RESOLVE(TF_GraphGetTensorShape)
  BLADE_RESOLVE(TF_NewSessionOptions)
  BLADE_RESOLVE(TF_DeleteSessionOptions)
  BLADE_RESOLVE(TF_SetConfig)
  BLADE_RESOLVE(TF_NewSession)
  BLADE_RESOLVE(TF_CloseSession)
  BLADE_RESOLVE(TF_DeleteSession)
  BLADE_RESOLVE(TF_SessionRun)
  BLADE_RESOLVE(TF_NewTensor)
  BLADE_RESOLVE(TF_DeleteTensor)
  BLADE_RESOLVE(TF_TensorType)
  BLADE_RESOLVE(TF_NumDims)
  BLADE_RESOLVE(TF_Dim)
  BLADE_RESOLVE(TF_TensorByteSize)
  BLADE_RESOLVE(TF_TensorData)
  BLADE_RESOLVE(TF_LoadLibrary)
  BLADE_RESOLVE(TF_StringInit)
  BLADE_RESOLVE(TF_StringCopy)
  BLADE_RESOLVE(TF_StringDealloc)
  BLADE_RESOLVE(TF_StringGetDataPointer)
  BLADE_RESOLVE(TF_StringGetSize)
#undef BLADE_RESOLVE
  if (missing != nullptr) return unavailable(path + " has no " + missing + ": it is not a TensorFlow 2 library");
  return api.release();  // lives as long as the process, as the library does
}

// ConfigProto of tensorflow/core/protobuf/config.proto.
std::string config_proto(const SessionConfig& config) {
  std::string bytes;
  protozero::pbf_writer writer(bytes);
  if (config.num_threads > 0) writer.add_int32(2, config.num_threads);  // intra_op_parallelism_threads
  if (config.as_written) {
    protozero::pbf_writer graph_options(writer, 10);
    protozero::pbf_writer(graph_options, 3).add_int32(3, -1);     // optimizer_options.opt_level = L0
    protozero::pbf_writer(graph_options, 10).add_bool(19, true);  // rewrite_options.disable_meta_optimizer
  }
  return bytes;
}

// The strings of one tensor in TensorFlow's form; TensorFlow gives them back through release().
struct StringBlock {
  const TensorFlowApi* api;
  std::vector<TF_TString> strings;
  static void release(void*, size_t, void* self) {
    auto* block = static_cast<StringBlock*>(self);
    for (TF_TString& s : block->strings) block->api->TF_StringDealloc(&s);
    delete block;
  }
};

TF_Tensor* string_tensor(const TensorFlowApi& api, const ir::Tensor& packed) {
  auto* block = new StringBlock{&api, {}};
  for (const std::string_view text : unpack_strings(packed)) {
    TF_TString& s = block->strings.emplace_back();
    api.TF_StringInit(&s);
    api.TF_StringCopy(&s, text.data(), text.size());
  }
  return api.TF_NewTensor(kString, packed.dims.data(), static_cast<int>(packed.dims.size()), block->strings.data(),
                          block->strings.size() * sizeof(TF_TString), StringBlock::release, block);
}

Result<ir::TensorPtr> copy_strings(const TensorFlowApi& api, const TF_Tensor* tensor, ir::Dims dims) {
  const auto* strings = static_cast<const TF_TString*>(api.TF_TensorData(tensor));
  const size_t count = api.TF_TensorByteSize(tensor) / sizeof(TF_TString);
  std::vector<std::string_view> views;
  for (size_t i = 0; i < count; ++i) {
    views.emplace_back(api.TF_StringGetDataPointer(&strings[i]), api.TF_StringGetSize(&strings[i]));
  }
  return pack_strings(std::move(dims), views);
}

Result<ir::TensorPtr> copy_out(const TensorFlowApi& api, const TF_Tensor* tensor, const std::string& name) {
  ir::Dims dims(api.TF_NumDims(tensor));
  for (size_t i = 0; i < dims.size(); ++i) dims[i] = api.TF_Dim(tensor, static_cast<int>(i));
  if (api.TF_TensorType(tensor) == kString) return copy_strings(api, tensor, std::move(dims));
  const int parts = is_complex(api.TF_TensorType(tensor)) ? 2 : 1;
  if (parts == 2) dims.push_back(parts);
  const ir::DType dtype = comparable(api.TF_TensorType(tensor));
  if (dtype == ir::DType::kOpaque)
    return unimplemented("the output '" + name + "' has a type that cannot be compared (TensorFlow's type " +
                         std::to_string(api.TF_TensorType(tensor)) + ")");
  BLADE_ASSIGN_OR_RETURN(ir::NewTensor made, ir::allocate_tensor(dtype, std::move(dims)));
  const size_t bytes = api.TF_TensorByteSize(tensor);
  if (bytes > 0) std::memcpy(made.data, api.TF_TensorData(tensor), bytes);
  return ir::TensorPtr(made.tensor);
}

Status import_into(const TensorFlowApi& api, TF_Graph* graph, std::string_view graph_def) {
  StatusHolder status(api);
  const TF_Buffer buffer = {graph_def.data(), graph_def.size(), nullptr};  // lent, not copied
  TF_ImportGraphDefOptions* import = api.TF_NewImportGraphDefOptions();
  api.TF_GraphImportGraphDef(graph, &buffer, import, status.get());
  api.TF_DeleteImportGraphDefOptions(import);
  return status.to_status("importing the graph");
}

}  // namespace

Result<const TensorFlowApi*> load_tensorflow(const std::string& directory) {
  static std::mutex mutex;
  static const TensorFlowApi* loaded = nullptr;
  const std::scoped_lock lock(mutex);
  if (loaded != nullptr) return loaded;
  const std::string prefix = directory.empty() ? "" : directory + "/";
  // The framework first: the op library finds it by name afterwards.
  dlopen((prefix + "libtensorflow_framework.so.2").c_str(), RTLD_NOW | RTLD_GLOBAL);
  const std::string path = prefix + "libtensorflow_cc.so.2";
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    const char* why = dlerror();
    return unavailable("TensorFlow was not found (" + path + ": " + (why != nullptr ? why : "unknown") +
                       "); install tensorflow or tensorflow-cpu to measure against it");
  }
  auto api = resolve_all(library, path);
  if (api.ok()) loaded = *api;
  return api;
}

Status load_op_library(const TensorFlowApi& api, const std::string& path) {
  static std::mutex mutex;
  static std::set<std::string> loaded;
  const std::scoped_lock lock(mutex);
  if (loaded.contains(path)) return {};
  StatusHolder status(api);
  // The system's loader looks for a bare name in its own folders alone.
  const bool here = path.find('/') == std::string::npos && std::filesystem::exists(path);
  api.TF_LoadLibrary((here ? "./" + path : path).c_str(), status.get());
  BLADE_RETURN_IF_ERROR(status.to_status("loading the op library " + path));
  loaded.insert(path);
  return {};
}

std::string default_op_library() { return own_folder() + "/libblade_tf.so"; }

Result<std::unique_ptr<TensorFlowSession>> TensorFlowSession::create(const TensorFlowApi& api,
                                                                     std::string_view graph_def,
                                                                     const SessionConfig& config) {
  std::unique_ptr<TensorFlowSession> session(new TensorFlowSession);
  session->api_ = &api;
  session->graph_ = api.TF_NewGraph();
  StatusHolder status(api);
  BLADE_RETURN_IF_ERROR(import_into(api, session->graph_, graph_def));

  TF_SessionOptions* options = api.TF_NewSessionOptions();
  const std::string proto = config_proto(config);
  api.TF_SetConfig(options, proto.data(), proto.size(), status.get());
  Status configured = status.to_status("setting the session's config");
  if (configured.ok()) session->session_ = api.TF_NewSession(session->graph_, options, status.get());
  api.TF_DeleteSessionOptions(options);
  BLADE_RETURN_IF_ERROR(configured);
  BLADE_RETURN_IF_ERROR(status.to_status("creating a session"));
  BLADE_RETURN_IF_ERROR(session->initialize(config.initializers));
  return session;
}

Status TensorFlowSession::initialize(const std::vector<std::string>& nodes) {
  std::vector<const TF_Operation*> targets;
  for (const std::string& node : nodes) {
    // Absent where the optimized graph does not need the table.
    if (const TF_Operation* operation = api_->TF_GraphOperationByName(graph_, node.c_str()))
      targets.push_back(operation);
  }
  if (targets.empty()) return {};
  StatusHolder status(*api_);
  api_->TF_SessionRun(session_, nullptr, nullptr, nullptr, 0, nullptr, nullptr, 0, targets.data(),
                      static_cast<int>(targets.size()), nullptr, status.get());
  return status.to_status("filling the lookup tables");
}

TensorFlowSession::~TensorFlowSession() {
  StatusHolder status(*api_);
  if (session_ != nullptr) {
    api_->TF_CloseSession(session_, status.get());
    api_->TF_DeleteSession(session_, status.get());
  }
  if (graph_ != nullptr) api_->TF_DeleteGraph(graph_);
}

Result<std::vector<InferredTensor>> infer_tensors(const TensorFlowApi& api, std::string_view graph_def,
                                                  const std::vector<std::string>& nodes) {
  const std::unique_ptr<TF_Graph, void (*)(TF_Graph*)> graph(api.TF_NewGraph(), api.TF_DeleteGraph);
  StatusHolder status(api);
  BLADE_RETURN_IF_ERROR(import_into(api, graph.get(), graph_def));
  std::vector<InferredTensor> tensors;
  for (const std::string& name : nodes) {
    TF_Operation* operation = api.TF_GraphOperationByName(graph.get(), name.c_str());
    const int count = operation == nullptr ? 0 : api.TF_OperationNumOutputs(operation);
    for (int i = 0; i < count; ++i) {
      const TF_Output output{operation, i};
      InferredTensor tensor{name + ":" + std::to_string(i), api.TF_OperationOutputType(output), std::nullopt};
      const int rank = api.TF_GraphGetTensorNumDims(graph.get(), output, status.get());
      if (rank >= 0) {
        tensor.dims.emplace(rank);
        api.TF_GraphGetTensorShape(graph.get(), output, tensor.dims->data(), rank, status.get());
      }
      BLADE_RETURN_IF_ERROR(status.to_status("asking for the shape of " + tensor.name));
      tensors.push_back(std::move(tensor));
    }
  }
  return tensors;
}

Result<TF_Output> TensorFlowSession::find(const std::string& tensor_name) const {
  const size_t colon = tensor_name.rfind(':');
  const std::string node = tensor_name.substr(0, colon);
  const int index = colon == std::string::npos ? 0 : std::atoi(tensor_name.c_str() + colon + 1);
  TF_Operation* operation = api_->TF_GraphOperationByName(graph_, node.c_str());
  if (operation == nullptr) return not_found("the graph has no node '" + node + "'");
  if (index < 0 || index >= api_->TF_OperationNumOutputs(operation)) {
    return not_found("the node '" + node + "' has no output " + std::to_string(index));
  }
  return TF_Output{operation, index};
}

Result<std::unique_ptr<TensorFlowSession::Call>> TensorFlowSession::prepare(const std::vector<NamedTensor>& feeds,
                                                                            const std::vector<std::string>& outputs) {
  auto call = std::make_unique<Call>();
  call->api_ = api_;
  call->session_ = session_;
  for (const NamedTensor& feed : feeds) {
    BLADE_ASSIGN_OR_RETURN(TF_Output input, find(feed.name));
    TF_Tensor* tensor = nullptr;
    if (feed.tensor->dtype == ir::DType::kOpaque) {
      tensor = string_tensor(*api_, *feed.tensor);
    } else {
      BLADE_ASSIGN_OR_RETURN(ir::TensorPtr data, ir::aligned(feed.tensor));
      const ir::Dims& dims = data->dims;
      const auto keep = [](void*, size_t, void*) {};  // held_ owns it
      tensor = api_->TF_NewTensor(to_tensorflow(data->dtype), dims.data(), static_cast<int>(dims.size()),
                                  const_cast<std::byte*>(data->data), data->bytes, keep, nullptr);
      call->held_.push_back(std::move(data));
    }
    if (tensor == nullptr) return internal_error("TensorFlow refused the data of the input '" + feed.name + "'");
    call->inputs_.push_back(input);
    call->feeds_.push_back(tensor);
  }
  for (const std::string& name : outputs) {
    BLADE_ASSIGN_OR_RETURN(TF_Output fetch, find(name));
    call->fetches_.push_back(fetch);
    call->names_.push_back(name);
  }
  call->results_.assign(outputs.size(), nullptr);
  return call;
}

Result<std::vector<ir::TensorPtr>> TensorFlowSession::run(const std::vector<NamedTensor>& feeds,
                                                          const std::vector<std::string>& outputs) {
  BLADE_ASSIGN_OR_RETURN(std::unique_ptr<Call> call, prepare(feeds, outputs));
  BLADE_RETURN_IF_ERROR(call->run());
  return call->outputs();
}

void TensorFlowSession::Call::clear_results() {
  for (TF_Tensor*& tensor : results_) {
    if (tensor != nullptr) api_->TF_DeleteTensor(tensor);
    tensor = nullptr;
  }
}

TensorFlowSession::Call::~Call() {
  clear_results();
  for (TF_Tensor* tensor : feeds_) api_->TF_DeleteTensor(tensor);
}

Status TensorFlowSession::Call::run() {
  clear_results();
  StatusHolder status(*api_);
  api_->TF_SessionRun(session_, nullptr, inputs_.data(), feeds_.data(), static_cast<int>(inputs_.size()),
                      fetches_.data(), results_.data(), static_cast<int>(fetches_.size()), nullptr, 0, nullptr,
                      status.get());
  return status.to_status("running the graph");
}

Result<std::vector<ir::TensorPtr>> TensorFlowSession::Call::outputs() const {
  std::vector<ir::TensorPtr> tensors;
  for (size_t i = 0; i < results_.size(); ++i) {
    if (results_[i] == nullptr) return internal_error("an output was asked for before the first run");
    BLADE_ASSIGN_OR_RETURN(ir::TensorPtr tensor, copy_out(*api_, results_[i], names_[i]));
    tensors.push_back(std::move(tensor));
  }
  return tensors;
}

}  // namespace blade::optimizer
