// AutoAWQ's "gemm" layout; docs/formats/awq_gemm.md has the bytes.
#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <cstring>
#include <nlohmann/json.hpp>

#include "pack/awq_config.h"
#include "pack/formats.h"
#include "pack/scales.h"

namespace awq::pack {
namespace {

static_assert(std::endian::native == std::endian::little, "the words are stored little-endian");

constexpr std::size_t kPerWord = 8;  // 4-bit codes of neighbouring output features
// Nibble i of a word holds output feature 8 * word + kOrder[i].
constexpr std::array<std::size_t, kPerWord> kOrder = {0, 2, 4, 6, 1, 3, 5, 7};
constexpr std::uint8_t kMaxCode = 15;

// A tile is 16 words wide, one cache line of the packed side, and 64 codes long, one of the
// canonical side: both sides are then read and written in whole lines.
constexpr std::size_t kTileWords = 16;
constexpr std::size_t kTileCodes = 64;

std::string Refuses(const Form& form) {
  const quant::Spec& spec = form.spec;
  if (spec.bits != 4) return fmt::format("it holds 4-bit codes, not {}-bit ones", spec.bits);
  if (form.out_features % kPerWord != 0) {
    return fmt::format("out_features {} is no multiple of {}", form.out_features, kPerWord);
  }
  return RefusesForAwq(spec);
}

std::vector<PartInfo> Parts(const Form& form) {
  const std::size_t words = form.out_features / kPerWord;
  return {{"qweight", DType::kI32, {form.in_features, words}},
          {"qzeros", DType::kI32, {form.groups(), words}},
          {"scales", form.spec.scale_dtype, {form.groups(), form.out_features}}};
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

// The words of one output octet: rows[i] has the codes that stand in nibble i. Byte arithmetic
// first: it vectorises best.
void PackColumn(const std::array<const std::uint8_t*, kPerWord>& rows, std::size_t count,
                std::array<std::uint32_t, kTileCodes>& column) {
  std::array<std::array<std::uint8_t, kTileCodes>, kPerWord / 2> bytes{};
  for (std::size_t b = 0; b < bytes.size(); ++b) {
    const std::uint8_t* low = rows[2 * b];
    const std::uint8_t* high = rows[2 * b + 1];
    for (std::size_t k = 0; k < count; ++k) {
      bytes[b][k] = static_cast<std::uint8_t>(low[k] | high[k] << 4);
    }
  }
  for (std::size_t k = 0; k < kTileCodes; ++k) {
    column[k] = std::uint32_t{bytes[0][k]} | std::uint32_t{bytes[1][k]} << 8 |
                std::uint32_t{bytes[2][k]} << 16 | std::uint32_t{bytes[3][k]} << 24;
  }
}

// codes [8 * words, n], row-major -> words from `first_word` on of packed rows [n, stride].
void PackWords(MatrixView<const std::uint8_t> codes, std::size_t first_word, std::size_t stride,
               std::byte* packed) {
  const std::size_t words = codes.rows / kPerWord;
  ForEachTile(words, codes.cols,
              [&](std::size_t word, std::size_t tile_words, std::size_t first, std::size_t count) {
                std::array<std::array<std::uint32_t, kTileCodes>, kTileWords> columns;
                for (std::size_t w = 0; w < tile_words; ++w) {
                  std::array<const std::uint8_t*, kPerWord> rows{};
                  for (std::size_t i = 0; i < kPerWord; ++i) {
                    rows[i] = codes.row((word + w) * kPerWord + kOrder[i]) + first;
                  }
                  PackColumn(rows, count, columns[w]);
                }
                std::array<std::uint32_t, kTileWords> line{};
                for (std::size_t k = 0; k < count; ++k) {
                  for (std::size_t w = 0; w < tile_words; ++w) line[w] = columns[w][k];
                  std::memcpy(
                      packed + ((first + k) * stride + first_word + word) * sizeof(std::uint32_t),
                      line.data(), tile_words * sizeof(std::uint32_t));
                }
              });
}

// The inverse of PackWords. `packed` need not be aligned.
void UnpackWords(const std::byte* packed, std::size_t first_word, std::size_t stride,
                 MatrixView<std::uint8_t> codes) {
  const std::size_t words = codes.rows / kPerWord;
  ForEachTile(words, codes.cols,
              [&](std::size_t word, std::size_t tile_words, std::size_t first, std::size_t count) {
                std::array<std::array<std::uint32_t, kTileWords>, kTileCodes> tile;
                for (std::size_t k = 0; k < count; ++k) {
                  std::memcpy(
                      tile[k].data(),
                      packed + ((first + k) * stride + first_word + word) * sizeof(std::uint32_t),
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

ScalePlaces PlacesOf(const Form& form) { return {1, form.out_features}; }

Status Pack(const Form& form, const Rows& rows, std::span<std::byte* const> parts,
            std::string_view /*module*/) {
  const std::size_t stride = form.out_features / kPerWord;
  PackWords(rows.codes, rows.first / kPerWord, stride, parts[0]);
  PackWords(rows.zeros, rows.first / kPerWord, stride, parts[1]);
  StoreScales(rows.scales, rows.first, form.spec.scale_dtype, PlacesOf(form), parts[2]);
  return {};
}

Status Unpack(const Form& form, std::span<const std::byte* const> parts, const MutableRows& rows,
              std::string_view /*module*/) {
  const std::size_t stride = form.out_features / kPerWord;
  UnpackWords(parts[0], rows.first / kPerWord, stride, rows.codes);
  UnpackWords(parts[1], rows.first / kPerWord, stride, rows.zeros);
  LoadScales(parts[2], rows.first, form.spec.scale_dtype, PlacesOf(form), rows.scales);
  return {};
}

}  // namespace

Format AwqGemmFormat() {
  return {.name = "awq-gemm",
          .codes_suffix = "qweight",
          .scale_suffix = "scales",
          .refuses = Refuses,
          .parts = Parts,
          .pack = Pack,
          .unpack = Unpack,
          .read_config = [](const io::Fields& fields) { return ReadAwqConfig(fields, "gemm"); },
          .write_config =
              [](const StoredQuantization& stored) { return WriteAwqConfig(stored, "gemm"); }};
}

}  // namespace awq::pack
