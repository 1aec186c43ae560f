// Status and Result<T>: an error is a code and one sentence saying what was found, what was expected and what to do.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace blade {

enum class StatusCode {
  kOk,
  kInvalidArgument,     // the caller's input is wrong
  kNotFound,            // a named file, node, input or output does not exist
  kUnimplemented,       // valid, but not supported here; the sentence is the reason shown in reports
  kDataLoss,            // a file is truncated or corrupted
  kResourceExhausted,   // memory, disk or a budget ran out
  kFailedPrecondition,  // right call, wrong machine or version
  kUnavailable,         // something optional (TensorFlow, a GPU) is absent
  kCancelled,
  kInternal,
};

// Success is one null pointer; an error owns its sentence.
class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(StatusCode code, std::string message)
      : error_(std::make_shared<const Error>(Error{code, std::move(message)})) {}
  static Status ok_status() { return Status(); }

  bool ok() const { return error_ == nullptr; }
  StatusCode code() const { return error_ ? error_->code : StatusCode::kOk; }
  const std::string& message() const;
  // The same error with "context: " before its sentence; OK stays OK.
  Status with_context(std::string_view context) const;

 private:
  struct Error {
    StatusCode code;
    std::string message;
  };
  std::shared_ptr<const Error> error_;
};

Status invalid_argument(std::string message);
Status not_found(std::string message);
Status unimplemented(std::string message);
Status data_loss(std::string message);
Status resource_exhausted(std::string message);
Status failed_precondition(std::string message);
Status unavailable(std::string message);
Status cancelled(std::string message);
Status internal_error(std::string message);

// A value or the Status that says why there is none.
template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}          // NOLINT(google-explicit-constructor)
  Result(Status status) : status_(std::move(status)) {}  // NOLINT(google-explicit-constructor)

  bool ok() const { return value_.has_value(); }
  const Status& status() const { return status_; }
  T& value() & { return *value_; }
  const T& value() const& { return *value_; }
  T&& value() && { return std::move(*value_); }
  T& operator*() & { return *value_; }
  const T& operator*() const& { return *value_; }
  T&& operator*() && { return std::move(*value_); }
  T* operator->() { return &*value_; }
  const T* operator->() const { return &*value_; }

 private:
  std::optional<T> value_;
  Status status_;
};

}  // namespace blade

#define BLADE_CONCAT_INNER(a, b) a##b
#define BLADE_CONCAT(a, b) BLADE_CONCAT_INNER(a, b)

#define BLADE_RETURN_IF_ERROR(expr)                \
  do {                                             \
    ::blade::Status blade_status_ = (expr);        \
    if (!blade_status_.ok()) return blade_status_; \
  } while (false)

// BLADE_ASSIGN_OR_RETURN(auto x, compute()): declares x, or returns the error.
#define BLADE_ASSIGN_OR_RETURN(declaration, expr) \
  BLADE_ASSIGN_OR_RETURN_IMPL(BLADE_CONCAT(blade_result_, __LINE__), declaration, expr)
#define BLADE_ASSIGN_OR_RETURN_IMPL(result, declaration, expr) \
  auto result = (expr);                                        \
  if (!result.ok()) return result.status();                    \
  declaration = std::move(result).value()
