#pragma once

namespace awq {

inline constexpr const char* kVersion = "0.1.0";

}  // namespace awq
