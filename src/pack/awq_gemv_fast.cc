// AutoAWQ's "gemv_fast" layout, which is llm-awq's second one but for a name;
// docs/formats/awq_gemv_fast.md has the bytes.
#include <array>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "pack/awq_config.h"
#include "pack/awq_padding.h"
#include "pack/formats.h"
#include "pack/scales.h"

namespace awq::pack {
namespace {

// Four rows are interleaved in pieces of 64 input features, each in two halves of 32: eight words
// of 16 bits, whose nibbles are 8 features apart.
constexpr std::size_t kInterleaved = 4;
constexpr std::size_t kPiece = 64;
constexpr std::size_t kHalf = 32;
constexpr std::size_t kLane = 8;
constexpr int kMaxCode = 15;

std::string Refuses(const Form& form) {
  if (std::string why = RefusesForGemv(form, kPiece); !why.empty()) return why;
  if (form.spec.scale_dtype != DType::kF16) {
    return fmt::format("its scales are F16, not {}", DTypeName(form.spec.scale_dtype));
  }
  return RefusesForAwq(form.spec);
}

std::vector<PartInfo> PartsNamed(const Form& form, std::string_view zeros) {
  const Shape table = {PaddedGroups(form), form.out_features};
  return {{"qweight", DType::kI16, {form.out_features / kInterleaved, form.in_features}},
          {zeros, DType::kF16, table},
          {"scales", DType::kF16, table}};
}

// 32 codes of a row -> 8 words.
void PackHalf(const std::uint8_t* codes, std::byte* packed) {
  std::array<std::uint8_t, 2 * kLane> bytes;
  for (std::size_t j = 0; j < kLane; ++j) {
    bytes[2 * j] = static_cast<std::uint8_t>(codes[j] | codes[kLane + j] << 4);
    bytes[2 * j + 1] = static_cast<std::uint8_t>(codes[2 * kLane + j] | codes[3 * kLane + j] << 4);
  }
  std::memcpy(packed, bytes.data(), bytes.size());
}

void UnpackHalf(const std::byte* packed, std::uint8_t* codes) {
  std::array<std::uint8_t, 2 * kLane> bytes;
  std::memcpy(bytes.data(), packed, bytes.size());
  for (std::size_t j = 0; j < kLane; ++j) {
    codes[j] = bytes[2 * j] & kMaxCode;
    codes[kLane + j] = bytes[2 * j] >> 4;
    codes[2 * kLane + j] = bytes[2 * j + 1] & kMaxCode;
    codes[3 * kLane + j] = bytes[2 * j + 1] >> 4;
  }
}

// Calls body(row, first code, offset in bytes) for every half of every row.
template <class Body>
void ForEachHalf(const Form& form, std::size_t first, std::size_t count, const Body& body) {
  for (std::size_t row = 0; row < count; ++row) {
    const std::size_t n = first + row;
    for (std::size_t k = 0; k < form.in_features; k += kHalf) {
      const std::size_t word = n / kInterleaved * form.in_features + k / kPiece * kPiece +
                               n % kInterleaved * (kPiece / kInterleaved) + k / kHalf % 2 * kLane;
      body(row, k, word * sizeof(std::uint16_t));
    }
  }
}

// What the file has for a zero point. Both factors are small: exact but for the rounding to F16.
F16 ScaledZero(float scale, int zero) { return ToF16(-(scale * static_cast<float>(zero))); }

// -1 if there is none.
int ZeroOf(float scale, F16 scaled) {
  const float zero = std::nearbyint(-ToFloat(scaled) / scale);
  if (!(zero >= 0 && zero <= kMaxCode)) return -1;
  const int integer = static_cast<int>(zero);
  return ScaledZero(scale, integer).bits == scaled.bits ? integer : -1;
}

Status Pack(const Form& form, const Rows& rows, std::span<std::byte* const> parts,
            std::string_view module) {
  ForEachHalf(form, rows.first, rows.count(),
              [&](std::size_t row, std::size_t k, std::size_t offset) {
                PackHalf(rows.codes.row(row) + k, parts[0] + offset);
              });
  const std::size_t group_bytes = form.out_features * sizeof(F16);
  for (std::size_t g = form.groups(); g < PaddedGroups(form); ++g) {
    for (const std::size_t part : {1U, 2U}) {
      std::memset(parts[part] + g * group_bytes + rows.first * sizeof(F16), 0,
                  rows.count() * sizeof(F16));
    }
  }
  for (std::size_t g = 0; g < form.groups(); ++g) {
    for (std::size_t r = 0; r < rows.count(); ++r) {
      const float scale = rows.scales(r, g);
      const F16 scaled = ScaledZero(scale, rows.zeros(r, g));
      if (ZeroOf(scale, scaled) != rows.zeros(r, g)) {
        return MakeError(ErrorCode::kUnsupported,
                         "{}: the zero point {} of group {} of output feature {} is stored times "
                         "its scale {}, which F16 cannot hold",
                         module, rows.zeros(r, g), g, rows.first + r, scale);
      }
      std::memcpy(parts[1] + g * group_bytes + (rows.first + r) * sizeof(F16), &scaled,
                  sizeof(scaled));
    }
  }
  StoreScales(rows.scales, rows.first, DType::kF16, {1, form.out_features}, parts[2]);
  return {};
}

Status UnpackZeros(const Form& form, const std::byte* part, const MutableRows& rows,
                   std::string_view module) {
  const std::size_t group_bytes = form.out_features * sizeof(F16);
  for (std::size_t g = 0; g < form.groups(); ++g) {
    for (std::size_t r = 0; r < rows.count(); ++r) {
      const float scale = rows.scales(r, g);
      if (!std::isfinite(scale) || scale == 0) return {};  // refused as a scale, by the caller
      F16 scaled;
      std::memcpy(&scaled, part + g * group_bytes + (rows.first + r) * sizeof(F16), sizeof(scaled));
      const int zero = ZeroOf(scale, scaled);
      if (zero < 0) {
        return MakeError(ErrorCode::kCorrupt,
                         "{}: the scaled zero point of group {} of output feature {} is {}, which "
                         "is not -{} times a whole number from 0 to {}",
                         module, g, rows.first + r, ToFloat(scaled), scale, kMaxCode);
      }
      rows.zeros(r, g) = static_cast<std::uint8_t>(zero);
    }
  }
  return {};
}

Status Unpack(const Form& form, std::span<const std::byte* const> parts, const MutableRows& rows,
              std::string_view module) {
  ForEachHalf(form, rows.first, rows.count(),
              [&](std::size_t row, std::size_t k, std::size_t offset) {
                UnpackHalf(parts[0] + offset, rows.codes.row(row) + k);
              });
  LoadScales(parts[2], rows.first, DType::kF16, {1, form.out_features}, rows.scales);
  const std::size_t group_bytes = form.out_features * sizeof(F16);
  for (std::size_t g = form.groups(); g < PaddedGroups(form); ++g) {
    for (const std::size_t part : {1U, 2U}) {
      if (!IsZero(parts[part] + g * group_bytes + rows.first * sizeof(F16),
                  rows.count() * sizeof(F16))) {
        return PaddingError(module);
      }
    }
  }
  return UnpackZeros(form, parts[1], rows, module);
}

}  // namespace

Format AwqGemvFastFormat() {
  return {
      .name = "awq-gemv-fast",
      .codes_suffix = "qweight",
      .scale_suffix = "scales",
      .scales_zeros = true,
      .refuses = Refuses,
      .parts = [](const Form& form) { return PartsNamed(form, "qzeros"); },
      .pack = Pack,
      .unpack = Unpack,
      .read_config = [](const io::Fields& fields) { return ReadAwqConfig(fields, "gemv_fast"); },
      .write_config =
          [](const StoredQuantization& stored) { return WriteAwqConfig(stored, "gemv_fast"); }};
}

Format LlmAwqFormat() {
  Format format = AwqGemvFastFormat();
  format.name = "llm-awq";
  format.parts = [](const Form& form) { return PartsNamed(form, "scaled_zeros"); };
  format.read_config = [](const io::Fields& fields) { return ReadAwqConfig(fields, "llm-awq"); };
  format.write_config = [](const StoredQuantization& stored) {
    return WriteAwqConfig(stored, "llm-awq");
  };
  return format;
}

}  // namespace awq::pack
