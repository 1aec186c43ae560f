// TensorFlow's stable C API, loaded from the user's installed wheel when it is present: Blade is built and runs without
// it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/status.h"
#include "ir/types.h"

// Opaque types and plain structs of tensorflow/c/c_api.h, whose layout its ABI fixes.
struct TF_Status;
struct TF_Graph;
struct TF_Session;
struct TF_SessionOptions;
struct TF_ImportGraphDefOptions;
struct TF_Operation;
struct TF_Tensor;
struct TF_Library;
// tensorflow/c/tf_tstring.h: a string of one of four kinds, told apart by its functions.
union TF_TString {
  unsigned char bytes[24];
  void* pointer;
};
struct TF_Buffer {
  const void* data;
  size_t length;
  void (*data_deallocator)(void*, size_t);
};
struct TF_Output {
  TF_Operation* oper;
  int index;
};

namespace blade::optimizer {

// The functions used, by the names they have in TensorFlow.
struct TensorFlowApi {
  const char* (*TF_Version)();
  TF_Status* (*TF_NewStatus)();
  void (*TF_DeleteStatus)(TF_Status*);
  int (*TF_GetCode)(const TF_Status*);
  const char* (*TF_Message)(const TF_Status*);
  TF_Graph* (*TF_NewGraph)();
  void (*TF_DeleteGraph)(TF_Graph*);
  TF_ImportGraphDefOptions* (*TF_NewImportGraphDefOptions)();
  void (*TF_DeleteImportGraphDefOptions)(TF_ImportGraphDefOptions*);
  void (*TF_GraphImportGraphDef)(TF_Graph*, const TF_Buffer*, const TF_ImportGraphDefOptions*, TF_Status*);
  TF_Operation* (*TF_GraphOperationByName)(TF_Graph*, const char*);
  int (*TF_OperationNumOutputs)(TF_Operation*);
  int (*TF_OperationOutputType)(TF_Output);
  int (*TF_GraphGetTensorNumDims)(TF_Graph*, TF_Output, TF_Status*);
  void (*TF_GraphGetTensorShape)(TF_Graph*, TF_Output, int64_t*, int, TF_Status*);
  TF_SessionOptions* (*TF_NewSessionOptions)();
  void (*TF_DeleteSessionOptions)(TF_SessionOptions*);
  void (*TF_SetConfig)(TF_SessionOptions*, const void*, size_t, TF_Status*);
  TF_Session* (*TF_NewSession)(TF_Graph*, const TF_SessionOptions*, TF_Status*);
  void (*TF_CloseSession)(TF_Session*, TF_Status*);
  void (*TF_DeleteSession)(TF_Session*, TF_Status*);
  void (*TF_SessionRun)(TF_Session*, const TF_Buffer*, const TF_Output*, TF_Tensor* const*, int, const TF_Output*,
                        TF_Tensor**, int, const TF_Operation* const*, int, TF_Buffer*, TF_Status*);
  TF_Tensor* (*TF_NewTensor)(int, const int64_t*, int, void*, size_t, void (*)(void*, size_t, void*), void*);
  void (*TF_DeleteTensor)(TF_Tensor*);
  int (*TF_TensorType)(const TF_Tensor*);
  int (*TF_NumDims)(const TF_Tensor*);
  int64_t (*TF_Dim)(const TF_Tensor*, int);
  size_t (*TF_TensorByteSize)(const TF_Tensor*);
  void* (*TF_TensorData)(const TF_Tensor*);
  TF_Library* (*TF_LoadLibrary)(const char*, TF_Status*);
  void (*TF_StringInit)(TF_TString*);
  void (*TF_StringCopy)(TF_TString*, const char*, size_t);
  void (*TF_StringDealloc)(TF_TString*);
  const char* (*TF_StringGetDataPointer)(const TF_TString*);
  size_t (*TF_StringGetSize)(const TF_TString*);
};

// Loads libtensorflow_cc.so.2 from `directory` (where `import tensorflow` has loaded it already, the same copy), or
// where it is searched by default when empty. An error says what was tried.
Result<const TensorFlowApi*> load_tensorflow(const std::string& directory);
// Registers the ops of a library with TensorFlow, once a process and path.
Status load_op_library(const TensorFlowApi& api, const std::string& path);

// libblade_tf.so beside the library this code is in.
std::string default_op_library();

struct NamedTensor {
  std::string name;  // tensor name, "input:0"
  ir::TensorPtr tensor;
};

struct SessionConfig {
  int num_threads = 0;      // intra-op; 0: TensorFlow's default
  bool as_written = false;  // no graph rewriting at all: the reference for accuracy
  // Nodes to run once before anything else: what fills lookup tables.
  std::vector<std::string> initializers;
  std::vector<NamedTensor> fixed;  // fed in every run beside the inputs
};

// The type (TensorFlow's number) and shape that TensorFlow infers for a tensor.
struct InferredTensor {
  std::string name;  // "node:0"
  int dtype = 0;
  std::optional<ir::Dims> dims;  // none: unknown rank; -1: an unknown dim
};
// All tensors of the given nodes; a node that the graph does not have gives none.
Result<std::vector<InferredTensor>> infer_tensors(const TensorFlowApi& api, std::string_view graph_def,
                                                  const std::vector<std::string>& nodes);

// One TensorFlow session over one serialized GraphDef.
class TensorFlowSession {
 public:
  static Result<std::unique_ptr<TensorFlowSession>> create(const TensorFlowApi& api, std::string_view graph_def,
                                                           const SessionConfig& config);
  ~TensorFlowSession();
  TensorFlowSession(const TensorFlowSession&) = delete;
  TensorFlowSession& operator=(const TensorFlowSession&) = delete;

  // Runs and returns copies of the outputs (tensor names); strings as in string_tensor.h. Other types that ir::DType
  // lacks are an error.
  Result<std::vector<ir::TensorPtr>> run(const std::vector<NamedTensor>& feeds,
                                         const std::vector<std::string>& outputs);

  // A call prepared once, so that timing it times TensorFlow and not name look-ups.
  class Call;
  Result<std::unique_ptr<Call>> prepare(const std::vector<NamedTensor>& feeds, const std::vector<std::string>& outputs);

 private:
  TensorFlowSession() = default;
  Status initialize(const std::vector<std::string>& nodes);
  Result<TF_Output> find(const std::string& tensor_name) const;
  const TensorFlowApi* api_ = nullptr;
  TF_Graph* graph_ = nullptr;
  TF_Session* session_ = nullptr;
};

class TensorFlowSession::Call {
 public:
  ~Call();
  Status run();                                        // outputs of the run before are dropped
  Result<std::vector<ir::TensorPtr>> outputs() const;  // of the last run, copied

 private:
  friend class TensorFlowSession;
  const TensorFlowApi* api_ = nullptr;
  TF_Session* session_ = nullptr;
  std::vector<ir::TensorPtr> held_;
  std::vector<TF_Output> inputs_, fetches_;
  std::vector<std::string> names_;
  std::vector<TF_Tensor*> feeds_, results_;
  void clear_results();
};

}  // namespace blade::optimizer
