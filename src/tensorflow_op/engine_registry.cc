// Engines of this process by the tensor that holds them.
#include "tensorflow_op/engine_registry.h"

#include <map>
#include <mutex>
#include <utility>

namespace blade::tensorflow_op {

TensorKey key_of(const TF_Tensor* tensor) { return {TF_TensorData(tensor), TF_TensorByteSize(tensor)}; }

LoadedEngine::LoadedEngine(TensorPtr tensor) : tensor_(std::move(tensor)) {
  const void* data = TF_TensorData(tensor_.get());
  const size_t size = TF_TensorByteSize(tensor_.get());
  if (blade_engine_load_memory(data, size, nullptr, nullptr, nullptr, &engine_) != BLADE_OK) {
    error_ = blade_last_error();
    engine_ = nullptr;
  }
}

LoadedEngine::~LoadedEngine() { blade_engine_free(engine_); }

void LoadedEngine::note_fallback(const std::string& why) {
  const std::scoped_lock lock(mutex_);
  if (!said_) reason_ = why;
}

std::string LoadedEngine::take_reason() {
  const std::scoped_lock lock(mutex_);
  said_ = said_ || !reason_.empty();
  return std::exchange(reason_, {});
}

std::shared_ptr<LoadedEngine> find_or_load(TensorPtr tensor) {
  static std::mutex mutex;
  static auto* engines =
      new std::map<TensorKey, std::weak_ptr<LoadedEngine>>;  // never destroyed: sessions may outlive statics
  const TensorKey key = key_of(tensor.get());
  const std::scoped_lock lock(mutex);
  if (auto alive = (*engines)[key].lock()) return alive;
  auto loaded = std::make_shared<LoadedEngine>(std::move(tensor));
  std::erase_if(*engines, [](const auto& entry) { return entry.second.expired(); });
  (*engines)[key] = loaded;
  return loaded;
}

}  // namespace blade::tensorflow_op
