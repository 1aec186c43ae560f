// Engines of this process by the tensor that holds them, so that the in-profile test and the engine op share one.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "blade/blade.h"
#include "tensorflow_op/engine_bytes.h"
#include "tensorflow_op/tf_support.h"

namespace blade::tensorflow_op {

// A loaded engine, or why it could not be loaded: a failed load is remembered, not tried again each run.
class LoadedEngine {
 public:
  explicit LoadedEngine(std::shared_ptr<EngineBytes> bytes);
  ~LoadedEngine();
  LoadedEngine(const LoadedEngine&) = delete;
  LoadedEngine& operator=(const LoadedEngine&) = delete;

  blade_engine* get() const { return engine_; }  // null when loading failed
  const std::string& error() const { return error_; }
  const std::shared_ptr<EngineBytes>& bytes() const { return bytes_; }
  // The same for engines of the same bytes, where they were found undamaged; else this engine's alone while it lives.
  std::string identity() const;
  // What an engine hands back to TensorFlow is counted each time, and said the first: why is kept until then.
  void note_fallback(const std::string& why);
  std::string take_reason();  // empty when it was said

 private:
  std::shared_ptr<EngineBytes> bytes_;  // the engine's weights stay in them
  blade_engine* engine_ = nullptr;
  std::string error_;
  std::mutex mutex_;
  bool said_ = false;
  std::string reason_;
};

// Counts a run that goes to the original graph; logs why, and `where` that runs, the first time.
void count_fallback(LoadedEngine& engine, const std::string& where);

// The engine in `tensor` (uint8; see EngineBytes): loaded at first sight, shared while somebody holds it.
std::shared_ptr<LoadedEngine> find_or_load(SharedTensor tensor);

// One kernel's memory of what stands for the engine tensor that it was last given: looked up again only when it is
// given another one.
template <class T>
class TensorMemo {
 public:
  // `find` makes a std::shared_ptr<T> of `tensor`.
  template <class Find>
  std::shared_ptr<T> get(TensorPtr tensor, Find find) {
    const TensorKey key = key_of(tensor.get());
    std::shared_ptr<const Entry> last = std::atomic_load(&last_);
    if (last && last->key == key) return last->found;
    SharedTensor held = std::move(tensor);
    std::shared_ptr<T> found = find(held);
    std::atomic_store(&last_, std::make_shared<const Entry>(Entry{key, std::move(held), found}));
    return found;
  }

 private:
  struct Entry {
    TensorKey key;
    SharedTensor held;  // keeps its address from meaning another tensor
    std::shared_ptr<T> found;
  };
  std::shared_ptr<const Entry> last_;  // accessed with std::atomic_load/store: kernels run concurrently
};

}  // namespace blade::tensorflow_op
