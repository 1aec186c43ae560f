#include "frontends/tensorflow/proto/tensor_proto.h"

#include <cstring>

#include "base/checked_math.h"
#include "frontends/tensorflow/proto/readers.h"
#include "frontends/tensorflow/proto/wire.h"

namespace blade::tensorflow {
namespace {

// Field numbers of TensorProto.
enum : uint32_t {
  kDtype = 1,
  kTensorShape = 2,
  kContent = 4,
  kFloatVal = 5,
  kDoubleVal = 6,
  kIntVal = 7,
  kStringVal = 8,
  kScomplexVal = 9,
  kInt64Val = 10,
  kBoolVal = 11,
  kDcomplexVal = 12,
  kHalfVal = 13,
  kUint32Val = 16,
  kUint64Val = 17,
  kFloat8Val = 18,
};

ParseContext tensor_context(const SharedBytes& wire) { return {"a tensor's value", "TensorProto", wire.view(), ""}; }

struct Header {
  DataType dtype = DataType::kInvalid;
  TensorShapeProto shape;
  SharedBytes content;
};

Status read_header(const SharedBytes& wire, ParseContext& context, Header* header) {
  WireReader reader(wire, context);
  while (reader.next()) {
    switch (reader.field()) {
      case kDtype:
        header->dtype = static_cast<DataType>(reader.int32());
        break;
      case kTensorShape: {
        PartScope part(context, "field tensor_shape");
        SharedBytes shape = reader.bytes();
        if (reader.status().ok()) reader.fail(read_shape(shape, context, &header->shape));
        break;
      }
      case kContent: {
        PartScope part(context, "field tensor_content");
        header->content = reader.bytes();
        break;
      }
      default:
        break;
    }
  }
  return reader.status();
}

// The field that holds values of a type when they are not in tensor_content; 0 where TensorFlow has none.
uint32_t value_field(DataType dtype) {
  switch (dtype) {
    case DataType::kFloat:
      return kFloatVal;
    case DataType::kDouble:
      return kDoubleVal;
    case DataType::kInt32:
    case DataType::kUint8:
    case DataType::kInt16:
    case DataType::kInt8:
    case DataType::kQint8:
    case DataType::kQuint8:
    case DataType::kQint32:
    case DataType::kQint16:
    case DataType::kQuint16:
    case DataType::kUint16:
    case DataType::kInt4:
    case DataType::kUint4:
    case DataType::kInt2:
    case DataType::kUint2:
      return kIntVal;
    case DataType::kString:
      return kStringVal;
    case DataType::kComplex64:
      return kScomplexVal;
    case DataType::kInt64:
      return kInt64Val;
    case DataType::kBool:
      return kBoolVal;
    case DataType::kComplex128:
      return kDcomplexVal;
    case DataType::kHalf:
    case DataType::kBfloat16:
      return kHalfVal;
    case DataType::kUint32:
      return kUint32Val;
    case DataType::kUint64:
      return kUint64Val;
    case DataType::kFloat8E5m2:
    case DataType::kFloat8E4m3fn:
    case DataType::kFloat8E4m3fnuz:
    case DataType::kFloat8E4m3b11fnuz:
    case DataType::kFloat8E5m2fnuz:
      return kFloat8Val;
    default:
      return 0;
  }
}

// Fills dense elements front to back, ignoring what is too much, as TensorFlow does.
class ElementSink {
 public:
  ElementSink(std::string* out, size_t piece) : out_(out), piece_(piece) {}
  void put(uint64_t bits) {  // the low `piece` bytes: little-endian, two's complement
    if (filled_ + piece_ > out_->size()) return;
    std::memcpy(out_->data() + filled_, &bits, piece_);
    filled_ += piece_;
  }
  size_t filled() const { return filled_; }

