// Errors are values: every function of the library that can fail returns a Result.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <variant>

namespace awq {

enum class ErrorCode : std::uint8_t {
  kInvalidArgument,  // the caller asked for something impossible
  kNotFound,         // a file, tensor or model part is missing
  kCorrupt,          // an input file contradicts itself or its format
  kUnsupported,      // valid, but not something this build can do
  kIo,               // the operating system refused a read or a write
  kOutOfMemory,
  kInternal,  // a bug in awq
};

// `message` names the file and tensor, what was expected, what was found, and what to do.
struct Error {
  ErrorCode code = ErrorCode::kInternal;
  std::string message;
};

// The subset of std::expected<T, Error> that the project needs (C++23 has the original).
template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}

  bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }

  // Precondition for the next six: ok(). std::get throws otherwise.
  T& value() & { return std::get<0>(state_); }
  const T& value() const& { return std::get<0>(state_); }
  T&& value() && { return std::get<0>(std::move(state_)); }
  T& operator*() { return value(); }
  const T& operator*() const { return value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

  // Precondition: !ok().
  const Error& error() const { return std::get<1>(state_); }

 private:
  std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(std::move(error)) {}

  bool ok() const { return !error_.has_value(); }
  explicit operator bool() const { return ok(); }
  const Error& error() const { return error_.value(); }

 private:
  std::optional<Error> error_;
};

using Status = Result<void>;

}  // namespace awq
