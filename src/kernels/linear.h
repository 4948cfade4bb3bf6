// A linear that is ready to compute, and the activations that it reads.
#pragma once

#include <awq/result.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "base/threads.h"
#include "kernels/panels.h"
#include "math/matmul.h"
#include "quant/quantized_linear.h"
#include "tensor/tensor.h"

namespace awq::kernels {

using math::Precision;

// How a packed linear is computed: made dense once, or from its codes, with activations as they are
// or of int8.
enum class Packed : std::uint8_t { kDense, kExact, kInt8 };

// [tokens, width] in the type that the arithmetic wants; the memory is reused from call to call.
// Where weights stay packed they are kept as floats, and made into what each linear wants at its
// first use.
class Activations {
 public:
  explicit Activations(Precision precision, Packed packed = Packed::kDense)
      : precision_(precision), packed_(packed) {}

  Precision precision() const { return precision_; }
  Packed packed() const { return packed_; }
  std::size_t tokens() const { return tokens_; }
  std::size_t width() const { return width_; }

  // Takes rows of floats, rounding them where the precision is bf16.
  void Assign(ThreadPool& pool, MatrixView<const float> rows);
  // The same for rows that `make` writes one at a time, in any order: they need no memory between.
  using MakeRow = std::function<void(std::size_t token, std::span<float> row)>;
  void Fill(ThreadPool& pool, std::size_t tokens, std::size_t width, const MakeRow& make);

  // Precondition: the precision is that of the type.
  MatrixView<const float> f32() const;
  MatrixView<const BF16> bf16() const;
  // Precondition: Packed::kInt8.
  const Int8Activations& int8(ThreadPool& pool, const Int8Blocks& blocks) const;
  // Precondition: Packed::kExact.
  const ExactActivations& exact(ThreadPool& pool, std::size_t group_inputs) const;

 private:
  void Resize(std::size_t tokens, std::size_t width);
  bool keeps_floats() const { return precision_ == Precision::kF32 || packed_ != Packed::kDense; }

  Precision precision_;
  Packed packed_ = Packed::kDense;
  std::size_t tokens_ = 0;
  std::size_t width_ = 0;
  Buffer<float> f32_;
  mutable Buffer<BF16> bf16_;
  mutable bool has_bf16_ = false;
  mutable Int8Activations int8_;  // of no tokens: not made yet
  mutable ExactActivations exact_;
};

// y = x W^T + b. The weights stay where they are (a mapped file) when their type is the
// precision's, else they are converted once; what FromDense was given must then outlive the linear.
class Linear {
 public:
  Linear() = default;
  // weight [out_features, in_features] of F32, F16 or BF16.
  static Linear FromDense(ThreadPool& pool, const TensorView& weight, Precision precision);
  // But for Packed::kDense, and where panels can hold them, the codes stay as they are; panels lie
  // in `arena`, or else in memory of their own.
  static Linear FromQuantized(ThreadPool& pool, const quant::QuantizedLinear& weight,
                              Precision precision, Packed packed = Packed::kDense,
                              Arena* arena = nullptr);
  // As Panels::FromRows. Precondition: Panels::CanHold.
  static Result<std::vector<Linear>> FromRows(ThreadPool& pool,
                                              std::span<const Panels::Rows> linears,
                                              Precision precision, const PanelMemory& memory = {});
  // Dense weights rounded to nearest (Panels::Rounded); only for activations that are not
  // Packed::kDense.
  static Result<Linear> Rounded(ThreadPool& pool, const TensorView& weight, Precision precision,
                                const quant::Spec& spec, std::string_view name);
  static Linear FromFloats(ThreadPool& pool, Matrix<float> weight, Precision precision);

  void set_bias(std::vector<float> bias) { bias_ = std::move(bias); }  // [out_features]

  const std::vector<float>& bias() const { return bias_; }  // or empty

  std::size_t out_features() const { return out_features_; }
  std::size_t in_features() const { return in_features_; }
  std::size_t owned_bytes() const;
  std::size_t weight_bytes() const;  // that Apply reads, owned or not
  // [out_features, in_features]; precondition: the precision is that of the type.
  MatrixView<const float> f32() const;
  MatrixView<const BF16> bf16() const;

  // y [tokens, out_features].
  struct Product {
    const Linear* linear = nullptr;
    MatrixView<float> y;
  };
  void Apply(ThreadPool& pool, const Activations& x, MatrixView<float> y) const;
  // Products of the same inputs: where all have packed weights of one shape of groups, no thread
  // waits between them.
  static void Apply(ThreadPool& pool, const Activations& x, std::span<const Product> products);

 private:
  void AddBias(ThreadPool& pool, MatrixView<float> y) const;

  std::size_t out_features_ = 0;
  std::size_t in_features_ = 0;
  Precision precision_ = Precision::kF32;
  const float* f32_ = nullptr;
  const BF16* bf16_ = nullptr;
  Buffer<float> owned_f32_;
  Buffer<BF16> owned_bf16_;
  std::optional<Panels> panels_;
  std::vector<float> bias_;
};

}  // namespace awq::kernels
