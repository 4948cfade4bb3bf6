// One decoder block run in fp32 with everything kept that its gradient needs.
#pragma once

#include <array>
#include <cstddef>
#include <vector>

#include "base/threads.h"
#include "model/arch.h"
#include "tensor/tensor.h"
#include "transformer/batch.h"
#include "transformer/rope.h"

namespace awq::transformer {

// The numbers of a block, or the gradient of a loss by each of them.
struct BlockParameters {
  std::array<Matrix<float>, model::kRoles> weights;      // [out, in]; empty where there is none
  std::array<std::vector<float>, model::kRoles> biases;  // [out]
  std::array<std::vector<float>, model::kRoles> norms;   // [width]

  Matrix<float>& weight(model::Role role) { return weights[static_cast<std::size_t>(role)]; }
  const Matrix<float>& weight(model::Role role) const {
    return weights[static_cast<std::size_t>(role)];
  }
  const std::vector<float>& bias(model::Role role) const {
    return biases[static_cast<std::size_t>(role)];
  }
  const std::vector<float>& norm(model::Role role) const {
    return norms[static_cast<std::size_t>(role)];
  }
};

// Results do not depend on the number of threads.
class BlockTape {
 public:
  // All must outlive it; `rope` covers every position. `layer`: the block's place in the model.
  BlockTape(ThreadPool& pool, const model::ModelConfig& config, const RopeTable& rope,
            std::size_t layer)
      : pool_(pool), config_(config), rope_(rope), layer_(layer) {}

  // hidden [tokens, hidden_size], what the block reads of whole sequences (every segment begins at
  // position 0) -> what it gives, valid until the next call.
  MatrixView<const float> Forward(const BlockParameters& block, const Batch& batch,
                                  MatrixView<const float> hidden);

  // Of the run before: from dL/d(what it gave) to dL/d(each parameter), which replaces `gradient`.
  // `block` as in Forward.
  void Backward(const BlockParameters& block, MatrixView<const float> output_gradient,
                BlockParameters& gradient);

 private:
  // Rows of one width, before and after their norm.
  struct Normed {
    Matrix<float> inverse_rms;  // [rows, norms in a row]
    Matrix<float> rows;
  };
  void Normalize(const std::vector<float>& weight, MatrixView<const float> from, Normed& to);
  void NormalizeBack(const std::vector<float>& weight, MatrixView<const float> from,
                     const Normed& normed, MatrixView<float> gradient,
                     std::vector<float>& weight_gradient);
  void Apply(const BlockParameters& block, model::Role role, MatrixView<const float> x,
             Matrix<float>& y);
  // dL/dy of a linear -> dL/dW, dL/db, and, unless null, dL/dx, which is added to.
  void ApplyBack(const BlockParameters& block, model::Role role, MatrixView<const float> x,
                 MatrixView<const float> gradient, BlockParameters& to, MatrixView<float>* inputs);
  void Rotate(MatrixView<float> heads, bool back);
  void Attend();
  void AttendBack(MatrixView<const float> gradient);

  ThreadPool& pool_;
  const model::ModelConfig& config_;
  const RopeTable& rope_;
  std::size_t layer_;

  Batch batch_;
  std::vector<std::size_t> positions_;  // of the tokens
  Matrix<float> hidden_;                // what the block reads
  Normed attention_;                    // what q, k and v read
  Matrix<float> q_, k_, v_;             // as the linears give them
  Normed q_heads_, k_heads_;            // rotated, and normed before where the model does
  Matrix<float> attended_;              // what o reads
  Matrix<float> middle_;                // the hidden states between the halves
  Normed mlp_;                          // what gate and up read
  Matrix<float> gate_, up_;
  Matrix<float> gated_;  // what down reads
  Matrix<float> output_;
  Matrix<float> q_gradient_, k_gradient_, v_gradient_;
};

}  // namespace awq::transformer
