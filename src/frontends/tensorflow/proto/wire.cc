#include "frontends/tensorflow/proto/wire.h"

#include <cstring>
#include <functional>
#include <protozero/varint.hpp>

#include "frontends/tensorflow/proto/utf8.h"

namespace blade::tensorflow {
namespace {

constexpr size_t kShareAbove = 4096;  // smaller bytes are cheaper to copy than to keep track of

const char* wire_type_name(WireType type) {
  switch (type) {
    case WireType::kVarint:
      return "a number";
    case WireType::kFixed64:
      return "a 64-bit value";
    case WireType::kLength:
      return "bytes with a length";
    case WireType::kStartGroup:
      return "the start of a group";
    case WireType::kEndGroup:
      return "the end of a group";
    case WireType::kFixed32:
      return "a 32-bit value";
  }
  return "an unknown wire type";
}

// Printable, short: names come from the file.
std::string quoted(std::string_view name) {
  constexpr size_t kLongest = 120;
  std::string out = "'";
  for (char c : name.substr(0, kLongest)) out += static_cast<unsigned char>(c) < 0x20 ? '?' : c;
  return out + (name.size() > kLongest ? "...'" : "'");
}

}  // namespace

Status ParseContext::error(std::string_view detail) const {
  std::string text(what_);
  text += " is not a valid ";
  text += message_;
  for (size_t i = 0; i < parts_.size(); ++i) {
    text += i == 0 ? ": " : ", ";
    text += parts_[i].kind;
    if (parts_[i].index >= 0) text.append(" ").append(std::to_string(parts_[i].index));
    if (!parts_[i].name.empty() && is_utf8(parts_[i].name)) {
      const bool numbered = parts_[i].index >= 0;
      text.append(numbered ? " (" : " ").append(quoted(parts_[i].name)).append(numbered ? ")" : "");
    }
  }
  text += ": ";
  text += detail;
  if (!hint_.empty()) {
    text += "; ";
    text += hint_;
  }
  return data_loss(std::move(text));
}

std::string ParseContext::at(const char* position) const {
  const std::less<const char*> before;
  if (before(position, file_.data()) || before(file_.data() + file_.size(), position)) {
    return "a byte of a value that is given more than once";  // such values are merged outside the file
  }
  return "byte " + std::to_string(position - file_.data());
}

WireReader::WireReader(const SharedBytes& message, ParseContext& context)
    : message_(message),
      context_(context),
      position_(message.data()),
      end_(message.data() + message.size()),
      field_start_(position_) {
  if (++context_.depth > kMaxDepth) {
    fail(context_.error("messages are nested more than " + std::to_string(kMaxDepth) + " deep at " +
                        context_.at(position_)));
  }
}

void WireReader::fail(Status status) {
  if (status_.ok()) status_ = std::move(status);
}

bool WireReader::next() {
  if (pending_) skip_value(field_, type_, 0);
  pending_ = false;
  if (!status_.ok() || position_ == end_) return false;
  field_start_ = position_;
  uint64_t tag = read_varint();
  if (!status_.ok()) return false;
  field_ = static_cast<uint32_t>(tag >> 3);
  type_ = static_cast<WireType>(tag & 7);
  if (tag > UINT32_MAX || field_ == 0) {
    fail(context_.error("there is no field number " + std::to_string(tag >> 3) + ", found at " +
                        context_.at(field_start_)));
    return false;
  }
  if ((tag & 7) > 5 || type_ == WireType::kEndGroup) {
    fail(context_.error("field " + std::to_string(field_) + " at " + context_.at(field_start_) + " has wire type " +
                        std::to_string(tag & 7) + ", which cannot begin a field"));
    return false;
  }
  pending_ = true;
  return true;
}

bool WireReader::expect(WireType type) {
  if (!status_.ok()) return false;
  pending_ = false;
  if (type_ == type) return true;
  fail(context_.error("field " + std::to_string(field_) + " at " + context_.at(field_start_) + " holds " +
                      wire_type_name(type_) + " where " + wire_type_name(type) + " is expected"));
  return false;
}

uint64_t WireReader::read_varint() {
  const char* start = position_;
  try {
    return protozero::decode_varint(&position_, end_);
  } catch (const protozero::varint_too_long_exception&) {
    fail(context_.error("a number at " + context_.at(start) + " is longer than ten bytes"));
  } catch (const protozero::end_of_buffer_exception&) {
    fail(context_.error("a number at " + context_.at(start) + " is cut off at " + context_.at(end_)));
  }
  return 0;
}

template <class T>
T WireReader::read_fixed() {
  const char* start = position_;
  if (static_cast<size_t>(end_ - position_) < sizeof(T)) {
    advance(sizeof(T), start);
    return 0;
  }
  T value;
  std::memcpy(&value, position_, sizeof(T));
  position_ += sizeof(T);
  return value;
}

template uint32_t WireReader::read_fixed<uint32_t>();
template uint64_t WireReader::read_fixed<uint64_t>();

// Passes over `count` bytes of a value that starts at `start`.
void WireReader::advance(uint64_t count, const char* start) {
  if (count <= static_cast<uint64_t>(end_ - position_)) {
    position_ += count;
    return;
  }
  std::string_view file = context_.file();
  bool at_end_of_file = end_ == file.data() + file.size();
  fail(context_.error("length " + std::to_string(count) + " at " + context_.at(start) + " runs past the end of " +
                      (at_end_of_file ? "the file (" + std::to_string(file.size()) + " bytes)"
                                      : "its message (" + context_.at(end_) + ")")));
}

uint64_t WireReader::varint() { return expect(WireType::kVarint) ? read_varint() : 0; }
uint32_t WireReader::fixed32() { return expect(WireType::kFixed32) ? read_fixed<uint32_t>() : 0; }
uint64_t WireReader::fixed64() { return expect(WireType::kFixed64) ? read_fixed<uint64_t>() : 0; }

SharedBytes WireReader::bytes() {
  if (!expect(WireType::kLength)) return {};
  const char* start = position_;
  uint64_t length = read_varint();
  if (!status_.ok()) return {};
  const char* data = position_;
  advance(length, start);
  return status_.ok() ? message_.slice({data, static_cast<size_t>(length)}) : SharedBytes();
}

std::string WireReader::string() {
  SharedBytes value = bytes();
  if (!is_utf8(value.view())) {
    fail(context_.error("the string at " + context_.at(value.data()) + " is not UTF-8"));
    return {};
  }
  return std::string(value.view());
}

std::string_view WireReader::raw_field() {
  if (pending_) skip_value(field_, type_, 0);
  pending_ = false;
  return status_.ok() ? std::string_view(field_start_, static_cast<size_t>(position_ - field_start_))
                      : std::string_view();
}

void WireReader::skip_value(uint32_t field, WireType type, int depth) {
  const char* start = position_;
  switch (type) {
    case WireType::kVarint:
      read_varint();
      return;
    case WireType::kFixed64:
      advance(8, start);
      return;
    case WireType::kFixed32:
      advance(4, start);
      return;
    case WireType::kLength: {
      uint64_t length = read_varint();
      if (status_.ok()) advance(length, start);
      return;
    }
    case WireType::kStartGroup:
      break;
    default:
      fail(context_.error("an impossible wire type at " + context_.at(start)));
      return;
  }
  if (context_.depth + depth >= kMaxDepth) {
    fail(context_.error("groups are nested more than " + std::to_string(kMaxDepth) + " deep at " + context_.at(start)));
    return;
  }
  while (status_.ok()) {
    const char* at = position_;
    uint64_t tag = read_varint();
    if (!status_.ok()) return;
    if ((tag & 7) == static_cast<uint64_t>(WireType::kEndGroup)) {
      if (tag >> 3 == field) return;
      fail(context_.error("the group of field " + std::to_string(field) + " is ended by another field's mark at " +
                          context_.at(at)));
      return;
    }
    skip_value(static_cast<uint32_t>(tag >> 3), static_cast<WireType>(tag & 7), depth + 1);
  }
}

std::string_view WireReader::peek_name() const {
  if (type_ != WireType::kLength || !pending_) return {};
  const char* at = position_;
  try {
    protozero::decode_varint(&at, end_);
    if (at == end_ || *at != 0x0a) return {};
    ++at;
    uint64_t length = protozero::decode_varint(&at, end_);
    if (length > static_cast<uint64_t>(end_ - at)) return {};
    return {at, static_cast<size_t>(length)};
  } catch (const protozero::exception&) {
    return {};
  }
}

void append_varint(uint64_t value, std::string& out) {
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  out += static_cast<char>(value);
}

std::string& WireWriter::tail() {
  if (pieces_.empty() || !pieces_.back().shared.empty()) pieces_.emplace_back();
  return pieces_.back().owned;
}

void WireWriter::put(std::string_view data) {
  tail().append(data);
  size_ += data.size();
}

void WireWriter::put_varint(uint64_t value) {
  std::string& out = tail();
  const size_t before = out.size();
  append_varint(value, out);
  size_ += out.size() - before;
}

void WireWriter::tag(uint32_t field, WireType type) {
  put_varint((uint64_t{field} << 3) | static_cast<uint64_t>(type));
}

void WireWriter::varint(uint32_t field, uint64_t value) {
  tag(field, WireType::kVarint);
  put_varint(value);
}

void WireWriter::fixed32(uint32_t field, uint32_t value) {
  tag(field, WireType::kFixed32);
  put({reinterpret_cast<const char*>(&value), sizeof(value)});
}

void WireWriter::bytes(uint32_t field, std::string_view value) {
  tag(field, WireType::kLength);
  put_varint(value.size());
  put(value);
}

void WireWriter::bytes(uint32_t field, const SharedBytes& value) {
  tag(field, WireType::kLength);
  put_varint(value.size());
  raw(value);
}

void WireWriter::message(uint32_t field, WireWriter&& value) {
  tag(field, WireType::kLength);
  put_varint(value.size_);
  for (Piece& piece : value.pieces_) {
    if (piece.shared.empty()) {
      put(piece.owned);
    } else {
      raw(piece.shared);
    }
  }
}

void WireWriter::raw(std::string_view fields) { put(fields); }

void WireWriter::raw(const SharedBytes& fields) {
  if (fields.size() < kShareAbove) {
    put(fields.view());
    return;
  }
  pieces_.push_back({{}, fields});
  size_ += fields.size();
}

void WireWriter::append_to(std::string& out) const {
  for (const Piece& piece : pieces_) {
    out.append(piece.shared.empty() ? std::string_view(piece.owned) : piece.shared.view());
  }
}

Result<std::string> WireWriter::finish(std::string_view what) const {
  if (size_ > kMaxProtoBytes) {
    return resource_exhausted(std::string(what) + " would take " + std::to_string(size_) +
                              " bytes; TensorFlow reads files below 2 GiB (2147483647 bytes), so split the model");
  }
  std::string out;
  out.reserve(size_);
  append_to(out);
  return out;
}

}  // namespace blade::tensorflow
