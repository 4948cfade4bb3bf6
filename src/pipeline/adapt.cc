#include "pipeline/adapt.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace awq::pipeline {
namespace {

float RoundedTo(DType dtype, float value) {
  if (dtype == DType::kF16) return RoundToF16(value);
  if (dtype == DType::kBF16) return ToFloat(ToBF16(value));
  return value;
}

// Every code of a group one step up: the same weights, but for those at the largest code, whose
// number is returned. `group_of` may be empty: inputs are in order then.
std::size_t Raise(std::span<std::uint8_t> codes, std::size_t group, std::size_t group_size,
                  std::span<const std::uint32_t> group_of, int max_code) {
  std::size_t lost = 0;
  const auto raise = [&](std::uint8_t& code) {
    lost += code == max_code ? 1 : 0;
    code = static_cast<std::uint8_t>(std::min(code + 1, max_code));
  };
  if (group_of.empty()) {
    std::ranges::for_each(codes.subspan(group * group_size, group_size), raise);
    return lost;
  }
  for (std::size_t k = 0; k < codes.size(); ++k) {
    if (group_of[k] == group) raise(codes[k]);
  }
  return lost;
}

}  // namespace

void Changes::Add(const Changes& other) {
  scales.Add(other.scales);
  zeros.Add(other.zeros);
  weights += other.weights;
}

std::string Text(const Changes& changes) {
  std::string text;
  if (changes.scales.count > 0) {
    text = fmt::format("{} scales are rounded, by up to {:.2g} %", changes.scales.count,
                       100 * changes.scales.largest_relative);
  }
  if (changes.zeros.count > 0) {
    text += text.empty() ? "" : ", ";
    text += fmt::format("{} zero points move, by which {} weights lose one step",
                        changes.zeros.count, changes.weights);
  }
  return text;
}

Result<Changes> Adapt(DType dtype, int least_zero, int max_code,
                      std::span<const std::uint32_t> group_of, const pack::MutableRows& rows,
                      std::string_view module) {
  Changes changes;
  const std::size_t group_size = rows.codes.cols / rows.scales.cols;
  for (std::size_t r = 0; r < rows.count(); ++r) {
    for (std::size_t g = 0; g < rows.scales.cols; ++g) {
      float& scale = rows.scales(r, g);
      const float rounded = RoundedTo(dtype, scale);
      if (rounded == 0 || !std::isfinite(rounded)) {
        return MakeError(ErrorCode::kUnsupported,
                         "{}: the scale {} of group {} of output feature {} would become {} in {}",
                         module, scale, g, rows.first + r, rounded, DTypeName(dtype));
      }
      changes.scales.Note(scale, rounded);
      scale = rounded;
      const int zero = rows.zeros(r, g);
      while (rows.zeros(r, g) < least_zero) {
        changes.weights +=
            Raise({rows.codes.row(r), rows.codes.cols}, g, group_size, group_of, max_code);
        ++rows.zeros(r, g);
      }
      changes.zeros.Note(zero, rows.zeros(r, g));
    }
  }
  return changes;
}

}  // namespace awq::pipeline
