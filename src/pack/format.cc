#include "pack/format.h"

#include <array>

#include "pack/formats.h"

namespace awq::pack {

std::span<const Format> Formats() {
  static const std::array formats = {AwqGemmFormat()};
  return formats;
}

const Format* FindFormat(std::string_view name) {
  for (const Format& format : Formats()) {
    if (format.name == name) return &format;
  }
  return nullptr;
}

}  // namespace awq::pack
