#include "base/check.h"

namespace awq::internal {

void CheckFailed(std::string_view file, int line, std::string_view what) {
  throw InternalError(fmt::format("{}:{}: check failed: {}", file, line, what));
}

}  // namespace awq::internal
