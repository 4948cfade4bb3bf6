// A model whose linears are quantized, for tests without files.
#pragma once

#include <memory>
#include <vector>

#include "base/error.h"
#include "math/vector.h"
#include "model/weights.h"
#include "quant/group.h"

namespace awq::testing {

// One linear, rounded to the nearest codes; groups of 0 are whole rows.
class Rounded final : public model::PackedSource {
 public:
  Rounded(const model::Linear& linear, const quant::Spec& spec)
      : spec_(spec), weights_(Floats(linear.weight)), in_features_(linear.in_features) {
    if (spec_.group_size == 0) spec_.group_size = in_features_;
  }

  Result<quant::QuantizedLinear> Unpack() const override {
    const std::size_t out_features = weights_.size() / in_features_;
    quant::QuantizedLinear q;
    q.spec = spec_;
    q.codes = Matrix<std::uint8_t>(out_features, in_features_);
    q.scales = Matrix<float>(out_features, in_features_ / spec_.group_size);
    q.zeros = Matrix<std::uint8_t>(out_features, in_features_ / spec_.group_size);
    AWQ_TRY(UnpackRows(0, q));
    return q;
  }
  Status UnpackRows(std::size_t first_row, quant::QuantizedLinear& rows) const override {
    const quant::GroupQuantizer quantizer(spec_);
    for (std::size_t n = 0; n < rows.out_features(); ++n) {
      quantizer.QuantizeRow(weights_.data() + (first_row + n) * in_features_, nullptr, in_features_,
                            rows.codes.row(n), rows.scales.row(n), rows.zeros.row(n));
    }
    return {};
  }
  quant::Spec spec() const override { return spec_; }
  std::size_t stored_bytes() const override { return weights_.size() / 2; }

 private:
  static std::vector<float> Floats(const TensorView& tensor) {
    std::vector<float> values(tensor.elements());
    math::Convert(tensor, std::span<float>(values));
    return values;
  }

  quant::Spec spec_;
  std::vector<float> weights_;
  std::size_t in_features_;
};

// A model whose linears are rounded as they are asked for.
class RoundedModel final : public model::WeightSource {
 public:
  RoundedModel(const model::WeightSource& source, const quant::Spec& spec)
      : source_(source), spec_(spec) {}
  const model::ModelConfig& config() const override { return source_.config(); }
  Result<model::BlockWeights> Block(std::size_t layer) const override {
    auto block = source_.Block(layer);
    if (!block) return block.error();
    for (auto& linear : block->linears) {
      if (linear) linear->packed = std::make_shared<Rounded>(*linear, spec_);
    }
    return block;
  }
  Result<TensorView> Embedding() const override { return source_.Embedding(); }
  Result<TensorView> FinalNorm() const override { return source_.FinalNorm(); }
  Result<TensorView> Head() const override { return source_.Head(); }
  void Release(std::size_t layer) const override { source_.Release(layer); }
  void ReleaseAll() const override { source_.ReleaseAll(); }

 private:
  const model::WeightSource& source_;
  quant::Spec spec_;
};

}  // namespace awq::testing
