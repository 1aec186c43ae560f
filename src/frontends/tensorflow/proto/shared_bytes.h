// A view of bytes together with whatever keeps them alive, so that weights of a mapped file are never copied.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

namespace blade::tensorflow {

// Copying shares the bytes. Bytes are immutable and have no alignment: read elements with memcpy.
class SharedBytes {
 public:
  SharedBytes() = default;
  SharedBytes(std::shared_ptr<const void> owner, std::string_view view) : owner_(std::move(owner)), view_(view) {}
  static SharedBytes own(std::string bytes) {
    auto owner = std::make_shared<const std::string>(std::move(bytes));
    std::string_view view = *owner;
    return {std::move(owner), view};
  }
  // `view` must outlive every copy.
  static SharedBytes borrow(std::string_view view) { return {nullptr, view}; }

  std::string_view view() const { return view_; }
  const char* data() const { return view_.data(); }
  size_t size() const { return view_.size(); }
  bool empty() const { return view_.empty(); }
  const std::shared_ptr<const void>& owner() const { return owner_; }
  // The same owner, part of the bytes; `part` must lie inside view().
  SharedBytes slice(std::string_view part) const { return {owner_, part}; }

 private:
  std::shared_ptr<const void> owner_;
  std::string_view view_;
};

// A message's fields together with the bytes that they were read from. Reading leaves the bytes; edit() drops them, so
// that what was not touched is written back exactly as it came.
template <class Fields>
class Tracked {
 public:
  Tracked() = default;
  explicit Tracked(Fields fields) : fields_(std::move(fields)) {}
  Tracked(Fields fields, SharedBytes wire) : fields_(std::move(fields)), wire_(std::move(wire)), untouched_(true) {}

  const Fields* operator->() const { return &fields_; }
  const Fields& operator*() const { return fields_; }
  Fields& edit() {
    untouched_ = false;
    wire_ = {};
    return fields_;
  }

  // True when wire() still says the same as the fields.
  bool untouched() const { return untouched_; }
  const SharedBytes& wire() const { return wire_; }

 private:
  Fields fields_;
  SharedBytes wire_;
  bool untouched_ = false;
};

}  // namespace blade::tensorflow
