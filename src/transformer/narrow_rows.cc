#include "transformer/narrow_rows.h"

#include "base/isa.h"
#include "math/vector.h"

namespace awq::transformer {
namespace {

const NarrowLoops& Loops() {
  static const NarrowLoops& loops = AWQ_TABLE_FOR(ActiveIsa(), kNarrowLoops);
  return loops;
}

}  // namespace

NarrowRows From(const NarrowRows& rows, std::size_t token) {
  const bool is_f16 = rows.scales == nullptr;
  const std::size_t bytes = token * rows.head_dim * (is_f16 ? sizeof(F16) : sizeof(std::int8_t));
  return {static_cast<const std::byte*>(rows.elements) + bytes,
          is_f16 ? nullptr : rows.scales + token, rows.head_dim};
}

void Round(std::span<const float> x, std::span<F16> to) {
  math::Convert(x, to);
  for (F16& half : to) {
    const bool is_infinite = (half.bits & 0x7fffU) == 0x7c00U;
    half.bits = static_cast<std::uint16_t>(half.bits - (is_infinite ? 1U : 0U));
  }
}

float Round(std::span<const float> x, std::span<std::int8_t> codes) {
  AWQ_CHECK_EQ(x.size(), codes.size());
  return Loops().round_to_int8(x.data(), x.size(), codes.data());
}

void Read(const NarrowRows& rows, MatrixView<float> to) {
  AWQ_CHECK_EQ(to.stride, rows.head_dim);
  Loops().read(rows, to.rows, to.data);
}

void Score(const NarrowRows& keys, MatrixView<const float> queries, MatrixView<float> scores) {
  AWQ_CHECK_EQ(queries.stride, keys.head_dim);
  AWQ_CHECK_EQ(scores.rows, queries.rows);
  Loops().score(keys, scores.cols, queries.data, queries.rows, scores.data, scores.stride);
}

void Mix(const NarrowRows& values, MatrixView<const float> weights, MatrixView<float> out) {
  AWQ_CHECK_EQ(out.stride, values.head_dim);
  AWQ_CHECK_EQ(out.rows, weights.rows);
  Loops().mix(values, weights.cols, weights.data, weights.stride, weights.rows, out.data);
}

}  // namespace awq::transformer
