// Engines of this process by the tensor that holds them, so that the in-profile test and the engine op share one.
#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "blade/blade.h"
#include "tensorflow_op/tf_support.h"

namespace blade::tensorflow_op {

// A loaded engine, or why it could not be loaded: a failed load is remembered, not tried again each run.
class LoadedEngine {
 public:
  explicit LoadedEngine(TensorPtr tensor);
  ~LoadedEngine();
  LoadedEngine(const LoadedEngine&) = delete;
  LoadedEngine& operator=(const LoadedEngine&) = delete;

  blade_engine* get() const { return engine_; }  // null when loading failed
  const std::string& error() const { return error_; }
  // True once: what an engine hands back to TensorFlow is counted each time, and said the first.
  bool first_fallback() { return !said_.exchange(true, std::memory_order_relaxed); }

 private:
  TensorPtr tensor_;  // the engine's weights stay in it; also keeps its address from meaning another engine
  blade_engine* engine_ = nullptr;
  std::string error_;
  std::atomic<bool> said_ = false;
};

// The engine in `tensor` (uint8 [bytes]): loaded at first sight, shared while somebody holds it.
std::shared_ptr<LoadedEngine> find_or_load(TensorPtr tensor);

// One kernel's memory of its engine: re-looked up only when it is given another tensor.
class EngineHolder {
 public:
  std::shared_ptr<LoadedEngine> get(TensorPtr tensor);

 private:
  struct Held;
  std::shared_ptr<const Held> held_;  // accessed with std::atomic_load/store: kernels run concurrently
};

}  // namespace blade::tensorflow_op
