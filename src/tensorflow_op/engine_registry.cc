// Engines of this process by the tensor that holds them.
#include "tensorflow_op/engine_registry.h"

#include <atomic>
#include <map>
#include <mutex>
#include <utility>

namespace blade::tensorflow_op {
namespace {

using Key = std::pair<const void*, size_t>;

Key key_of(const TF_Tensor* tensor) { return {TF_TensorData(tensor), TF_TensorByteSize(tensor)}; }

}  // namespace

LoadedEngine::LoadedEngine(TensorPtr tensor) : tensor_(std::move(tensor)) {
  const void* data = TF_TensorData(tensor_.get());
  const size_t size = TF_TensorByteSize(tensor_.get());
  if (blade_engine_load_memory(data, size, nullptr, nullptr, nullptr, &engine_) != BLADE_OK) {
    error_ = blade_last_error();
    engine_ = nullptr;
  }
}

LoadedEngine::~LoadedEngine() { blade_engine_free(engine_); }

std::shared_ptr<LoadedEngine> find_or_load(TensorPtr tensor) {
  static std::mutex mutex;
  static auto* engines =
      new std::map<Key, std::weak_ptr<LoadedEngine>>;  // never destroyed: sessions may outlive statics
  const Key key = key_of(tensor.get());
  const std::scoped_lock lock(mutex);
  if (auto alive = (*engines)[key].lock()) return alive;
  auto loaded = std::make_shared<LoadedEngine>(std::move(tensor));
  std::erase_if(*engines, [](const auto& entry) { return entry.second.expired(); });
  (*engines)[key] = loaded;
  return loaded;
}

struct EngineHolder::Held {
  Key key;
  std::shared_ptr<LoadedEngine> engine;
};

std::shared_ptr<LoadedEngine> EngineHolder::get(TensorPtr tensor) {
  const Key key = key_of(tensor.get());
  std::shared_ptr<const Held> held = std::atomic_load(&held_);
  if (held && held->key == key) return held->engine;
  auto engine = find_or_load(std::move(tensor));
  std::atomic_store(&held_, std::make_shared<const Held>(Held{key, engine}));
  return engine;
}

}  // namespace blade::tensorflow_op
