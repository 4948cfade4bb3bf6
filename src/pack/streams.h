// Dense streams of codes: element i of a row takes bits i * bits to (i + 1) * bits - 1 of the row's
// little-endian words, counted from the lowest; what is left of the last word is 0. Memory on the
// packed side need not be aligned.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/checked.h"
#include "tensor/tensor.h"

namespace awq::pack {

inline std::size_t StreamWords(std::size_t codes, int bits) {
  return CeilDiv(codes * static_cast<std::size_t>(bits), 32);
}

// Each row of codes becomes neighbouring words; `stride` words from one row to the next. 2 to 8
// bits. Unpacking returns false where what is left of a last word is not 0.
void PackStreams(MatrixView<const std::uint8_t> codes, int bits, std::size_t stride,
                 std::byte* packed);
bool UnpackStreams(const std::byte* packed, int bits, std::size_t stride,
                   MatrixView<std::uint8_t> codes);

// The same turned over: word w of row r is at w * stride + r.
void PackStreamsAcross(MatrixView<const std::uint8_t> codes, int bits, std::size_t stride,
                       std::byte* packed);
bool UnpackStreamsAcross(const std::byte* packed, int bits, std::size_t stride,
                         MatrixView<std::uint8_t> codes);

// [rows, cols] -> [cols, rows]; for zeros, which are small.
Matrix<std::uint8_t> Transposed(MatrixView<const std::uint8_t> values);

}  // namespace awq::pack
