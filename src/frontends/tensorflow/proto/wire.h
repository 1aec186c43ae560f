// Protobuf's wire format: a reader whose errors say where in the file they are, and a writer that does not copy
// weights.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "frontends/tensorflow/proto/shared_bytes.h"

namespace blade::tensorflow {

inline constexpr int kMaxDepth = 100;  // protobuf's own limit, so that TensorFlow reads no deeper
inline constexpr size_t kMaxProtoBytes = (size_t{1} << 31) - 1;  // protobuf's own limit
inline constexpr int64_t kMaxNodes = int64_t{1} << 22;  // far above any real graph; bounds memory for hostile ones

// Which file is being read and which part of it, for error sentences.
class ParseContext {
 public:
  // `what` names the file, `message` its type ("GraphDef"); `hint` ends every sentence.
  ParseContext(std::string_view what, std::string_view message, std::string_view file, std::string_view hint)
      : what_(what), message_(message), file_(file), hint_(hint) {}

  // "<what> is not a valid <message>: <parts>: <detail>; <hint>".
  Status error(std::string_view detail) const;
  // "byte 12" of the file.
  std::string at(const char* position) const;
  std::string_view file() const { return file_; }

  int depth = 0;
  int64_t nodes_left = kMaxNodes;

 private:
  friend class PartScope;
  struct Part {
    const char* kind;
    int64_t index;  // -1: none
    std::string_view name;
  };
  std::string_view what_, message_, file_, hint_;
  std::vector<Part> parts_;
};

// Names the part that is read while it lives: "node 17 ('conv1/Conv2D')".
class PartScope {
 public:
  PartScope(ParseContext& context, const char* kind, int64_t index = -1, std::string_view name = {})
      : context_(context) {
    context_.parts_.push_back({kind, index, name});
  }
  ~PartScope() { context_.parts_.pop_back(); }
  PartScope(const PartScope&) = delete;
  PartScope& operator=(const PartScope&) = delete;

 private:
  ParseContext& context_;
};

enum class WireType : uint8_t { kVarint = 0, kFixed64 = 1, kLength = 2, kStartGroup = 3, kEndGroup = 4, kFixed32 = 5 };

// Steps through the fields of one message. The first error sticks: next() is false from then on, values read as zero or
// empty, and status() says what is wrong.
class WireReader {
 public:
  // `message` must outlive the reader.
  WireReader(const SharedBytes& message, ParseContext& context);
  WireReader(SharedBytes&& message, ParseContext& context) = delete;
  ~WireReader() { --context_.depth; }
  WireReader(const WireReader&) = delete;
  WireReader& operator=(const WireReader&) = delete;

  // To the next field; a value that was not read is skipped. False at the end and after an error.
  bool next();
  uint32_t field() const { return field_; }
  WireType type() const { return type_; }
  const Status& status() const { return status_; }
  // Records an error found in a value; keeps the first.
  void fail(Status status);

  uint64_t varint();
  int64_t int64() { return static_cast<int64_t>(varint()); }
  int32_t int32() { return static_cast<int32_t>(static_cast<uint32_t>(varint())); }
  bool boolean() { return varint() != 0; }
  uint32_t fixed32();
  uint64_t fixed64();
  SharedBytes bytes();
  std::string bytes_string() { return std::string(bytes().view()); }
  // A proto3 string: must be UTF-8.
  std::string string();
  // The whole field, tag included, passed over unread.
  std::string_view raw_field();

  // Elements of a repeated number, packed or one by one.
  template <class F>
  void each_varint(F&& take) {
    each(WireType::kVarint, [&] { take(read_varint()); });
  }
  template <class F>
  void each_fixed32(F&& take) {
    each(WireType::kFixed32, [&] { take(read_fixed<uint32_t>()); });
  }
  template <class F>
  void each_fixed64(F&& take) {
    each(WireType::kFixed64, [&] { take(read_fixed<uint64_t>()); });
  }

  // The string in field 1 of the message that is the current value, where it stands first; for error sentences.
  std::string_view peek_name() const;

 private:
  template <class Read>
  void each(WireType element, Read&& read) {
    if (type_ != WireType::kLength) {
      if (expect(element)) read();
      return;
    }
    const char* outer_end = end_;
    std::string_view packed = bytes().view();
    const char* after = position_;
    if (!status_.ok() || packed.empty()) return;
    position_ = packed.data();
    end_ = position_ + packed.size();
    while (status_.ok() && position_ != end_) read();
    position_ = after;
    end_ = outer_end;
  }
  bool expect(WireType type);
  uint64_t read_varint();
  template <class T>
  T read_fixed();
  void advance(uint64_t count, const char* start);
  void skip_value(uint32_t field, WireType type, int depth);

  const SharedBytes& message_;
  ParseContext& context_;
  const char* position_;
  const char* end_;
  const char* field_start_;
  uint32_t field_ = 0;
  WireType type_ = WireType::kVarint;
  bool pending_ = false;  // the current field's value is not read yet
  Status status_;
};

void append_varint(uint64_t value, std::string& out);

// Collects a message. Large shared bytes are referred to, not copied, until append_to().
class WireWriter {
 public:
  void varint(uint32_t field, uint64_t value);
  void fixed32(uint32_t field, uint32_t value);
  void bytes(uint32_t field, std::string_view value);
  void bytes(uint32_t field, const SharedBytes& value);
  void message(uint32_t field, WireWriter&& value);
  // Bytes that already are fields.
  void raw(std::string_view fields);
  void raw(const SharedBytes& fields);
  // proto3 leaves empty and zero fields out.
  void nonempty(uint32_t field, std::string_view value) {
    if (!value.empty()) bytes(field, value);
  }
  void nonzero(uint32_t field, uint64_t value) {
    if (value != 0) varint(field, value);
  }

  size_t size() const { return size_; }
  void append_to(std::string& out) const;
  // All bytes; fails past 2 GiB. `what` names them in the sentence.
  Result<std::string> finish(std::string_view what) const;

 private:
  struct Piece {
    std::string owned;
    SharedBytes shared;
  };
  void tag(uint32_t field, WireType type);
  void put_varint(uint64_t value);
  void put(std::string_view data);
  std::string& tail();

  std::vector<Piece> pieces_;
  size_t size_ = 0;
};

}  // namespace blade::tensorflow
