// The original nodes of a region in a TensorFlow session of their own, opened when they are first needed: there its
// weights are constants, which TensorFlow folds, fuses and arranges once, as in the model before it was optimized.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "frontends/tensorflow/proto/shared_bytes.h"
#include "tensorflow_op/engine_registry.h"
#include "tensorflow_op/session_api.h"
#include "tensorflow_op/tf_support.h"

namespace blade::tensorflow_op {

// What a session is opened from, all of it as the running kernel's session has it.
struct OriginalSource {
  std::shared_ptr<const EngineBytes> engine;
  std::string function;             // blade_original_k_*
  tensorflow::SharedBytes config;   // serialized ConfigProto, which the new session follows
  tensorflow::SharedBytes library;  // serialized FunctionDefLibrary
  int producer = 0;                 // version of the graph
};

class OriginalSession {
 public:
  explicit OriginalSession(OriginalSource source);
  ~OriginalSession();
  OriginalSession(const OriginalSession&) = delete;
  OriginalSession& operator=(const OriginalSession&) = delete;

  bool ready() const { return session_ != nullptr; }
  // Where the original graph runs, to follow "The original graph runs ".
  const std::string& description() const { return description_; }
  // Runs on the kernel's inputs after the first, and sets its outputs.
  void run(TF_OpKernelContext* context);

 private:
  // An error, or nothing, where the session is open or would not repay its cost.
  std::string open(OriginalSource source, uint64_t& weight_bytes);
  void start(const std::string& graph_def, const tensorflow::SharedBytes& outer_config, TF_Status* status);
  void close();

  const SessionApi* api_ = session_api();
  TF_DeprecatedSession* session_ = nullptr;
  std::vector<std::string> inputs_, outputs_;  // names of tensors
  std::string description_;
  std::once_flag ran_;
};

// One kernel's way to its session; sessions of one engine, function and configuration are one.
class OriginalFinder {
 public:
  explicit OriginalFinder(TF_OpKernelConstruction* construction);  // reads the attribute `original`
  // Opens the session at first sight; never null.
  std::shared_ptr<OriginalSession> get(TF_OpKernelContext* context, TensorPtr engine);

 private:
  std::string function_;
  TensorMemo<OriginalSession> sessions_;
};

// The configuration of a session that runs inside another one's kernel: threads of its own run its nodes, as many as
// those of the other's, of which one waits for it; no copies of the graph but those it runs from; and not the metadata,
// which name one session of a process.
std::string config_of_inner_session(const tensorflow::SharedBytes& config);

}  // namespace blade::tensorflow_op
