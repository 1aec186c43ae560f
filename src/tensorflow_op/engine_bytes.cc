// Handles are told apart by their content: a tensor's address means another one later.
#include "tensorflow_op/engine_bytes.h"

#include <array>
#include <cstring>
#include <map>
#include <mutex>
#include <random>

namespace blade::tensorflow_op {
namespace {

using HandleId = std::array<uint64_t, 4>;

constexpr std::array<char, 8> kMagic = {'B', 'L', 'A', 'D', 'E', 'H', 'D', 'L'};

// What a handle's tensor shows of a HandleBuffer.
struct HandleContent {
  std::array<char, 8> magic = kMagic;
  HandleId id;
};

// TensorFlow copies what is not aligned like its own buffers, and lets go of the original.
struct alignas(64) HandleBuffer {
  HandleContent content;
  std::shared_ptr<EngineBytes> bytes;
};

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
  HandleContent content;
  bool lost = false;
  if (TF_TensorByteSize(tensor.get()) == sizeof(content)) {
    std::memcpy(&content, TF_TensorData(tensor.get()), sizeof(content));
    if (content.magic == kMagic) {
      const std::scoped_lock lock(handles().mutex);
      const auto found = handles().known.find(content.id);
      if (auto alive = found != handles().known.end() ? found->second.lock() : nullptr) return alive;
      lost = true;
    }
  }
  auto bytes = std::make_shared<EngineBytes>(std::vector{std::move(tensor)});
  if (lost) {
    bytes->error_ =
        "the engine's input is a handle of no engine in this process: something stored what BladeEngineFile gave, "
        "which means nothing elsewhere; leave BladeEngineFile and its pieces in the graph, or optimize the model again";
  }
  return bytes;
}

SharedTensor EngineBytes::make_handle(const std::shared_ptr<EngineBytes>& bytes) {
  auto buffer = std::make_unique<HandleBuffer>();
  const HandleId id = buffer->content.id = new_id();
  buffer->bytes = bytes;
  constexpr int64_t kSize = sizeof(HandleContent);
  HandleContent* content = &buffer->content;
  const auto release = [](void*, size_t, void* owner) { delete static_cast<HandleBuffer*>(owner); };
  TensorPtr handle(TF_NewTensor(TF_UINT8, &kSize, 1, content, kSize, release, buffer.release()));
  if (!handle) return nullptr;
  const std::scoped_lock lock(handles().mutex);
  std::erase_if(handles().known, [](const auto& entry) { return entry.second.expired(); });
  handles().known.emplace(id, bytes);
  return handle;
}

}  // namespace blade::tensorflow_op
