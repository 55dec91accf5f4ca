// Result<T>: a value, or an Error that says what went wrong and to which thing.
//
// The surface is a subset of std::expected, which Debian 12's compilers do not offer in C++20, so
// that a later move is mechanical. Callers branch on the code; people read the message. A
// programming mistake is an assert, never an Error.
#pragma once

#include <cassert>
#include <string>
#include <utility>
#include <variant>

namespace hvd {

/// Split by what a caller does about it, not by where it came from.
enum class ErrorCode {
  kIo,               // the operating system refused; errno's text is in the message
  kCorrupt,          // bytes contradict their format, or fail authentication with a key that fits
  kUnsupported,      // well-formed, but newer or rarer than this program knows
  kNotCaptured,      // the dump does not hold it (the message says why)
  kNotMapped,        // a page table says that there is nothing
  kNotFound,         // a named thing does not exist
  kUnreadable,       // the capture tried and could not read it
  kSealed,           // present, but no key for it was given
  kAuthentication,   // keys were given and none of them fits
  kInvalidArgument,  // the caller's request makes no sense (command line, policy)
  kInterrupted,      // the user asked to stop
};

/// "corrupt", "not captured", ...: for reports and JSON.
const char* error_code_name(ErrorCode code);

struct [[nodiscard]] Error {
  ErrorCode code;
  std::string message;

  /// Returns the same error with `what` in front, as "what: message".
  Error in(const std::string& what) && { return Error{code, what + ": " + message}; }
};

template <typename T>
class [[nodiscard]] Result {
 public:
  using value_type = T;

  // Implicit on purpose: `return value;` and `return Error{...};` both read naturally.
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}      // NOLINT
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}  // NOLINT

  bool has_value() const { return state_.index() == 0; }
  explicit operator bool() const { return has_value(); }

  /// Requires has_value().
  T& value() & { return assert(has_value()), *std::get_if<0>(&state_); }
  const T& value() const& { return assert(has_value()), *std::get_if<0>(&state_); }
  T&& value() && { return assert(has_value()), std::move(*std::get_if<0>(&state_)); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }

  template <typename U>
  T value_or(U&& fallback) const& {
    return has_value() ? value() : static_cast<T>(std::forward<U>(fallback));
  }

  /// Requires !has_value().
  Error& error() & { return assert(!has_value()), *std::get_if<1>(&state_); }
  const Error& error() const& { return assert(!has_value()), *std::get_if<1>(&state_); }
  Error&& error() && { return assert(!has_value()), std::move(*std::get_if<1>(&state_)); }

 private:
  std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  using value_type = void;

  Result() = default;
  Result(Error error) : error_(std::move(error)), failed_(true) {}  // NOLINT

  bool has_value() const { return !failed_; }
  explicit operator bool() const { return has_value(); }
  void value() const { assert(has_value()); }
  Error& error() & { return assert(failed_), error_; }
  const Error& error() const& { return assert(failed_), error_; }
  Error&& error() && { return assert(failed_), std::move(error_); }

 private:
  Error error_{};
  bool failed_ = false;
};

/// Runs `result`'s error through Error::in(), leaves a value alone.
template <typename T>
Result<T> with_context(Result<T> result, const std::string& what) {
  if (!result) return std::move(result).error().in(what);
  return result;
}

}  // namespace hvd

/// Evaluates to the value of a Result, or returns its error from the enclosing function.
/// Allowed only as a whole statement or a whole initializer.
#define HVD_TRY(...)                                               \
  __extension__({                                                  \
    auto hvd_try_result = (__VA_ARGS__);                           \
    if (!hvd_try_result) return std::move(hvd_try_result).error(); \
    std::move(hvd_try_result).value();                             \
  })
