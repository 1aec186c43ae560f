// Opens and runs the sessions.
#include "tensorflow_op/original_session.h"

#include <malloc.h>

#include <cstdio>
#include <map>
#include <mutex>
#include <tuple>
#include <utility>

#include "frontends/tensorflow/original_graph.h"
#include "frontends/tensorflow/proto/wire.h"

namespace blade::tensorflow_op {
namespace {

using tensorflow::ParseContext;
using tensorflow::SharedBytes;
using tensorflow::WireReader;
using tensorflow::WireWriter;

SharedBytes copy_of(const TF_Buffer& buffer) {
  return SharedBytes::own(std::string(static_cast<const char*>(buffer.data), buffer.length));
}

// What `get` (of TensorFlow's kernel API) serializes; nothing where it cannot.
template <class Get>
SharedBytes serialized(TF_OpKernelContext* context, Get get) {
  StatusPtr status = new_status();
  TF_Buffer* buffer = TF_NewBuffer();
  get(context, buffer, status.get());
  SharedBytes out = TF_GetCode(status.get()) == TF_OK ? copy_of(*buffer) : SharedBytes();
  TF_DeleteBuffer(buffer);
  return out;
}

// The name in a serialized NameAttrList.
std::string function_name(const SharedBytes& wire) {
  ParseContext context("an attribute", "NameAttrList", wire.view(), {});
  WireReader reader(wire, context);
  while (reader.next()) {
    if (reader.field() == 1) return reader.string();
  }
  return {};
}

constexpr char kSmall[] = "small";

std::string megabytes(uint64_t bytes) {
  char out[32];
  std::snprintf(out, sizeof(out), "%.1f MB", static_cast<double>(bytes) / 1e6);
  return out;
}

}  // namespace

// Fields of ConfigProto, tensorflow/core/protobuf/config.proto.
std::string config_of_inner_session(const SharedBytes& config) {
  constexpr uint32_t kInterOpThreads = 5, kInterOpPools = 12;
  constexpr uint32_t kNumThreads = 1, kGlobalName = 2;  // of ThreadPoolOptionProto
  ParseContext context("the session's configuration", "ConfigProto", config.view(), {});
  WireReader reader(config, context);
  WireWriter writer;
  int32_t threads = 0;
  while (reader.next()) {
    if (reader.field() == kInterOpPools) continue;
    if (reader.field() == kInterOpThreads) {
      threads = reader.int32();
      writer.varint(kInterOpThreads, static_cast<uint64_t>(int64_t{threads}));
    } else {
      writer.raw(reader.raw_field());
    }
  }
  if (threads >= 0) {  // below, TensorFlow runs all nodes in the thread that calls
    WireWriter pool;
    pool.nonzero(kNumThreads, static_cast<uint64_t>(threads));
    pool.bytes(kGlobalName, "blade_original_" + std::to_string(threads));
    writer.message(kInterOpPools, std::move(pool));
  }
  std::string out;
  writer.append_to(out);
  return out;
}

OriginalSession::OriginalSession(OriginalSource source) {
  uint64_t weight_bytes = 0;
  const std::string error = open(std::move(source), weight_bytes);
  if (error.empty()) {
    description_ = "in a session of its own, which holds its weights once more (" + megabytes(weight_bytes) + ")";
    return;
  }
  if (session_ != nullptr) api_->delete_session(std::exchange(session_, nullptr), new_status().get());
  if (error == kSmall) {
    description_ = "in place, since it is small";
    return;
  }
  description_ = "without its weights as constants, more slowly than before it was optimized: " + error;
}

OriginalSession::~OriginalSession() {
  if (session_ != nullptr) api_->delete_session(session_, new_status().get());
  if (graph_ != nullptr) api_->delete_graph(graph_);
}

std::string OriginalSession::open(OriginalSource source, uint64_t& weight_bytes) {
  if (api_ == nullptr) return "this TensorFlow does not offer sessions to C";
  auto library = tensorflow::parse_function_library(std::move(source.library), "the session's function library");
  if (!library.ok()) return library.status().message();
  std::vector<SharedBytes> pieces;
  for (const auto& piece : source.engine->bytes().list())
    pieces.emplace_back(source.engine, std::string_view(reinterpret_cast<const char*>(piece.data()), piece.size()));
  const tensorflow::SharedPieces engine(std::move(pieces));
  source.engine.reset();
  auto original = tensorflow::make_original_graph(*library, source.function, engine, source.producer);
  if (!original.ok()) return original.status().message();
  if (!original->repays_a_session) return kSmall;
  weight_bytes = original->weight_bytes;
  auto wire = tensorflow::serialize(original->graph);
  if (!wire.ok()) return wire.status().message();
  StatusPtr status = new_status();
  import(std::move(*wire), status.get());
  if (TF_GetCode(status.get()) == TF_OK) start(source.config, status.get());
  if (TF_GetCode(status.get()) != TF_OK) return TF_Message(status.get());

  for (const std::string& name : original->inputs)
    inputs_.push_back({api_->operation_by_name(graph_, name.c_str()), 0});
  TF_Operation* call = api_->operation_by_name(graph_, original->call.c_str());
  for (size_t i = 0; i < original->num_outputs; ++i) outputs_.push_back({call, static_cast<int>(i)});
  return {};
}

void OriginalSession::import(std::string graph_def, TF_Status* status) {
  graph_ = api_->new_graph();
  TF_ImportGraphDefOptions* options = api_->new_import_options();
  const TF_Buffer buffer{graph_def.data(), graph_def.size(), nullptr};
  api_->import_graph_def(graph_, &buffer, options, status);
  api_->delete_import_options(options);
}

void OriginalSession::start(const SharedBytes& outer_config, TF_Status* status) {
  const std::string config = config_of_inner_session(outer_config);
  TF_SessionOptions* options = api_->new_session_options();
  api_->set_config(options, config.data(), config.size(), status);
  if (TF_GetCode(status) == TF_OK) session_ = api_->new_session(graph_, options, status);
  api_->delete_session_options(options);
}

void OriginalSession::run(TF_OpKernelContext* context) {
  std::vector<TensorPtr> held;
  std::vector<TF_Tensor*> feeds, results(outputs_.size());
  for (size_t i = 0; i < inputs_.size(); ++i) {
    held.push_back(get_input(context, static_cast<int>(i) + 1));
    if (!held.back()) return;
    feeds.push_back(held.back().get());
  }
  StatusPtr status = new_status();
  api_->run(session_, nullptr, inputs_.data(), feeds.data(), static_cast<int>(feeds.size()), outputs_.data(),
            results.data(), static_cast<int>(results.size()), nullptr, 0, nullptr, status.get());
  std::call_once(ran_, [] { malloc_trim(0); });  // what TensorFlow freed while it rewrote the graph
  if (TF_GetCode(status.get()) != TF_OK) return TF_OpKernelContext_Failure(context, status.get());
  for (size_t i = 0; i < results.size(); ++i) held.emplace_back(results[i]);
  for (size_t i = 0; i < results.size() && TF_GetCode(status.get()) == TF_OK; ++i)
    TF_SetOutput(context, static_cast<int>(i), results[i], status.get());
  if (TF_GetCode(status.get()) != TF_OK) TF_OpKernelContext_Failure(context, status.get());
}

OriginalFinder::OriginalFinder(TF_OpKernelConstruction* construction) {
  StatusPtr status = new_status();
  TF_Buffer* buffer = TF_OpKernelConstruction_GetAttrFunction(construction, "original", status.get());
  if (TF_GetCode(status.get()) != TF_OK) {
    TF_OpKernelConstruction_Failure(construction, status.get());
    return;
  }
  function_ = function_name(copy_of(*buffer));
  TF_DeleteBuffer(buffer);
}

std::shared_ptr<OriginalSession> OriginalFinder::get(TF_OpKernelContext* context, TensorPtr engine) {
  return sessions_.get(std::move(engine), [&](SharedTensor tensor) {
    using Key = std::tuple<TensorKey, std::string, std::string>;
    static std::mutex mutex;
    static auto* sessions = new std::map<Key, std::weak_ptr<OriginalSession>>;  // see find_or_load()
    OriginalSource source{EngineBytes::of(std::move(tensor)), function_,
                          serialized(context, TF_GetSerializedConfigProto),
                          serialized(context, TF_GetSerializedFunctionDefLibrary), TF_GetGraphDefVersion(context)};
    const Key key(source.engine->key(), function_, source.config.view());
    const std::scoped_lock lock(mutex);
    if (auto open = (*sessions)[key].lock()) return open;
    auto opened = std::make_shared<OriginalSession>(std::move(source));
    std::erase_if(*sessions, [](const auto& entry) { return entry.second.expired(); });
    (*sessions)[key] = opened;
    return opened;
  });
}

}  // namespace blade::tensorflow_op
