#include "quant/group.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <mutex>
#include <utility>

#include "base/error.h"
#include "math/vector.h"

namespace awq::quant {
namespace {

constexpr std::size_t kRowsPerTask = 32;

bool AllFinite(const float* x, std::size_t n) {
  std::uint32_t bad = 0;
  for (std::size_t i = 0; i < n; ++i) {
    bad |= static_cast<std::uint32_t>((std::bit_cast<std::uint32_t>(x[i]) & 0x7f800000U) ==
                                      0x7f800000U);
  }
  return bad == 0;
}

Status CheckRow(MatrixView<const float> weights, std::size_t row, const Spec& spec,
                std::string_view name) {
  const float* w = weights.row(row);
  if (!AllFinite(w, weights.cols)) {
    const float* bad = std::find_if(w, w + weights.cols, [](float x) { return !std::isfinite(x); });
    return MakeError(ErrorCode::kCorrupt,
                     "{}: expected finite weights, found {} in row {}, column {}", name, *bad, row,
                     bad - w);
  }
  const GroupQuantizer quantizer(spec);
  for (std::size_t first = 0; first < weights.cols; first += spec.group_size) {
    if (std::isfinite(quantizer.MapOf(quantizer.Range(w + first, spec.group_size)).scale)) continue;
    const auto [lo, hi] = std::minmax_element(w + first, w + first + spec.group_size);
    return MakeError(ErrorCode::kUnsupported,
                     "{}: row {}, columns {} to {}: weights from {} to {} at {} bits need a scale "
                     "above 65504, the largest that fp16 holds",
                     name, row, first, first + spec.group_size - 1, *lo, *hi, spec.bits);
  }
  return {};
}

}  // namespace

const GroupLoops& LoopsFor(Isa isa) { return AWQ_TABLE_FOR(isa, kGroupLoops); }

Status CheckSpec(const Spec& spec, std::size_t in_features, std::string_view name) {
  if (spec.bits < 2 || spec.bits > 8) {
    return MakeError(ErrorCode::kInvalidArgument, "{}: expected 2 to 8 bits, found {}", name,
                     spec.bits);
  }
  if (spec.group_size == 0 || in_features % spec.group_size != 0) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "{}: {} input features are not whole groups of {}; choose a group size that "
                     "divides them",
                     name, in_features, spec.group_size);
  }
  return {};
}

Status CheckWeights(ThreadPool& pool, MatrixView<const float> weights, const Spec& spec,
                    std::string_view name) {
  AWQ_TRY(CheckSpec(spec, weights.cols, name));
  std::mutex mutex;
  std::size_t first_bad = weights.rows;  // the lowest row wins, whichever thread finds it first
  Status status;
  pool.ParallelFor(CeilDiv(weights.rows, kRowsPerTask), [&](std::size_t task, std::size_t) {
    const std::size_t end = std::min(weights.rows, (task + 1) * kRowsPerTask);
    for (std::size_t row = task * kRowsPerTask; row < end; ++row) {
      Status checked = CheckRow(weights, row, spec, name);
      if (checked) continue;
      std::lock_guard lock(mutex);
      if (row < first_bad) {
        first_bad = row;
        status = std::move(checked);
      }
      return;
    }
  });
  return status;
}

GroupQuantizer::GroupQuantizer(const Spec& spec) : GroupQuantizer(spec, LoopsFor(ActiveIsa())) {}

GroupQuantizer::GroupQuantizer(const Spec& spec, const GroupLoops& loops)
    : loops_(&loops),
      codes_{static_cast<float>(spec.max_code()), static_cast<float>(spec.mid_code()),
             spec.symmetric},
      group_size_(spec.group_size) {
  AWQ_CHECK(spec.bits >= 2 && spec.bits <= 8);
  AWQ_CHECK(spec.group_size > 0);
}

GroupRange GroupQuantizer::Range(const float* weights, std::size_t n) const {
  GroupRange range;
  loops_->range(weights, n, &range.lo, &range.hi);
  return range;
}

GroupMap GroupQuantizer::MapOf(const GroupRange& range, float bound) const {
  GroupMap map;
  loops_->map(codes_, std::max(range.lo, -bound), std::min(range.hi, bound), &map);
  map.bound = bound;
  return map;
}

void GroupQuantizer::Quantize(const GroupMap& map, const float* weights, std::size_t n,
                              std::uint8_t* codes) const {
  loops_->quantize(codes_, map, weights, n, codes);
}

void GroupQuantizer::Residual(const GroupMap& map, const float* weights, std::size_t n,
                              float* residual) const {
  loops_->residual(codes_, map, weights, n, residual);
}

void GroupQuantizer::QuantizeRow(const float* weights, const float* bounds, std::size_t in_features,
                                 std::uint8_t* codes, float* scales, std::uint8_t* zeros) const {
  for (std::size_t first = 0, group = 0; first < in_features; first += group_size_, ++group) {
    const float bound = bounds == nullptr ? kNoBound : bounds[group];
    const GroupMap map = MapOf(Range(weights + first, group_size_), bound);
    Quantize(map, weights + first, group_size_, codes + first);
    scales[group] = map.scale;
    zeros[group] = static_cast<std::uint8_t>(map.zero);
  }
}

void GroupQuantizer::ScaledResidual(const float* weights, const float* s, std::size_t in_features,
                                    float* residual) const {
  loops_->scaled_residual_f32(codes_, weights, s, in_features, group_size_, residual);
}

void GroupQuantizer::ScaledResidual(const float* weights, const float* s, std::size_t in_features,
                                    BF16* residual) const {
  loops_->scaled_residual_bf16(codes_, weights, s, in_features, group_size_, &residual->bits);
}

Status RoundRows(const TensorView& rows, std::string_view name, QuantizedLinear& rounded) {
  const std::size_t in = rounded.in_features();
  const GroupQuantizer quantizer(rounded.spec);
  Matrix<float> floats(rounded.out_features(), in);
  math::Convert(rows, floats.span());
  for (std::size_t r = 0; r < floats.rows(); ++r) {
    quantizer.QuantizeRow(floats.row(r), nullptr, in, rounded.codes.row(r), rounded.scales.row(r),
                          rounded.zeros.row(r));
  }
  if (AllFinite(floats.data(), floats.size()) &&
      AllFinite(rounded.scales.data(), rounded.scales.size())) {
    return {};
  }
  return MakeError(ErrorCode::kCorrupt,
                   "{}: weights that are not finite, or too far apart for {} bits; keep it in 16",
                   name, rounded.spec.bits);
}

}  // namespace awq::quant
