#include "pack/streams.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "base/check.h"

namespace awq::pack {
namespace {

static_assert(std::endian::native == std::endian::little, "the words are stored little-endian");

// After so many codes a stream is at a word's start again, whatever the bits.
constexpr std::size_t kUnitCodes = 32;
constexpr std::size_t kWordBytes = sizeof(std::uint32_t);
constexpr std::size_t kMaxBits = 8;
// A tile of the turned order: a cache line of words wide, and as many codes deep.
constexpr std::size_t kTileRows = 16;
constexpr std::size_t kTileCodes = 8 * kUnitCodes;
constexpr std::size_t kTileWords = kTileCodes * kMaxBits / 32;

// `ones` low bits in every lane of `lane` bits.
constexpr std::uint64_t LaneMask(int ones, int lane) {
  std::uint64_t mask = 0;
  for (int at = 0; at < 64; at += lane) mask |= ((std::uint64_t{1} << ones) - 1) << at;
  return mask;
}

// Neighbouring lanes, each with kOnes bits at its low end, become one lane of twice the width.
template <int kOnes, int kLane>
std::uint64_t Joined(std::uint64_t x) {
  constexpr std::uint64_t kLow =
      kLane == 32 ? (std::uint64_t{1} << kOnes) - 1 : LaneMask(kOnes, 2 * kLane);
  return (x & kLow) | (x >> (kLane - kOnes) & kLow << kOnes);
}

// The inverse.
template <int kOnes, int kLane>
std::uint64_t Parted(std::uint64_t x) {
  constexpr std::uint64_t kLow =
      kLane == 32 ? (std::uint64_t{1} << kOnes) - 1 : LaneMask(kOnes, 2 * kLane);
  return (x & kLow) | (x << (kLane - kOnes) & kLow << kLane);
}

// Whole units: `count` is a multiple of kUnitCodes.
template <int kBits>
void PackUnits(const std::uint8_t* codes, std::size_t count, std::byte* packed) {
  if constexpr (kBits == 8) {
    std::memcpy(packed, codes, count);
  } else if constexpr (kBits == 4) {  // as a loop that the compiler vectorises
    auto* bytes = reinterpret_cast<std::uint8_t*>(packed);
    for (std::size_t i = 0; i < count / 2; ++i) {
      bytes[i] = static_cast<std::uint8_t>(codes[2 * i] | codes[2 * i + 1] << 4);
    }
  } else {
    for (std::size_t i = 0; i < count; i += 8, packed += kBits) {
      std::uint64_t x = 0;
      std::memcpy(&x, codes + i, sizeof(x));
      x = Joined<kBits, 8>(x);
      x = Joined<2 * kBits, 16>(x);
      x = Joined<4 * kBits, 32>(x);
      std::memcpy(packed, &x, kBits);
    }
  }
}

template <int kBits>
void UnpackUnits(const std::byte* packed, std::size_t count, std::uint8_t* codes) {
  if constexpr (kBits == 8) {
    std::memcpy(codes, packed, count);
  } else if constexpr (kBits == 4) {
    const auto* bytes = reinterpret_cast<const std::uint8_t*>(packed);
    for (std::size_t i = 0; i < count / 2; ++i) {
      codes[2 * i] = bytes[i] & 15;
      codes[2 * i + 1] = bytes[i] >> 4;
    }
  } else {
    for (std::size_t i = 0; i < count; i += 8, packed += kBits) {
      std::uint64_t x = 0;
      std::memcpy(&x, packed, kBits);
      x = Parted<4 * kBits, 32>(x);
      x = Parted<2 * kBits, 16>(x);
      x = Parted<kBits, 8>(x);
      std::memcpy(codes + i, &x, sizeof(x));
    }
  }
}

// The codes that fill no unit, in whole words.
template <int kBits>
std::array<std::byte, kUnitCodes * kMaxBits / 8> PackRest(const std::uint8_t* codes,
                                                          std::size_t count) {
  std::array<std::uint8_t, kUnitCodes> unit{};
  std::copy_n(codes, count, unit.data());
  std::array<std::byte, kUnitCodes * kMaxBits / 8> packed{};
  PackUnits<kBits>(unit.data(), kUnitCodes, packed.data());
  return packed;
}

template <int kBits>
void PackRow(const std::uint8_t* codes, std::size_t count, std::byte* packed) {
  const std::size_t whole = count / kUnitCodes * kUnitCodes;
  PackUnits<kBits>(codes, whole, packed);
  if (whole == count) return;
  const auto rest = PackRest<kBits>(codes + whole, count - whole);
  std::memcpy(packed + whole * kBits / 8, rest.data(),
              StreamWords(count - whole, kBits) * kWordBytes);
}

template <int kBits>
bool UnpackRow(const std::byte* packed, std::size_t count, std::uint8_t* codes) {
  const std::size_t whole = count / kUnitCodes * kUnitCodes;
  UnpackUnits<kBits>(packed, whole, codes);
  if (whole == count) return true;
  std::array<std::byte, kUnitCodes * kMaxBits / 8> rest{};
  const std::size_t rest_bytes = StreamWords(count - whole, kBits) * kWordBytes;
  std::memcpy(rest.data(), packed + whole * kBits / 8, rest_bytes);
  std::array<std::uint8_t, kUnitCodes> unit;
  UnpackUnits<kBits>(rest.data(), kUnitCodes, unit.data());
  std::copy_n(unit.data(), count - whole, codes + whole);
  const auto again = PackRest<kBits>(unit.data(), count - whole);
  return std::memcmp(rest.data(), again.data(), rest_bytes) == 0;
}

using Tile = std::array<std::array<std::uint32_t, kTileWords>, kTileRows>;

// Calls body(first_row, rows, first_code, codes, first_word, words) for every tile.
template <class Body>
void ForEachTile(std::size_t rows, std::size_t codes, int bits, const Body& body) {
  for (std::size_t row = 0; row < rows; row += kTileRows) {
    for (std::size_t code = 0; code < codes; code += kTileCodes) {
      const std::size_t count = std::min(kTileCodes, codes - code);
      body(row, std::min(kTileRows, rows - row), code, count, StreamWords(code, bits),
           StreamWords(count, bits));
    }
  }
}

template <int kBits>
void PackAcross(MatrixView<const std::uint8_t> codes, std::size_t stride, std::byte* packed) {
  Tile tile;
  ForEachTile(codes.rows, codes.cols, kBits,
              [&](std::size_t row, std::size_t rows, std::size_t code, std::size_t count,
                  std::size_t word, std::size_t words) {
                for (std::size_t r = 0; r < rows; ++r) {
                  PackRow<kBits>(codes.row(row + r) + code, count,
                                 reinterpret_cast<std::byte*>(tile[r].data()));
                }
                std::array<std::uint32_t, kTileRows> line;
                for (std::size_t w = 0; w < words; ++w) {
                  for (std::size_t r = 0; r < kTileRows; ++r) line[r] = tile[r][w];
                  std::memcpy(packed + ((word + w) * stride + row) * kWordBytes, line.data(),
                              rows * kWordBytes);
                }
              });
}

template <int kBits>
bool UnpackAcross(const std::byte* packed, std::size_t stride, MatrixView<std::uint8_t> codes) {
  Tile tile;
  bool clean = true;
  ForEachTile(codes.rows, codes.cols, kBits,
              [&](std::size_t row, std::size_t rows, std::size_t code, std::size_t count,
                  std::size_t word, std::size_t words) {
                std::array<std::uint32_t, kTileRows> line;
                for (std::size_t w = 0; w < words; ++w) {
                  std::memcpy(line.data(), packed + ((word + w) * stride + row) * kWordBytes,
                              rows * kWordBytes);
                  for (std::size_t r = 0; r < kTileRows; ++r) tile[r][w] = line[r];
                }
                for (std::size_t r = 0; r < rows; ++r) {
                  const bool row_clean =
                      UnpackRow<kBits>(reinterpret_cast<const std::byte*>(tile[r].data()), count,
                                       codes.row(row + r) + code);
                  clean = clean && row_clean;
                }
              });
  return clean;
}

// Calls body.operator()<bits>().
template <class Body>
auto WithBits(int bits, const Body& body) {
  switch (bits) {
    case 2:
      return body.template operator()<2>();
    case 3:
      return body.template operator()<3>();
    case 4:
      return body.template operator()<4>();
    case 5:
      return body.template operator()<5>();
    case 6:
      return body.template operator()<6>();
    case 7:
      return body.template operator()<7>();
    default:
      AWQ_CHECK_EQ(bits, 8);
      return body.template operator()<8>();
  }
}

}  // namespace

void PackStreams(MatrixView<const std::uint8_t> codes, int bits, std::size_t stride,
                 std::byte* packed) {
  WithBits(bits, [&]<int kBits>() {
    for (std::size_t r = 0; r < codes.rows; ++r) {
      PackRow<kBits>(codes.row(r), codes.cols, packed + r * stride * kWordBytes);
    }
  });
}

bool UnpackStreams(const std::byte* packed, int bits, std::size_t stride,
                   MatrixView<std::uint8_t> codes) {
  return WithBits(bits, [&]<int kBits>() {
    bool clean = true;
    for (std::size_t r = 0; r < codes.rows; ++r) {
      const bool row_clean =
          UnpackRow<kBits>(packed + r * stride * kWordBytes, codes.cols, codes.row(r));
      clean = clean && row_clean;
    }
    return clean;
  });
}

void PackStreamsAcross(MatrixView<const std::uint8_t> codes, int bits, std::size_t stride,
                       std::byte* packed) {
  WithBits(bits, [&]<int kBits>() { PackAcross<kBits>(codes, stride, packed); });
}

bool UnpackStreamsAcross(const std::byte* packed, int bits, std::size_t stride,
                         MatrixView<std::uint8_t> codes) {
  return WithBits(bits, [&]<int kBits>() { return UnpackAcross<kBits>(packed, stride, codes); });
}

Matrix<std::uint8_t> Transposed(MatrixView<const std::uint8_t> values) {
  Matrix<std::uint8_t> turned(values.cols, values.rows);
  for (std::size_t r = 0; r < values.rows; ++r) {
    for (std::size_t c = 0; c < values.cols; ++c) turned(c, r) = values(r, c);
  }
  return turned;
}

}  // namespace awq::pack
