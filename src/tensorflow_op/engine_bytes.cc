// Handles are told apart by their content, since TensorFlow may copy a tensor on its way to an op.
#include "tensorflow_op/engine_bytes.h"

#include <array>
#include <cstring>
#include <map>
#include <mutex>
#include <random>

namespace blade::tensorflow_op {
namespace {

using HandleId = std::array<uint64_t, 4>;

struct Handles {
  std::mutex mutex;
  std::map<HandleId, std::weak_ptr<EngineBytes>> known;
};

Handles& handles() {
  static auto* all = new Handles;  // never destroyed: sessions may outlive statics
  return *all;
}

HandleId new_id() {
  std::random_device random;
  HandleId id;
  for (uint64_t& part : id) part = uint64_t{random()} << 32 | random();
  return id;
}

}  // namespace

TensorKey key_of(const TF_Tensor* tensor) { return {TF_TensorData(tensor), TF_TensorByteSize(tensor)}; }

EngineBytes::EngineBytes(std::vector<SharedTensor> pieces) : pieces_(std::move(pieces)) {
  std::vector<std::span<const std::byte>> views;
  for (const SharedTensor& piece : pieces_)
    views.emplace_back(static_cast<const std::byte*>(TF_TensorData(piece.get())), TF_TensorByteSize(piece.get()));
  bytes_ = Pieces(std::move(views));
}

std::shared_ptr<EngineBytes> EngineBytes::of(SharedTensor tensor) {
  HandleId id;
  if (TF_TensorByteSize(tensor.get()) == sizeof(id)) {
    std::memcpy(&id, TF_TensorData(tensor.get()), sizeof(id));
    const std::scoped_lock lock(handles().mutex);
    const auto found = handles().known.find(id);
    if (auto alive = found != handles().known.end() ? found->second.lock() : nullptr) return alive;
  }
  return std::make_shared<EngineBytes>(std::vector{std::move(tensor)});
}

SharedTensor EngineBytes::make_handle(const std::shared_ptr<EngineBytes>& bytes) {
  const HandleId id = new_id();
  constexpr int64_t kSize = sizeof(id);
  TensorPtr handle(TF_AllocateTensor(TF_UINT8, &kSize, 1, sizeof(id)));
  if (!handle) return nullptr;
  std::memcpy(TF_TensorData(handle.get()), &id, sizeof(id));
  const std::scoped_lock lock(handles().mutex);
  std::erase_if(handles().known, [](const auto& entry) { return entry.second.expired(); });
  handles().known.emplace(id, bytes);
  return handle;
}

}  // namespace blade::tensorflow_op
