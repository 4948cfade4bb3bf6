#include "pipeline/dense.h"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>

#include "base/error.h"
#include "math/vector.h"

namespace awq::pipeline {
namespace {

constexpr std::size_t kPiece = std::size_t{1} << 20;  // elements converted at a time

// Whether a stored value is infinite or NaN: all bits of its exponent are set.
bool IsNonFinite(const std::byte* value, DType dtype) {
  std::uint32_t bits = 0;
  std::memcpy(&bits, value, ElementBytes(dtype));
  const std::uint32_t exponent = dtype == DType::kF32    ? 0x7f800000U
                                 : dtype == DType::kBF16 ? 0x7f80U
                                                         : 0x7c00U;
  return (bits & exponent) == exponent;
}

// `first`: the place of the first value in its tensor.
Status CheckRepresentable(std::span<const F16> halves, std::span<const float> values,
                          std::size_t first, const std::string& name) {
  const auto bad = std::find_if(halves.begin(), halves.end(),
                                [](F16 half) { return (half.bits & 0x7c00U) == 0x7c00U; });
  if (bad == halves.end()) return {};
  const auto index = static_cast<std::size_t>(bad - halves.begin());
  return MakeError(ErrorCode::kUnsupported,
                   "{}: element {} is {}, but AWQ checkpoints hold fp16 (at most 65504); the "
                   "weights are damaged or unsuitable",
                   name, first + index, values[index]);
}

}  // namespace

Status CheckFinite(ThreadPool& pool, const TensorView& tensor, const std::string& name) {
  const std::size_t element_bytes = ElementBytes(tensor.dtype);
  std::atomic<std::size_t> first_bad{SIZE_MAX};
  pool.ParallelFor(CeilDiv(tensor.elements(), kPiece), [&](std::size_t piece, std::size_t) {
    const std::size_t end = std::min(tensor.elements(), (piece + 1) * kPiece);
    for (std::size_t i = piece * kPiece; i < end; ++i) {
      if (!IsNonFinite(tensor.bytes.data() + i * element_bytes, tensor.dtype)) continue;
      std::size_t seen = first_bad.load();
      while (i < seen && !first_bad.compare_exchange_weak(seen, i)) {
      }
      return;
    }
  });
  if (first_bad == SIZE_MAX) return {};
  return MakeError(ErrorCode::kCorrupt,
                   "{}: element {} is infinite or NaN; the file is damaged, fetch it again", name,
                   first_bad.load());
}

Status ToHalves(std::span<const float> values, const std::string& name, std::span<F16> halves) {
  math::Convert(values, halves);
  return CheckRepresentable(halves, values, 0, name);
}

pack::Movement RoundedToF16(const TensorView& tensor) {
  if (tensor.dtype == DType::kF16) return {};
  const std::size_t element_bytes = ElementBytes(tensor.dtype);
  Buffer<float> piece(std::min(kPiece, tensor.elements()));
  pack::Movement rounded;
  for (std::size_t first = 0; first < tensor.elements(); first += kPiece) {
    const std::span<float> values = piece.span().first(std::min(kPiece, tensor.elements() - first));
    math::Convert({tensor.dtype,
                   {values.size()},
                   tensor.bytes.subspan(first * element_bytes, values.size() * element_bytes)},
                  values);
    for (const float value : values) rounded.Note(value, RoundToF16(value));
  }
  return rounded;
}

Status WriteDense(checkpoint::DirectoryWriter& writer, const std::string& name,
                  const TensorView& tensor) {
  const std::size_t element_bytes = ElementBytes(tensor.dtype);
  Buffer<float> piece(std::min(kPiece, tensor.elements()));
  Buffer<F16> halves(piece.size());
  for (std::size_t first = 0; first < tensor.elements(); first += kPiece) {
    const std::size_t count = std::min(kPiece, tensor.elements() - first);
    const TensorView part{
        tensor.dtype, {count}, tensor.bytes.subspan(first * element_bytes, count * element_bytes)};
    const std::span<float> values = piece.span().first(count);
    const std::span<F16> stored = halves.span().first(count);
    math::Convert(part, values);
    math::Convert(std::span<const float>(values), stored);
    AWQ_TRY(CheckRepresentable(stored, values, first, name));
    AWQ_TRY(writer.WriteTensor(name, std::as_bytes(stored), first * sizeof(F16)));
  }
  return {};
}

}  // namespace awq::pipeline
