#include "transformer/kv_rows.h"

#include "base/isa.h"
#include "math/vector.h"

namespace awq::transformer {
namespace {

const KvLoops& Loops() {
  static const KvLoops& loops = AWQ_TABLE_FOR(ActiveIsa(), kKvLoops);
  return loops;
}

}  // namespace

std::size_t ElementBytes(KvElement element) {
  switch (element) {
    case KvElement::kF32:
      return sizeof(float);
    case KvElement::kBF16:
    case KvElement::kF16:
      return sizeof(F16);
    case KvElement::kInt8:
      break;
  }
  return sizeof(std::int8_t);
}

KvRows From(const KvRows& rows, std::size_t token) {
  KvRows from = rows;
  from.elements = static_cast<const std::byte*>(rows.elements) +
                  token * rows.head_dim * ElementBytes(rows.element);
  if (rows.scales != nullptr) from.scales += token;
  return from;
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

void Read(const KvRows& rows, MatrixView<float> to) {
  AWQ_CHECK_EQ(to.stride, rows.head_dim);
  Loops().read(rows, to.rows, to.data);
}

void Read(const KvRows& rows, MatrixView<BF16> to) {
  AWQ_CHECK_EQ(to.stride, rows.head_dim);
  static_assert(sizeof(BF16) == sizeof(std::uint16_t));
  Loops().read_bf16(rows, to.rows, reinterpret_cast<std::uint16_t*>(to.data));
}

void Score(const KvRows& keys, MatrixView<const float> queries, MatrixView<float> scores) {
  AWQ_CHECK_EQ(queries.stride, keys.head_dim);
  AWQ_CHECK_EQ(scores.rows, queries.rows);
  Loops().score(keys, scores.cols, queries.data, queries.rows, scores.data, scores.stride);
}

void Mix(const KvRows& values, MatrixView<const float> weights, MatrixView<float> out) {
  AWQ_CHECK_EQ(out.stride, values.head_dim);
  AWQ_CHECK_EQ(out.rows, weights.rows);
  Loops().mix(values, weights.cols, weights.data, weights.stride, weights.rows, out.data);
}

}  // namespace awq::transformer
