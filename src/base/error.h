// Building and passing on errors.
#pragma once

#include <awq/result.h>
#include <fmt/format.h>

#include <string>
#include <utility>

namespace awq {

// MakeError(kCorrupt, "{}: expected {} bytes, found {}", path, want, have)
template <class... Args>
Error MakeError(ErrorCode code, fmt::format_string<Args...> format, Args&&... args) {
  return Error{code, fmt::format(format, std::forward<Args>(args)...)};
}

}  // namespace awq

#define AWQ_CONCAT_INNER(a, b) a##b
#define AWQ_CONCAT(a, b) AWQ_CONCAT_INNER(a, b)

// AWQ_TRY(expression): returns the error of a Status or Result, discards the value.
#define AWQ_TRY(expression)                            \
  do {                                                 \
    if (auto awq_status = (expression); !awq_status) { \
      return awq_status.error();                       \
    }                                                  \
  } while (false)

// AWQ_ASSIGN(declaration, expression): declares or assigns the value, or returns the error.
#define AWQ_ASSIGN(declaration, expression) \
  AWQ_ASSIGN_INNER(declaration, expression, AWQ_CONCAT(awq_result_, __LINE__))
#define AWQ_ASSIGN_INNER(declaration, expression, temporary) \
  auto temporary = (expression);                             \
  if (!(temporary)) {                                        \
    return (temporary).error();                              \
  }                                                          \
  declaration = std::move(temporary).value()
