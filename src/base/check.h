// Invariants: a failed check is a bug in awq, never a bad input. It throws InternalError, which
// the API turns into ErrorCode::kInternal, so that a server survives it.
#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string_view>

namespace awq {

class InternalError : public std::logic_error {
 public:
  using std::logic_error::logic_error;
};

namespace internal {

[[noreturn]] void CheckFailed(std::string_view file, int line, std::string_view what);

template <class A, class B>
[[noreturn]] void CheckOpFailed(std::string_view file, int line, std::string_view what, const A& a,
                                const B& b) {
  CheckFailed(file, line, fmt::format("{} ({} against {})", what, a, b));
}

}  // namespace internal
}  // namespace awq

#define AWQ_CHECK(condition)                                        \
  do {                                                              \
    if (!(condition)) {                                             \
      ::awq::internal::CheckFailed(__FILE__, __LINE__, #condition); \
    }                                                               \
  } while (false)

#define AWQ_CHECK_OP(op, a, b)                                                         \
  do {                                                                                 \
    if (!((a)op(b))) {                                                                 \
      ::awq::internal::CheckOpFailed(__FILE__, __LINE__, #a " " #op " " #b, (a), (b)); \
    }                                                                                  \
  } while (false)

#define AWQ_CHECK_EQ(a, b) AWQ_CHECK_OP(==, a, b)
#define AWQ_CHECK_LE(a, b) AWQ_CHECK_OP(<=, a, b)
#define AWQ_CHECK_LT(a, b) AWQ_CHECK_OP(<, a, b)
