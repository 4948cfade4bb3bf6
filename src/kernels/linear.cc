#include "kernels/linear.h"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "base/error.h"
#include "math/vector.h"

namespace awq::kernels {
namespace {

constexpr std::size_t kRowsPerTask = 32;

// Calls body(first, count) for blocks of rows, over the pool.
template <class Body>
void ForRowBlocks(ThreadPool& pool, std::size_t rows, Body body) {
  pool.ParallelFor(CeilDiv(rows, kRowsPerTask), [&](std::size_t task, std::size_t) {
    const std::size_t first = task * kRowsPerTask;
    body(first, std::min(kRowsPerTask, rows - first));
  });
}

template <class T>
bool Aligned(const void* pointer) {
  return reinterpret_cast<std::uintptr_t>(pointer) % alignof(T) == 0;
}

template <class T>
Buffer<T> Converted(ThreadPool& pool, const TensorView& weight) {
  Buffer<T> owned(weight.elements());
  const std::size_t in = weight.shape[1];
  ForRowBlocks(pool, weight.shape[0], [&](std::size_t first, std::size_t count) {
    math::Convert(weight.Rows(first, count), owned.span().subspan(first * in, count * in));
  });
  return owned;
}

}  // namespace

void Activations::Resize(std::size_t tokens, std::size_t width) {
  tokens_ = tokens;
  width_ = width;
  const std::size_t size = tokens * width;
  if (precision_ == Precision::kBF16 && bf16_.size() < size) bf16_ = Buffer<BF16>(size);
  if (keeps_floats() && f32_.size() < size) f32_ = Buffer<float>(size);
  has_bf16_ = !keeps_floats();
  int8_.Clear();
  exact_.Clear();
}

void Activations::Assign(ThreadPool& pool, MatrixView<const float> rows) {
  Resize(rows.rows, rows.cols);
  ForRowBlocks(pool, tokens_, [&](std::size_t first, std::size_t count) {
    for (std::size_t t = first; t < first + count; ++t) {
      const std::span<const float> from(rows.row(t), width_);
      if (!keeps_floats()) {
        math::Convert(from, bf16_.span().subspan(t * width_, width_));
      } else {
        std::copy(from.begin(), from.end(), f32_.data() + t * width_);
      }
    }
  });
}

void Activations::Fill(ThreadPool& pool, std::size_t tokens, std::size_t width,
                       const MakeRow& make) {
  Resize(tokens, width);
  ForRowBlocks(pool, tokens, [&](std::size_t first, std::size_t count) {
    std::vector<float> row(keeps_floats() ? 0 : width);
    for (std::size_t t = first; t < first + count; ++t) {
      if (keeps_floats()) {
        make(t, f32_.span().subspan(t * width, width));
        continue;
      }
      make(t, row);
      math::Convert(std::span<const float>(row), bf16_.span().subspan(t * width, width));
    }
  });
}

MatrixView<const float> Activations::f32() const {
  AWQ_CHECK(precision_ == Precision::kF32);
  return {f32_.data(), tokens_, width_};
}

MatrixView<const BF16> Activations::bf16() const {
  AWQ_CHECK(precision_ == Precision::kBF16);
  if (!has_bf16_)
    math::Convert(std::span<const float>(f32_.data(), tokens_ * width_),
                  bf16_.span().first(tokens_ * width_));
  has_bf16_ = true;
  return {bf16_.data(), tokens_, width_};
}

const Int8Activations& Activations::int8(ThreadPool& pool, const Int8Blocks& blocks) const {
  AWQ_CHECK(packed_ == Packed::kInt8);
  if (int8_.tokens() == 0 || int8_.blocks() != blocks) {
    int8_.Assign(pool, {f32_.data(), tokens_, width_}, blocks);
  }
  return int8_;
}

const ExactActivations& Activations::exact(ThreadPool& pool, std::size_t group_inputs) const {
  AWQ_CHECK(packed_ == Packed::kExact);
  if (exact_.tokens() == 0 || exact_.group_inputs() != group_inputs) {
    exact_.Assign(pool, {f32_.data(), tokens_, width_}, precision_, group_inputs);
  }
  return exact_;
}

Linear Linear::FromDense(ThreadPool& pool, const TensorView& weight, Precision precision) {
  AWQ_CHECK_EQ(weight.shape.size(), std::size_t{2});
  Linear linear;
  linear.out_features_ = weight.shape[0];
  linear.in_features_ = weight.shape[1];
  linear.precision_ = precision;
  const std::byte* bytes = weight.bytes.data();
  if (precision == Precision::kBF16) {
    if (weight.dtype != DType::kBF16 || !Aligned<BF16>(bytes)) {
      linear.owned_bf16_ = Converted<BF16>(pool, weight);
    } else {
      linear.bf16_ = reinterpret_cast<const BF16*>(bytes);
    }
  } else if (weight.dtype != DType::kF32 || !Aligned<float>(bytes)) {
    linear.owned_f32_ = Converted<float>(pool, weight);
  } else {
    linear.f32_ = reinterpret_cast<const float*>(bytes);
  }
  return linear;
}

Result<Linear> Linear::Rounded(ThreadPool& pool, const TensorView& weight, Precision precision,
                               const quant::Spec& spec, std::string_view name) {
  Linear linear;
  linear.out_features_ = weight.shape[0];
  linear.in_features_ = weight.shape[1];
  linear.precision_ = precision;
  AWQ_ASSIGN(linear.panels_, Panels::Rounded(pool, weight, spec, name));
  return linear;
}

Result<std::vector<Linear>> Linear::FromRows(ThreadPool& pool,
                                             std::span<const Panels::Rows> linears,
                                             Precision precision, const PanelMemory& memory) {
  AWQ_ASSIGN(std::vector<Panels> panels, Panels::FromRows(pool, linears, memory));
  std::vector<Linear> made(panels.size());
  for (std::size_t i = 0; i < made.size(); ++i) {
    made[i].out_features_ = panels[i].out_features();
    made[i].in_features_ = panels[i].in_features();
    made[i].precision_ = precision;
    made[i].panels_ = std::move(panels[i]);
  }
  return made;
}

Linear Linear::FromQuantized(ThreadPool& pool, const quant::QuantizedLinear& weight,
                             Precision precision, Packed packed, Arena* arena) {
  Linear linear;
  linear.out_features_ = weight.out_features();
  linear.in_features_ = weight.in_features();
  linear.precision_ = precision;
  if (packed != Packed::kDense && Panels::CanHold(weight)) {
    linear.panels_.emplace(pool, weight, arena);
    return linear;
  }
  const std::size_t in = linear.in_features_;
  const std::size_t size = linear.out_features_ * in;
  if (precision == Precision::kF32) {
    linear.owned_f32_ = Buffer<float>(size);
  } else {
    linear.owned_bf16_ = Buffer<BF16>(size);
  }
  ForRowBlocks(pool, linear.out_features_, [&](std::size_t first, std::size_t count) {
    if (precision == Precision::kF32) {
      quant::Dequantize(weight, first, {linear.owned_f32_.data() + first * in, count, in});
      return;
    }
    Matrix<float> rows(count, in);
    quant::Dequantize(weight, first, rows);
    math::Convert(std::as_const(rows).span(),
                  linear.owned_bf16_.span().subspan(first * in, count * in));
  });
  return linear;
}

Linear Linear::FromFloats(ThreadPool& pool, Matrix<float> weight, Precision precision) {
  const TensorView view{
      DType::kF32, {weight.rows(), weight.cols()}, std::as_bytes(std::as_const(weight).span())};
  if (precision == Precision::kBF16) return FromDense(pool, view, precision);
  Linear linear;
  linear.out_features_ = weight.rows();
  linear.in_features_ = weight.cols();
  linear.owned_f32_ = std::move(weight).TakeBuffer();
  return linear;
}

std::size_t Linear::owned_bytes() const {
  return owned_f32_.size() * sizeof(float) + owned_bf16_.size() * sizeof(BF16) +
         (panels_ ? panels_->bytes() : 0);
}

std::size_t Linear::weight_bytes() const {
  if (panels_) return panels_->bytes();
  return out_features_ * in_features_ *
         (precision_ == Precision::kBF16 ? sizeof(BF16) : sizeof(float));
}

MatrixView<const float> Linear::f32() const {
  AWQ_CHECK(precision_ == Precision::kF32);
  return {f32_ != nullptr ? f32_ : owned_f32_.data(), out_features_, in_features_};
}
MatrixView<const BF16> Linear::bf16() const {
  AWQ_CHECK(precision_ == Precision::kBF16);
  return {bf16_ != nullptr ? bf16_ : owned_bf16_.data(), out_features_, in_features_};
}

void Linear::Apply(ThreadPool& pool, const Activations& x, MatrixView<float> y) const {
  AWQ_CHECK(x.precision() == precision_);
  if (panels_ && x.packed() == Packed::kInt8) {
    panels_->Apply(pool, x.int8(pool, panels_->int8_blocks()), y);
  } else if (panels_) {
    panels_->Apply(pool, x.exact(pool, panels_->group_inputs()), y);
  } else if (precision_ == Precision::kBF16) {
    math::ApplyWeights(pool, x.bf16(), bf16(), y);
  } else {
    math::ApplyWeights(pool, x.f32(), f32(), y);
  }
  AddBias(pool, y);
}

void Linear::Apply(ThreadPool& pool, const Activations& x, std::span<const Product> products) {
  const std::optional<Panels>& first = products.front().linear->panels_;
  std::vector<Panels::Product> packed;
  for (const auto& [linear, y] : products) {
    AWQ_CHECK(x.precision() == linear->precision_);
    if (!linear->panels_ || linear->panels_->int8_blocks() != first->int8_blocks()) break;
    packed.push_back({&*linear->panels_, y});
  }
  if (packed.size() < products.size()) {
    for (const auto& [linear, y] : products) linear->Apply(pool, x, y);
    return;
  }
  if (x.packed() == Packed::kInt8) {
    Panels::Apply(pool, x.int8(pool, first->int8_blocks()), packed);
  } else {
    Panels::Apply(pool, x.exact(pool, first->group_inputs()), packed);
  }
  for (const auto& [linear, y] : products) linear->AddBias(pool, y);
}

void Linear::AddBias(ThreadPool& pool, MatrixView<float> y) const {
  if (bias_.empty()) return;
  ForRowBlocks(pool, y.rows, [&](std::size_t first, std::size_t count) {
    for (std::size_t t = first; t < first + count; ++t) {
      math::Add(bias_, std::span(y.row(t), out_features_));
    }
  });
}

}  // namespace awq::kernels
