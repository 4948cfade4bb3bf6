// AutoAWQ's "gemm" layout; docs/formats/awq_gemm.md has the bytes.
#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <cstring>

#include "base/check.h"
#include "base/error.h"
#include "pack/formats.h"

namespace awq::pack {
namespace {

static_assert(std::endian::native == std::endian::little, "the words are stored little-endian");

constexpr std::size_t kPerWord = 8;  // 4-bit codes of neighbouring output features
// Nibble i of a word holds output feature 8 * word + kOrder[i].
constexpr std::array<std::size_t, kPerWord> kOrder = {0, 2, 4, 6, 1, 3, 5, 7};
constexpr std::uint8_t kMaxCode = 15;
constexpr std::uint16_t kF16ExponentBits = 0x7c00;

// A tile is 16 words wide, one cache line of the packed side, and 64 codes long, one of the
// canonical side: both sides are then read and written in whole lines.
constexpr std::size_t kTileWords = 16;
constexpr std::size_t kTileCodes = 64;

std::size_t GroupSize(std::size_t in_features, const quant::Spec& spec) {
  return spec.group_size == 0 ? in_features : spec.group_size;
}

std::string Refuses(std::size_t out_features, std::size_t in_features, const quant::Spec& spec) {
  if (spec.bits != 4) return fmt::format("it holds 4-bit codes, not {}-bit ones", spec.bits);
  if (out_features == 0 || in_features == 0) return "the matrix is empty";
  if (out_features % kPerWord != 0) {
    return fmt::format("out_features {} is no multiple of {}", out_features, kPerWord);
  }
  const std::size_t group = GroupSize(in_features, spec);
  if (in_features % group != 0) {
    return fmt::format("in_features {} is no multiple of the group size {}", in_features, group);
  }
  return "";
}

std::vector<PartInfo> Parts(std::size_t out_features, std::size_t in_features,
                            const quant::Spec& spec) {
  const std::size_t groups = in_features / GroupSize(in_features, spec);
  return {{"qweight", DType::kI32, {in_features, out_features / kPerWord}},
          {"qzeros", DType::kI32, {groups, out_features / kPerWord}},
          {"scales", DType::kF16, {groups, out_features}}};
}

// Calls body(first_word, words, first_code, codes) for every tile.
template <class Body>
void ForEachTile(std::size_t words, std::size_t codes, const Body& body) {
  for (std::size_t word = 0; word < words; word += kTileWords) {
    const std::size_t tile_words = std::min(kTileWords, words - word);
    for (std::size_t code = 0; code < codes; code += kTileCodes) {
      body(word, tile_words, code, std::min(kTileCodes, codes - code));
    }
  }
}

// The words of one output octet: rows[i] has the codes that stand in nibble i. Returns the codes'
// union, so that the caller sees one out of range. Byte arithmetic first: it vectorises best.
std::uint8_t PackColumn(const std::array<const std::uint8_t*, kPerWord>& rows, std::size_t count,
                        std::array<std::uint32_t, kTileCodes>& column) {
  std::array<std::array<std::uint8_t, kTileCodes>, kPerWord / 2> bytes{};
  std::uint8_t seen = 0;
  for (std::size_t b = 0; b < bytes.size(); ++b) {
    const std::uint8_t* low = rows[2 * b];
    const std::uint8_t* high = rows[2 * b + 1];
    for (std::size_t k = 0; k < count; ++k) {
      seen = static_cast<std::uint8_t>(seen | low[k] | high[k]);
      bytes[b][k] = static_cast<std::uint8_t>(low[k] | high[k] << 4);
    }
  }
  for (std::size_t k = 0; k < kTileCodes; ++k) {
    column[k] = std::uint32_t{bytes[0][k]} | std::uint32_t{bytes[1][k]} << 8 |
                std::uint32_t{bytes[2][k]} << 16 | std::uint32_t{bytes[3][k]} << 24;
  }
  return seen;
}

// codes [8 * words, n], row-major -> packed words [n, words].
void PackWords(MatrixView<const std::uint8_t> codes, std::byte* packed) {
  const std::size_t words = codes.rows / kPerWord;
  std::uint8_t seen = 0;
  ForEachTile(words, codes.cols,
              [&](std::size_t word, std::size_t tile_words, std::size_t first, std::size_t count) {
                std::array<std::array<std::uint32_t, kTileCodes>, kTileWords> columns;
                for (std::size_t w = 0; w < tile_words; ++w) {
                  std::array<const std::uint8_t*, kPerWord> rows{};
                  for (std::size_t i = 0; i < kPerWord; ++i) {
                    rows[i] = codes.row((word + w) * kPerWord + kOrder[i]) + first;
                  }
                  seen |= PackColumn(rows, count, columns[w]);
                }
                std::array<std::uint32_t, kTileWords> line{};
                for (std::size_t k = 0; k < count; ++k) {
                  for (std::size_t w = 0; w < tile_words; ++w) line[w] = columns[w][k];
                  std::memcpy(packed + ((first + k) * words + word) * sizeof(std::uint32_t),
                              line.data(), tile_words * sizeof(std::uint32_t));
                }
              });
  AWQ_CHECK_LE(seen, kMaxCode);
}

// The inverse of PackWords. `packed` need not be aligned.
void UnpackWords(const std::byte* packed, MatrixView<std::uint8_t> codes) {
  const std::size_t words = codes.rows / kPerWord;
  ForEachTile(words, codes.cols,
              [&](std::size_t word, std::size_t tile_words, std::size_t first, std::size_t count) {
                std::array<std::array<std::uint32_t, kTileWords>, kTileCodes> tile;
                for (std::size_t k = 0; k < count; ++k) {
                  std::memcpy(tile[k].data(),
                              packed + ((first + k) * words + word) * sizeof(std::uint32_t),
                              tile_words * sizeof(std::uint32_t));
                }
                for (std::size_t w = 0; w < tile_words; ++w) {
                  std::array<std::uint32_t, kTileCodes> column;
                  for (std::size_t k = 0; k < count; ++k) column[k] = tile[k][w];
                  for (std::size_t i = 0; i < kPerWord; ++i) {
                    std::uint8_t* row = codes.row((word + w) * kPerWord + kOrder[i]) + first;
                    for (std::size_t k = 0; k < count; ++k) {
                      row[k] = static_cast<std::uint8_t>(column[k] >> (4 * i) & kMaxCode);
                    }
                  }
                }
              });
}

// scales [out, groups] -> [groups, out] and back; small beside the codes.
void PackScales(const Matrix<F16>& scales, std::byte* packed) {
  for (std::size_t group = 0; group < scales.cols(); ++group) {
    for (std::size_t out = 0; out < scales.rows(); ++out) {
      std::memcpy(packed + (group * scales.rows() + out) * sizeof(F16), &scales(out, group),
                  sizeof(F16));
    }
  }
}

void UnpackScales(const std::byte* packed, Matrix<F16>& scales) {
  for (std::size_t group = 0; group < scales.cols(); ++group) {
    for (std::size_t out = 0; out < scales.rows(); ++out) {
      std::memcpy(&scales(out, group), packed + (group * scales.rows() + out) * sizeof(F16),
                  sizeof(F16));
    }
  }
}

std::vector<PackedPart> Pack(const quant::QuantizedLinear& linear) {
  AWQ_CHECK(Refuses(linear.out_features(), linear.in_features(), linear.spec).empty());
  std::vector<PackedPart> packed;
  for (PartInfo& info : Parts(linear.out_features(), linear.in_features(), linear.spec)) {
    Buffer<std::byte> bytes(info.shape[0] * info.shape[1] * ElementBytes(info.dtype));
    packed.push_back({std::move(info), std::move(bytes)});
  }
  AWQ_CHECK_EQ(linear.groups(), packed[1].info.shape[0]);
  PackWords(linear.codes, packed[0].bytes.data());
  PackWords(linear.zeros, packed[1].bytes.data());
  PackScales(linear.scales, packed[2].bytes.data());
  return packed;
}

Status CheckParts(std::span<const TensorView> parts, const std::vector<PartInfo>& expected,
                  std::string_view module) {
  if (parts.size() != expected.size()) {
    return MakeError(ErrorCode::kCorrupt, "{}: {} packed tensors; expected {}", module,
                     parts.size(), expected.size());
  }
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const PartInfo& want = expected[i];
    const TensorView& have = parts[i];
    const auto bytes = CheckedProduct({want.shape[0], want.shape[1], ElementBytes(want.dtype)});
    if (have.dtype != want.dtype || have.shape != want.shape || have.bytes.size() != bytes) {
      return MakeError(ErrorCode::kCorrupt, "{}.{}: expected {} {}, found {} {} of {} bytes",
                       module, want.suffix, DTypeName(want.dtype), ShapeString(want.shape),
                       DTypeName(have.dtype), ShapeString(have.shape), have.bytes.size());
    }
  }
  return {};
}

Status CheckValues(const quant::QuantizedLinear& linear, std::string_view module) {
  for (std::size_t out = 0; out < linear.out_features(); ++out) {
    for (std::size_t group = 0; group < linear.groups(); ++group) {
      if ((linear.scales(out, group).bits & kF16ExponentBits) == kF16ExponentBits) {
        return MakeError(ErrorCode::kCorrupt,
                         "{}.scales: the scale of group {} of output feature {} is not finite",
                         module, group, out);
      }
      if (linear.spec.symmetric && linear.zeros(out, group) != linear.spec.mid_code()) {
        return MakeError(ErrorCode::kCorrupt,
                         "{}.qzeros: the zero of group {} of output feature {} is {}; without "
                         "zero_point every one must be {}",
                         module, group, out, linear.zeros(out, group), linear.spec.mid_code());
      }
    }
  }
  return {};
}

Result<quant::QuantizedLinear> Unpack(std::span<const TensorView> parts, std::size_t out_features,
                                      std::size_t in_features, const quant::Spec& spec,
                                      std::string_view module) {
  if (const std::string why = Refuses(out_features, in_features, spec); !why.empty()) {
    return MakeError(ErrorCode::kUnsupported, "{}: the awq-gemm layout does not fit: {}", module,
                     why);
  }
  const std::vector<PartInfo> expected = Parts(out_features, in_features, spec);
  AWQ_TRY(CheckParts(parts, expected, module));  // also bounds what is allocated next
  const std::size_t groups = expected[1].shape[0];
  quant::QuantizedLinear linear{spec, Matrix<std::uint8_t>(out_features, in_features),
                                Matrix<F16>(out_features, groups),
                                Matrix<std::uint8_t>(out_features, groups)};
  linear.spec.group_size = GroupSize(in_features, spec);
  UnpackWords(parts[0].bytes.data(), linear.codes);
  UnpackWords(parts[1].bytes.data(), linear.zeros);
  UnpackScales(parts[2].bytes.data(), linear.scales);
  AWQ_TRY(CheckValues(linear, module));
  return linear;
}

}  // namespace

Format AwqGemmFormat() { return {"awq-gemm", Refuses, Parts, Pack, Unpack}; }

}  // namespace awq::pack
