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

// Words and codes stand across each other. A block is a cache line of words wide and one of codes
// deep, copied to memory of its own first: rows that lie a power of two apart share a few lines of
// the cache. Its tiles are turned over in registers.
constexpr std::size_t kSide = 16;
constexpr std::size_t kLine = 64;
constexpr std::size_t kBlockWords = kLine / sizeof(std::uint32_t);
constexpr std::size_t kBlockRows = kBlockWords * kPerWord;

struct Block {
  alignas(kLine) std::array<std::array<std::uint8_t, kLine>, kLine> packed{};      // [code][byte]
  alignas(kLine) std::array<std::array<std::uint8_t, kLine>, kBlockRows> codes{};  // [row][code]
};

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

using Lane __attribute__((vector_size(kSide))) = std::uint8_t;
using Tile = std::array<Lane, kSide>;

Lane Load(const void* from) {
  Lane lane;
  std::memcpy(&lane, from, sizeof(lane));
  return lane;
}

// Rows become columns: four rounds of interleaving the first half of the rows with the second.
void Turn(Tile& tile) {
  for (int round = 0; round < 4; ++round) {
    Tile next;
    for (std::size_t i = 0; i < kSide / 2; ++i) {
      const Lane a = tile[i];
      const Lane b = tile[i + kSide / 2];
      next[2 * i] =
          __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
      next[2 * i + 1] = __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29,
                                                14, 30, 15, 31);
    }
    tile = next;
  }
}

// The two rows of byte b of a block's words: in its low and its high nibble.
std::pair<std::size_t, std::size_t> RowsOf(std::size_t byte) {
  const std::size_t nibble = 2 * (byte % sizeof(std::uint32_t));
  const std::size_t first = byte / sizeof(std::uint32_t) * kPerWord;
  return {first + kOrder[nibble], first + kOrder[nibble + 1]};
}

void PackBlock(Block& block) {
  for (std::size_t byte = 0; byte < kLine; byte += kSide) {
    for (std::size_t code = 0; code < kLine; code += kSide) {
      Tile tile;
      for (std::size_t b = 0; b < kSide; ++b) {
        const auto [low, high] = RowsOf(byte + b);
        tile[b] = Load(&block.codes[low][code]) | Load(&block.codes[high][code]) << 4;
      }
      Turn(tile);
      for (std::size_t k = 0; k < kSide; ++k) {
        std::memcpy(&block.packed[code + k][byte], &tile[k], kSide);
      }
    }
  }
}

// Lines from `next` on, `step` bytes apart, are fetched between the tiles: all at once there would
// be more on their way than the CPU can wait for.
void UnpackBlock(Block& block, const std::byte* next, std::size_t step) {
  constexpr std::size_t kFetches = kLine / (kLine / kSide * kLine / kSide);  // a tile
  for (std::size_t byte = 0; byte < kLine; byte += kSide) {
    for (std::size_t code = 0; code < kLine; code += kSide) {
      for (std::size_t i = 0; i < kFetches; ++i, next += step) __builtin_prefetch(next);
      Tile tile;
      for (std::size_t k = 0; k < kSide; ++k) tile[k] = Load(&block.packed[code + k][byte]);
      Turn(tile);
      for (std::size_t b = 0; b < kSide; ++b) {
        const auto [low, high] = RowsOf(byte + b);
        const Lane lows = tile[b] & kMaxCode;
        const Lane highs = tile[b] >> 4;
        std::memcpy(&block.codes[low][code], &lows, kSide);
        std::memcpy(&block.codes[high][code], &highs, kSide);
      }
    }
  }
}

// A line, with its length known to the compiler where it is whole.
void CopyLine(const void* from, std::size_t bytes, void* to) {
  if (bytes == kLine) {
    std::memcpy(to, from, kLine);
  } else {
    std::memcpy(to, from, bytes);
  }
}

// Calls body(first_word, words, first_code, codes) for every block.
template <class Body>
void ForEachBlock(std::size_t words, std::size_t codes, const Body& body) {
  for (std::size_t code = 0; code < codes; code += kLine) {
    for (std::size_t word = 0; word < words; word += kBlockWords) {
      body(word, std::min(kBlockWords, words - word), code, std::min(kLine, codes - code));
    }
  }
}

// How many codes on the next block's packed rows are, which are fetched meanwhile: a line of each
// row is no pattern that the CPU guesses. 0 where none follows.
std::size_t Ahead(std::size_t first, std::size_t codes) {
  return first + 2 * kLine <= codes ? kLine : 0;
}

// codes [8 * words, n], row-major -> words from `first_word` on of packed rows [n, stride].
void PackWords(MatrixView<const std::uint8_t> codes, std::size_t first_word, std::size_t stride,
               std::byte* packed) {
  Block block;
  ForEachBlock(codes.rows / kPerWord, codes.cols,
               [&](std::size_t word, std::size_t words, std::size_t first, std::size_t count) {
                 for (std::size_t r = 0; r < words * kPerWord; ++r) {
                   CopyLine(codes.row(word * kPerWord + r) + first, count, block.codes[r].data());
                 }
                 PackBlock(block);
                 std::byte* line =
                     packed + (first * stride + first_word + word) * sizeof(std::uint32_t);
                 const std::size_t step = stride * sizeof(std::uint32_t);
                 const std::size_t ahead = Ahead(first, codes.cols) * step;
                 for (std::size_t k = 0; k < count; ++k, line += step) {
                   __builtin_prefetch(line + ahead, 1);
                   CopyLine(block.packed[k].data(), words * sizeof(std::uint32_t), line);
                 }
               });
}

// The inverse of PackWords. `packed` need not be aligned.
void UnpackWords(const std::byte* packed, std::size_t first_word, std::size_t stride,
                 MatrixView<std::uint8_t> codes) {
  Block block;
  ForEachBlock(codes.rows / kPerWord, codes.cols,
               [&](std::size_t word, std::size_t words, std::size_t first, std::size_t count) {
                 const std::byte* line =
                     packed + (first * stride + first_word + word) * sizeof(std::uint32_t);
                 const std::size_t step = stride * sizeof(std::uint32_t);
                 const std::byte* const next = line + Ahead(first, codes.cols) * step;
                 for (std::size_t k = 0; k < count; ++k, line += step) {
                   CopyLine(line, words * sizeof(std::uint32_t), block.packed[k].data());
                 }
                 UnpackBlock(block, next, step);
                 for (std::size_t r = 0; r < words * kPerWord; ++r) {
                   CopyLine(block.codes[r].data(), count, codes.row(word * kPerWord + r) + first);
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
