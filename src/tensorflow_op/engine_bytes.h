// The bytes of an engine file as TensorFlow hands them to an op: one tensor, or the pieces that a handle stands for.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/pieces.h"
#include "tensorflow_op/tf_support.h"

namespace blade::tensorflow_op {

// Where a tensor's bytes lie, and how many they are.
using TensorKey = std::pair<const void*, size_t>;
TensorKey key_of(const TF_Tensor* tensor);

class EngineBytes {
 public:
  explicit EngineBytes(std::vector<SharedTensor> pieces);

  const Pieces& bytes() const { return bytes_; }
  const std::string& error() const { return error_; }         // why these are no engine's bytes, or empty
  TensorKey key() const { return key_of(pieces_[0].get()); }  // no other engine's, as long as this lives

  // Of the input of an op: a handle, or else the engine file itself.
  static std::shared_ptr<EngineBytes> of(SharedTensor tensor);
  // A small tensor that of() knows again as `bytes`, which live as long as it does. No graph can hold one.
  static SharedTensor make_handle(const std::shared_ptr<EngineBytes>& bytes);

 private:
  std::vector<SharedTensor> pieces_;
  Pieces bytes_;
  std::string error_;
};

}  // namespace blade::tensorflow_op
