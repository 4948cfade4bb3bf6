// Codes to the registers of a tensor core, without a rounding: a code becomes the last bits of a
// float whose other bits are known, from which that float's value without the code and the zero are
// subtracted, which is exact.
#pragma once

#include "cuda/ptx.h"
#include "cuda/weights.h"

namespace awq::cuda {
inline namespace AWQ_CUDA_SIDE {

// A lane's codes of a unit, 4 blocks of 16 rows by 4 products of 16 inputs; weights.h says where.
template <int kBits>
struct UnitCodes {
  std::uint32_t words[static_cast<std::size_t>(4 * kBits)];
};

// What has code 0 as its value: 1024 in f16, 128 in bf16. 8 bits are more than bf16 has, and go by
// way of 2^23 in f32.
template <class T>
struct CodeBase;
template <>
struct CodeBase<Half> {
  static constexpr std::uint32_t kPair = 0x64006400u, kBytes = 0x64646464u,
                                 kMinusBytes = 0xe4e4e4e4u;
};
template <>
struct CodeBase<Bfloat16> {
  static constexpr std::uint32_t kPair = 0x43004300u, kBytes = 0x43434343u,
                                 kMinusBytes = 0xc3c3c3c3u;
};

template <class T, int kBits>
inline constexpr bool kBySingle = kBits == 8 && CodeBase<T>::kPair == 0x43004300u;

// The upper nibbles of an f16's bytes need no shift: 1024 + 16 q, times 1/16, is 64 + q.
template <class T, int kBits>
inline constexpr bool kInPlace = kBits == 4 && CodeBase<T>::kPair == 0x64006400u;
inline constexpr std::uint32_t kSixteenth = 0x2c002c00u, k960 = 0x63806380u;  // pairs of f16

// What to add to a code with its base: minus both the base and zero `index` of four; a pair of T,
// or an f32. `half`: of rows l / 4 (0) or l / 4 + 8 (1).
template <class T, int kBits>
__device__ __forceinline__ std::uint32_t MinusZero(std::uint32_t zeros, unsigned index, int half) {
  if constexpr (kBySingle<T, kBits>) {
    return __byte_perm(zeros, 0xcb000000u, 0x7440u | index);
  } else {
    const std::uint32_t minus =
        __byte_perm(zeros, CodeBase<T>::kMinusBytes, 0x4040u | index | index << 8);
    return kInPlace<T, kBits> && half == 1 ? AddPairs<T>(minus, k960) : minus;
  }
}

// Register r of A for block b and product j: codes minus zeros of rows l / 4 (r even) or
// l / 4 + 8 (r odd) of the block; minus_zero is that row's. Codes may begin with any even block.
template <class T, int kBits, class Codes>
__device__ __forceinline__ std::uint32_t Dequantize(const Codes& codes, int b, int j, int r,
                                                    std::uint32_t minus_zero) {
  if constexpr (kInPlace<T, kBits>) {
    const std::uint32_t word = codes.words[4 * b + j] >> (8 * (r / 2));
    return r % 2 == 0 ? AddPairs<T>(AndOr(word, 0x000f000fu, CodeBase<T>::kPair), minus_zero)
                      : MultiplyAddPairs<T>(AndOr(word, 0x00f000f0u, CodeBase<T>::kPair),
                                            kSixteenth, minus_zero);
  } else if constexpr (kBits == 4) {
    const std::uint32_t word = codes.words[4 * b + j] >> (4 * r);
    return AddPairs<T>(AndOr(word, 0x000f000fu, CodeBase<T>::kPair), minus_zero);
  } else if constexpr (kBits == 3) {
    const int p = 4 * j + r;
    const std::uint32_t high = codes.words[3 * b + 2];
    const std::uint32_t low =
        AndOr(codes.words[3 * b + p / 8] >> (2 * (p % 8)), 0x00030003u, CodeBase<T>::kPair);
    const std::uint32_t top = p < 2 ? high << (2 - p) : high >> (p - 2);
    return AddPairs<T>(AndOr(top, 0x00040004u, low), minus_zero);
  } else if constexpr (!kBySingle<T, kBits>) {
    const std::uint32_t word = codes.words[8 * b + 2 * j + r / 2];
    return AddPairs<T>(__byte_perm(word, CodeBase<T>::kBytes, r % 2 == 0 ? 0x4140u : 0x4342u),
                       minus_zero);
  } else {
    const std::uint32_t word = codes.words[8 * b + 2 * j + r / 2];
    const unsigned first = r % 2 == 0 ? 0x7440u : 0x7442u;
    const float zero = __uint_as_float(minus_zero);
    const float low = __uint_as_float(__byte_perm(word, 0x4b000000u, first)) + zero;
    const float high = __uint_as_float(__byte_perm(word, 0x4b000000u, first + 1)) + zero;
    return PackPair<T>(low, high);
  }
}

// Scales and zeros of a lane's 8 rows: [block of 16 rows][row / 8 % 2].
struct RowScales {
  uint4 scales;  // fp16
  uint2 zeros;   // bytes
};

__device__ __forceinline__ float ScaleOf(const RowScales& rows, int b, int half) {
  const std::uint32_t pair = b == 0   ? rows.scales.x
                             : b == 1 ? rows.scales.y
                             : b == 2 ? rows.scales.z
                                      : rows.scales.w;
  return ToFloat(Half{static_cast<std::uint16_t>(half == 0 ? pair & 0xffffu : pair >> 16)});
}

template <class T, int kBits>
__device__ __forceinline__ std::uint32_t MinusZeroOf(const RowScales& rows, int b, int half) {
  const unsigned index = static_cast<unsigned>(2 * (b % 2) + half);
  return MinusZero<T, kBits>(b < 2 ? rows.zeros.x : rows.zeros.y, index, half);
}

}  // namespace AWQ_CUDA_SIDE
}  // namespace awq::cuda
