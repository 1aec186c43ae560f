// Opens and runs the sessions.
#include "tensorflow_op/original_session.h"

#include <malloc.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <mutex>
#include <optional>
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

std::string megabytes(uint64_t bytes) {
  char out[32];
  std::snprintf(out, sizeof(out), "%.1f MB", static_cast<double>(bytes) / 1e6);
  return out;
}

// TensorFlow's messages have several lines.
std::string on_one_line(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text;
}

// Fields of ConfigProto and its messages, tensorflow/core/protobuf/config.proto.
constexpr uint32_t kInterOpThreads = 5, kGraphOptions = 10, kInterOpPools = 12, kExperimental = 16;
constexpr uint32_t kNumThreads = 1, kGlobalName = 2;                           // of ThreadPoolOptionProto
constexpr uint32_t kPlacePrunedGraph = 6;                                      // of GraphOptions
constexpr uint32_t kSessionMetadata = 11, kDisableOutputPartitionGraphs = 14;  // of Experimental

void copy_without(uint32_t field, const SharedBytes& message, WireWriter& writer) {
  ParseContext context("the session's configuration", "ConfigProto", message.view(), {});
  WireReader reader(message, context);
  while (reader.next()) {
    if (reader.field() != field) writer.raw(reader.raw_field());
  }
}

}  // namespace

std::string config_of_inner_session(const SharedBytes& config) {
  ParseContext context("the session's configuration", "ConfigProto", config.view(), {});
  WireReader reader(config, context);
  WireWriter writer;
  SharedBytes experimental;
  int32_t threads = 0;
  while (reader.next()) {
    if (reader.field() == kInterOpPools) continue;
    if (reader.field() == kExperimental) {
      experimental = reader.bytes();
    } else if (reader.field() == kInterOpThreads) {
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
  // Each spares a copy of the weights: of the graph as it was placed, and of the parts it was cut into.
  WireWriter graph_options, inner_experimental;
  graph_options.varint(kPlacePrunedGraph, 1);
  writer.message(kGraphOptions, std::move(graph_options));  // added to what stands there already
  copy_without(kSessionMetadata, experimental, inner_experimental);
  inner_experimental.varint(kDisableOutputPartitionGraphs, 1);
  writer.message(kExperimental, std::move(inner_experimental));
  std::string out;
  writer.append_to(out);
  return out;
}

OriginalSession::OriginalSession(OriginalSource source) {
  uint64_t weight_bytes = 0;
  const std::string error = open(std::move(source), weight_bytes);
  if (ready()) {
    description_ = "in a session of its own, which holds its weights (" + megabytes(weight_bytes) + ") about twice";
    return;
  }
  if (error.empty()) {
    description_ = "in place, since it is small";
    return;
  }
  description_ = "without its weights as constants, more slowly than before it was optimized: " + on_one_line(error) +
                 "; optimize with a profile that holds these inputs, so that the engine runs them";
}

OriginalSession::~OriginalSession() { close(); }

void OriginalSession::close() {
  if (session_ != nullptr) api_->delete_session(std::exchange(session_, nullptr), new_status().get());
}

std::string OriginalSession::open(OriginalSource source, uint64_t& weight_bytes) {
  if (api_ == nullptr) return "this TensorFlow does not offer sessions to C";
  if (!source.engine->error().empty()) return source.engine->error();
  auto library = tensorflow::parse_function_library(std::move(source.library), "the session's function library");
  if (!library.ok()) return library.status().message();
  std::vector<SharedBytes> pieces;
  for (const auto& piece : source.engine->bytes().list())
    pieces.emplace_back(source.engine, std::string_view(reinterpret_cast<const char*>(piece.data()), piece.size()));
  const tensorflow::SharedPieces engine(std::move(pieces));
  source.engine.reset();
  auto original = tensorflow::make_original_graph(*library, source.function, engine, source.producer);
  if (!original.ok()) return original.status().message();
  if (!original->repays_a_session) return {};
  weight_bytes = original->weight_bytes;
  auto wire = tensorflow::serialize(original->graph);
  if (!wire.ok()) return wire.status().message();
  StatusPtr status = new_status();
  start(*wire, source.config, status.get());
  if (TF_GetCode(status.get()) != TF_OK) {
    close();
    return TF_Message(status.get());
  }
  for (const std::string& name : original->inputs) inputs_.push_back(name + ":0");
  for (size_t i = 0; i < original->num_outputs; ++i) outputs_.push_back(original->call + ":" + std::to_string(i));
  return {};
}

void OriginalSession::start(const std::string& graph_def, const SharedBytes& outer_config, TF_Status* status) {
  const std::string config = config_of_inner_session(outer_config);
  TF_SessionOptions* options = api_->new_session_options();
  api_->set_config(options, config.data(), config.size(), status);
  if (TF_GetCode(status) == TF_OK) session_ = api_->new_session(options, status);
  api_->delete_session_options(options);
  if (TF_GetCode(status) == TF_OK) api_->extend_graph(session_, graph_def.data(), graph_def.size(), status);
}

void OriginalSession::run(TF_OpKernelContext* context) {
  std::vector<TensorPtr> held;
  std::vector<TF_Tensor*> feeds, results(outputs_.size());
  std::vector<const char*> inputs, outputs;
  for (size_t i = 0; i < inputs_.size(); ++i) {
    held.push_back(get_input(context, static_cast<int>(i) + 1));
    if (!held.back()) return;
    feeds.push_back(held.back().get());
    inputs.push_back(inputs_[i].c_str());
  }
  for (const std::string& name : outputs_) outputs.push_back(name.c_str());
  StatusPtr status = new_status();
  api_->run(session_, nullptr, inputs.data(), feeds.data(), static_cast<int>(feeds.size()), outputs.data(),
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
  struct Entry {
    std::shared_ptr<LoadedEngine> engine;  // whose identity the key has
    std::once_flag once;
    std::optional<OriginalSession> session;
  };
  return sessions_.get(std::move(engine), [&](SharedTensor tensor) {
    using Key = std::tuple<std::string, std::string, std::string>;
    static std::mutex mutex;
    static auto* entries = new std::map<Key, std::weak_ptr<Entry>>;  // see find_or_load()
    const auto loaded = find_or_load(std::move(tensor));
    SharedBytes config = serialized(context, TF_GetSerializedConfigProto);
    std::shared_ptr<Entry> entry;
    {
      const std::scoped_lock lock(mutex);
      std::erase_if(*entries, [](const auto& other) { return other.second.expired(); });
      std::weak_ptr<Entry>& known = (*entries)[Key(function_, loaded->identity(), config.view())];
      entry = known.lock();
      if (!entry) {
        known = entry = std::make_shared<Entry>();
        entry->engine = loaded;
      }
    }
    // Outside the lock: opening takes long, and others open other sessions meanwhile.
    std::call_once(entry->once, [&] {
      entry->session.emplace(OriginalSource{loaded->bytes(), function_, std::move(config),
                                            serialized(context, TF_GetSerializedFunctionDefLibrary),
                                            TF_GetGraphDefVersion(context)});
    });
    return std::shared_ptr<OriginalSession>(entry, &*entry->session);
  });
}

}  // namespace blade::tensorflow_op
