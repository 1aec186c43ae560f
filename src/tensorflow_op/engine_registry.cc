// Engines of this process by the tensor that holds them.
#include "tensorflow_op/engine_registry.h"

#include <map>
#include <mutex>
#include <utility>
#include <vector>

namespace blade::tensorflow_op {

LoadedEngine::LoadedEngine(std::shared_ptr<EngineBytes> bytes) : bytes_(std::move(bytes)), error_(bytes_->error()) {
  if (!error_.empty()) return;
  std::vector<blade_bytes> pieces;
  for (const auto& piece : bytes_->bytes().list()) pieces.push_back({piece.data(), piece.size()});
  const auto count = static_cast<int32_t>(pieces.size());
  if (blade_engine_load_pieces(pieces.data(), count, nullptr, nullptr, nullptr, &engine_) != BLADE_OK) {
    error_ = blade_last_error();
    engine_ = nullptr;
  }
}

LoadedEngine::~LoadedEngine() { blade_engine_free(engine_); }

std::string LoadedEngine::identity() const {
  constexpr uint64_t kChecksum = 80;  // docs/engine-format.md
  const auto checksum = engine_ != nullptr ? bytes_->bytes().find(kChecksum, sizeof(uint64_t)) : std::nullopt;
  if (checksum) return std::string(reinterpret_cast<const char*>(checksum->data()), checksum->size());
  return "at " + std::to_string(reinterpret_cast<uintptr_t>(this));
}

void LoadedEngine::note_fallback(const std::string& why) {
  const std::scoped_lock lock(mutex_);
  if (!said_) reason_ = why;
}

std::string LoadedEngine::take_reason() {
  const std::scoped_lock lock(mutex_);
  said_ = said_ || !reason_.empty();
  return std::exchange(reason_, {});
}

void count_fallback(LoadedEngine& engine, const std::string& where) {
  std::string why = engine.take_reason();
  if (!why.empty()) why += ". The original graph runs " + where;
  blade_count_fallback(why.empty() ? nullptr : why.c_str());
}

std::shared_ptr<LoadedEngine> find_or_load(SharedTensor tensor) {
  static std::mutex mutex;
  static auto* engines =
      new std::map<TensorKey, std::weak_ptr<LoadedEngine>>;  // never destroyed: sessions may outlive statics
  auto bytes = EngineBytes::of(std::move(tensor));
  const TensorKey key = bytes->key();
  const std::scoped_lock lock(mutex);
  if (auto alive = (*engines)[key].lock()) return alive;
  auto loaded = std::make_shared<LoadedEngine>(std::move(bytes));
  std::erase_if(*engines, [](const auto& entry) { return entry.second.expired(); });
  (*engines)[key] = loaded;
  return loaded;
}

}  // namespace blade::tensorflow_op
