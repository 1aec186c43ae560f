// TensorProto and TensorShapeProto: constant data as GraphDef stores it, decoded on demand to dense elements.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/status.h"
#include "frontends/tensorflow/proto/data_type.h"
#include "frontends/tensorflow/proto/shared_bytes.h"

namespace blade::tensorflow {

class WireWriter;

struct TensorShapeProto {
  bool unknown_rank = false;
  std::vector<int64_t> dims;  // -1: not known
  bool operator==(const TensorShapeProto&) const = default;
};
// "[?,224,224,3]", "[]" for a scalar, "<unknown rank>".
std::string to_string(const TensorShapeProto& shape);

// Dense elements in row-major order, little-endian, without alignment: read them with memcpy.
struct TensorData {
  DataType dtype = DataType::kInvalid;
  std::vector<int64_t> dims;
  int64_t element_count = 0;
  SharedBytes content;               // element_count * data_type_size(dtype) bytes; empty for strings
  std::vector<std::string> strings;  // element_count of them when dtype is kString, else empty
};

// Immutable. Holds the message's bytes as read (a view of the file) or the parts it was made of; copying is cheap.
class TensorProto {
 public:
  // An invalid tensor (DT_INVALID), as an empty message means.
  TensorProto() = default;
  // `wire`: the bytes of a TensorProto message; checked by decode().
  static TensorProto from_wire(SharedBytes wire);
  // `content`: dense elements, as in TensorData. Written as tensor_content without being copied before.
  static TensorProto from_dense(DataType dtype, std::vector<int64_t> dims, SharedBytes content);
  static TensorProto from_strings(std::vector<int64_t> dims, std::vector<std::string> strings);

  // Type and shape, without the elements.
  Result<DataType> dtype() const;
  Result<TensorShapeProto> shape() const;
  // Everything. No copy when the data is in tensor_content. TensorFlow's rules hold: missing trailing elements repeat
  // the last value given, or are zero when none is. Fails with a sentence when the data and the shape disagree, or when
  // more than `max_bytes` would be needed.
  Result<TensorData> decode(size_t max_bytes = size_t{1} << 31) const;

  void write(WireWriter& writer) const;
  // The bytes that it was read from; empty when made by from_dense or from_strings.
  const SharedBytes& wire() const { return wire_; }

 private:
  SharedBytes wire_;
  std::shared_ptr<const TensorData> made_;
};

}  // namespace blade::tensorflow
