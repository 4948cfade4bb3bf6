#pragma once

#include <cstddef>

namespace awq::generate {

inline constexpr std::size_t kPrefillTokens = 2048;  // that go through the network together

}  // namespace awq::generate