 private:
  std::string* out_;
  size_t piece_;  // bytes a value: an element's, or half of a complex one's
  size_t filled_ = 0;
};

Status read_values(const SharedBytes& wire, ParseContext& context, DataType dtype, std::string* out) {
  const size_t element = data_type_size(dtype);
  const uint32_t field = value_field(dtype);
  const bool complex = field == kScomplexVal || field == kDcomplexVal;
  ElementSink sink(out, complex ? element / 2 : element);
  WireReader reader(wire, context);
  while (reader.next()) {
    if (reader.field() != field) continue;
    switch (field) {
      case kFloatVal:
      case kScomplexVal:
        reader.each_fixed32([&](uint32_t v) { sink.put(v); });
        break;
      case kDoubleVal:
      case kDcomplexVal:
        reader.each_fixed64([&](uint64_t v) { sink.put(v); });
        break;
      case kBoolVal:
        reader.each_varint([&](uint64_t v) { sink.put(v != 0); });
        break;
      case kFloat8Val:
        for (char c : reader.bytes().view()) sink.put(static_cast<uint8_t>(c));
        break;
      default:
        reader.each_varint([&](uint64_t v) { sink.put(v); });
        break;
    }
  }
  if (!reader.status().ok()) return reader.status();
  const size_t whole = sink.filled() / element * element;
  if (whole == 0) {
    std::memset(out->data(), 0, out->size());
  } else {
    for (size_t at = whole; at < out->size(); at += element) {
      std::memcpy(out->data() + at, out->data() + whole - element, element);
    }
  }
  return {};
}

// TensorFlow's EncodeStringList: all lengths as varints, then all characters.
Status split_strings(std::string_view content, int64_t count, std::vector<std::string>* out) {
  std::vector<uint64_t> lengths;
  size_t at = 0;
  for (int64_t i = 0; i < count; ++i) {
    uint64_t length = 0;
    for (int shift = 0;; shift += 7) {
      if (at == content.size() || shift > 28) return data_loss("the string tensor's lengths are cut off");
      auto byte = static_cast<uint8_t>(content[at++]);
      length |= uint64_t{byte & 0x7fu} << shift;
      if (byte < 0x80) break;
    }
    lengths.push_back(length);
  }
  for (uint64_t length : lengths) {
    if (length > content.size() - at) return data_loss("a string of the tensor runs past the end of tensor_content");
    out->emplace_back(content.substr(at, length));
    at += length;
  }
  return {};
}

Status read_strings(const SharedBytes& wire, ParseContext& context, const Header& header, size_t max_bytes,
                    TensorData* data) {
  const auto count = static_cast<size_t>(data->element_count);
  const Status too_large =
      resource_exhausted("the string tensor has " + std::to_string(count) +
                         " elements, which do not fit the limit of " + std::to_string(max_bytes) + " bytes");
  if (!header.content.empty()) {
    // Each string costs at least its length's byte, so the count is bounded by the content.
    if (count > header.content.size()) return data_loss("tensor_content is too short for the tensor's strings");
    return split_strings(header.content.view(), data->element_count, &data->strings);
  }
  if (count > max_bytes / sizeof(std::string)) return too_large;
  WireReader reader(wire, context);
  while (reader.next()) {
    if (reader.field() == kStringVal && data->strings.size() < count) data->strings.push_back(reader.bytes_string());
  }
  if (!reader.status().ok()) return reader.status();
  if (data->strings.size() < count) {
    const std::string last = data->strings.empty() ? "" : data->strings.back();
    if (!last.empty() && count - data->strings.size() > max_bytes / last.size()) return too_large;
    data->strings.resize(count, last);
  }
  return {};
}

std::string shape_text(DataType dtype, const TensorShapeProto& shape) {
  return "the " + data_type_name(dtype) + " tensor of shape " + to_string(shape);
}

}  // namespace

std::string to_string(const TensorShapeProto& shape) {
  if (shape.unknown_rank) return "<unknown rank>";
  std::string text = "[";
  for (size_t i = 0; i < shape.dims.size(); ++i) {
    if (i > 0) text += ",";
    text += shape.dims[i] < 0 ? "?" : std::to_string(shape.dims[i]);
  }
  return text + "]";
}

Status read_shape(const SharedBytes& wire, ParseContext& context, TensorShapeProto* shape) {
  WireReader reader(wire, context);
  while (reader.next()) {
    if (reader.field() == 3) {
      shape->unknown_rank = reader.boolean();
    } else if (reader.field() == 2) {
      SharedBytes dim = reader.bytes();
      WireReader dim_reader(dim, context);
      int64_t size = 0;
      while (dim_reader.next()) {
        if (dim_reader.field() == 1) size = dim_reader.int64();
      }
      reader.fail(dim_reader.status());
      shape->dims.push_back(size);
    }
  }
  return reader.status();
}

void write_shape(const TensorShapeProto& shape, WireWriter& writer) {
  for (int64_t size : shape.dims) {
    WireWriter dim;
    dim.nonzero(1, static_cast<uint64_t>(size));
    writer.message(2, std::move(dim));
  }
  writer.nonzero(3, shape.unknown_rank);
}

TensorProto TensorProto::from_wire(SharedBytes wire) {
  TensorProto tensor;
  tensor.wire_ = std::move(wire);
  return tensor;
}

TensorProto TensorProto::from_dense(DataType dtype, std::vector<int64_t> dims, SharedBytes content) {
  TensorData data;
  data.dtype = dtype;
  data.element_count = checked_element_count(dims).value_or(-1);
  data.dims = std::move(dims);
  data.content = std::move(content);
  TensorProto tensor;
  tensor.made_ = std::make_shared<const TensorData>(std::move(data));
  return tensor;
}

TensorProto TensorProto::from_strings(std::vector<int64_t> dims, std::vector<std::string> strings) {
  TensorData data;
  data.dtype = DataType::kString;
  data.element_count = checked_element_count(dims).value_or(-1);
  data.dims = std::move(dims);
  data.strings = std::move(strings);
  TensorProto tensor;
  tensor.made_ = std::make_shared<const TensorData>(std::move(data));
  return tensor;
}

Result<DataType> TensorProto::dtype() const {
  if (made_) return made_->dtype;
  Header header;
  ParseContext context = tensor_context(wire_);
  BLADE_RETURN_IF_ERROR(read_header(wire_, context, &header));
  return header.dtype;
}

Result<TensorShapeProto> TensorProto::shape() const {
  if (made_) return TensorShapeProto{false, made_->dims};
  Header header;
  ParseContext context = tensor_context(wire_);
  BLADE_RETURN_IF_ERROR(read_header(wire_, context, &header));
  return header.shape;
}

Result<TensorData> TensorProto::decode(size_t max_bytes) const {
  Header header;
  ParseContext context = tensor_context(wire_);
  if (made_) {
    header.dtype = made_->dtype;
    header.shape.dims = made_->dims;
    header.content = made_->content;
  } else {
    BLADE_RETURN_IF_ERROR(read_header(wire_, context, &header));
  }
  TensorData data;
  data.dtype = header.dtype;
  data.dims = header.shape.dims;
  const std::string text = shape_text(header.dtype, header.shape);
  auto count = checked_element_count(data.dims);
  if (header.shape.unknown_rank || !count) return data_loss(text + " has no known element count");
  data.element_count = *count;
  if (header.dtype == DataType::kString) {
    if (made_ && made_->strings.size() != static_cast<size_t>(*count)) {
      return invalid_argument(text + " was given " + std::to_string(made_->strings.size()) + " strings");
    }
    if (made_) return *made_;
    BLADE_RETURN_IF_ERROR(read_strings(wire_, context, header, max_bytes, &data).with_context(text));
    return data;
  }
  const size_t element = is_ref(header.dtype) ? 0 : data_type_size(header.dtype);
  if (element == 0) return unimplemented(text + " does not hold numbers or strings, so its elements cannot be read");
  auto bytes = checked_mul(static_cast<size_t>(*count), element);
  if (!header.content.empty() || *count == 0 || made_) {
    if (!bytes || header.content.size() != *bytes) {
      return data_loss(text + " needs " + (bytes ? std::to_string(*bytes) : "too many") +
                       " bytes, but its tensor_content has " + std::to_string(header.content.size()));
    }
    data.content = std::move(header.content);
    return data;
  }
  if (!bytes || *bytes > max_bytes) {
    return resource_exhausted(text + " does not fit the limit of " + std::to_string(max_bytes) + " bytes");
  }
  if (value_field(header.dtype) == 0) return unimplemented(text + " has its elements outside tensor_content");
  std::string dense(*bytes, '\0');
  BLADE_RETURN_IF_ERROR(read_values(wire_, context, header.dtype, &dense).with_context(text));
  data.content = SharedBytes::own(std::move(dense));
  return data;
}

void TensorProto::write(WireWriter& writer) const {
  if (!made_) {
    writer.raw(wire_);
    return;
  }
  writer.nonzero(kDtype, static_cast<uint64_t>(made_->dtype));
  WireWriter shape;
  write_shape({false, made_->dims}, shape);
  writer.message(kTensorShape, std::move(shape));
  if (!made_->content.empty()) writer.bytes(kContent, made_->content);
  for (const std::string& s : made_->strings) writer.bytes(kStringVal, s);
}

}  // namespace blade::tensorflow
