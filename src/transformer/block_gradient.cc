#include "transformer/block_gradient.h"

#include <algorithm>
#include <cmath>

#include "base/for_rows.h"
#include "math/matmul.h"
#include "math/vector.h"
#include "model/config.h"

namespace awq::transformer {
namespace {

using model::Role;

constexpr std::size_t kColumnsPerTask = 64;

void Resize(Matrix<float>& matrix, std::size_t rows, std::size_t cols) {
  if (matrix.rows() != rows || matrix.cols() != cols) matrix = Matrix<float>(rows, cols);
}

void Zero(Matrix<float>& matrix, std::size_t rows, std::size_t cols) {
  Resize(matrix, rows, cols);
  std::ranges::fill(matrix.span(), 0.0F);
}

// sum over rows, row after row for each column.
void SumRows(ThreadPool& pool, MatrixView<const float> rows, std::vector<float>& sums) {
  sums.assign(rows.cols, 0);
  pool.ParallelFor(CeilDiv(rows.cols, kColumnsPerTask), [&](std::size_t task, std::size_t) {
    const std::size_t first = task * kColumnsPerTask;
    const std::size_t count = std::min(kColumnsPerTask, rows.cols - first);
    for (std::size_t r = 0; r < rows.rows; ++r) {
      math::Add({rows.row(r) + first, count}, {sums.data() + first, count});
    }
  });
}

void AddTo(ThreadPool& pool, MatrixView<const float> from, MatrixView<float> to) {
  ForRows(pool, to.rows, [&](std::size_t r) {
    math::Add({from.row(r), from.cols}, {to.row(r), to.cols});
  });
}

// One sequence, one key head and the query heads that share it.
struct HeadGroup {
  std::size_t first_token = 0;
  std::size_t tokens = 0;
  std::size_t kv_head = 0;
};

std::vector<HeadGroup> ListHeadGroups(const model::ModelConfig& config, const Batch& batch) {
  std::vector<HeadGroup> groups;
  std::size_t first = 0;
  for (const Segment& segment : batch) {
    for (std::size_t head = 0; head < config.num_key_value_heads; ++head) {
      groups.push_back({first, segment.tokens, head});
    }
    first += segment.tokens;
  }
  return groups;
}

MatrixView<float> OfHead(const HeadGroup& group, Matrix<float>& all, std::size_t head,
                         std::size_t head_dim) {
  return all.view().Rows(group.first_token, group.tokens).Cols(head * head_dim, head_dim);
}

// What each query of one head makes of the keys: softmax(q k^T / sqrt(head_dim)), causal and in
// the window.
void AttentionWeights(MatrixView<const float> queries, MatrixView<const float> keys,
                      std::size_t window, MatrixView<float> weights) {
  const float scale = 1.0F / std::sqrt(static_cast<float>(queries.cols));
  math::MatMul(math::Plain(queries), math::Transposed(keys), queries.cols, weights);
  for (std::size_t t = 0; t < weights.rows; ++t) {
    const std::size_t first = window != 0 && t + 1 > window ? t + 1 - window : 0;
    float* row = weights.row(t);
    std::fill_n(row, first, 0.0F);
    math::Softmax({row + first, t + 1 - first}, scale);
    std::fill(row + t + 1, row + weights.cols, 0.0F);
  }
}

// dL/dP -> dL/d(scores before their scale), in place, for P the softmax of scaled scores.
void SoftmaxBack(MatrixView<const float> weights, float scale, MatrixView<float> gradient) {
  for (std::size_t t = 0; t < weights.rows; ++t) {
    const std::size_t seen = t + 1;
    const float mean = math::Dot({weights.row(t), seen}, {gradient.row(t), seen});
    for (std::size_t s = 0; s < seen; ++s) {
      gradient(t, s) = weights(t, s) * (gradient(t, s) - mean) * scale;
    }
    std::fill(gradient.row(t) + seen, gradient.row(t) + gradient.cols, 0.0F);
  }
}

// dL/d(silu(gate) up) -> dL/dgate, dL/dup, in the places of gate and up.
void GateBack(ThreadPool& pool, MatrixView<const float> gradient, MatrixView<float> gate,
              MatrixView<float> up) {
  ForRows(pool, gradient.rows, [&](std::size_t t) {
    for (std::size_t i = 0; i < gradient.cols; ++i) {
      const float g = gate(t, i);
      const float sigmoid = 1.0F / (1.0F + std::exp(-g));
      const float d = gradient(t, i);
      gate(t, i) = d * up(t, i) * sigmoid * (1.0F + g * (1.0F - sigmoid));
      up(t, i) = d * g * sigmoid;
    }
  });
}

}  // namespace

void BlockTape::Normalize(const std::vector<float>& weight, MatrixView<const float> from,
                          Normed& to) {
  const auto eps = static_cast<float>(config_.rms_norm_eps);
  const std::size_t width = weight.size();
  Resize(to.inverse_rms, from.rows, from.cols / width);
  Resize(to.rows, from.rows, from.cols);
  ForRows(pool_, from.rows, [&](std::size_t t) {
    for (std::size_t n = 0; n < to.inverse_rms.cols(); ++n) {
      const std::span<const float> x(from.row(t) + n * width, width);
      to.inverse_rms(t, n) = 1.0F / std::sqrt(math::Dot(x, x) / static_cast<float>(width) + eps);
      math::RmsNorm(x, weight, eps, {to.rows.row(t) + n * width, width});
    }
  });
}

// With y_i = x_i r w_i, r = (mean x^2 + eps)^-1/2:
//   dx_i = r (w_i dy_i - x_i r^2 mean_j(w_j dy_j x_j)),  dw_i = sum over rows of dy_i x_i r
void BlockTape::NormalizeBack(const std::vector<float>& weight, MatrixView<const float> from,
                              const Normed& normed, MatrixView<float> gradient,
                              std::vector<float>& weight_gradient) {
  const std::size_t width = weight.size();
  const std::size_t norms = normed.inverse_rms.cols();
  Matrix<float> products(from.rows, from.cols);
  ForRows(pool_, from.rows, [&](std::size_t t) {
    for (std::size_t n = 0; n < norms; ++n) {
      const float* x = from.row(t) + n * width;
      float* d = gradient.row(t) + n * width;
      float* product = products.row(t) + n * width;
      const float r = normed.inverse_rms(t, n);
      for (std::size_t i = 0; i < width; ++i) product[i] = d[i] * x[i] * r;
      const float mean = math::Dot({product, width}, weight) / static_cast<float>(width);
      for (std::size_t i = 0; i < width; ++i) d[i] = r * (weight[i] * d[i] - x[i] * r * mean);
    }
  });
  std::vector<float> sums;
  SumRows(pool_, products, sums);
  weight_gradient.assign(width, 0);
  for (std::size_t n = 0; n < norms; ++n) {
    math::Add({sums.data() + n * width, width}, weight_gradient);
  }
}

void BlockTape::Apply(const BlockParameters& block, Role role, MatrixView<const float> x,
                      Matrix<float>& y) {
  const Matrix<float>& weight = block.weight(role);
  Resize(y, x.rows, weight.rows());
  math::ApplyWeights(pool_, x, weight.view(), y);
  const std::vector<float>& bias = block.bias(role);
  if (bias.empty()) return;
  ForRows(pool_, y.rows(), [&](std::size_t t) { math::Add(bias, {y.row(t), y.cols()}); });
}

void BlockTape::ApplyBack(const BlockParameters& block, Role role, MatrixView<const float> x,
                          MatrixView<const float> gradient, BlockParameters& to,
                          MatrixView<float>* inputs) {
  const Matrix<float>& weight = block.weight(role);
  Resize(to.weight(role), weight.rows(), weight.cols());
  math::ParallelMatMul(pool_, math::Transposed(gradient), math::Plain(x), x.rows, to.weight(role));
  std::vector<float>& bias = to.biases[static_cast<std::size_t>(role)];
  bias.clear();
  if (!block.bias(role).empty()) SumRows(pool_, gradient, bias);
  if (inputs == nullptr) return;
  math::ParallelMatMul(pool_, math::Plain(gradient), math::Plain(weight.view()), weight.rows(),
                       *inputs, /*accumulate=*/true);
}

void BlockTape::Rotate(MatrixView<float> heads, bool back) {
  ForRows(pool_, heads.rows, [&](std::size_t t) {
    const std::span<const float> cosines = rope_.cosines(positions_[t]);
    const std::span<const float> forward = rope_.sines(positions_[t]);
    std::vector<float> sines(forward.begin(), forward.end());
    if (back) math::Multiply(sines, -1.0F);
    for (std::size_t c = 0; c < heads.cols; c += config_.head_dim) {
      math::Rotate({heads.row(t) + c, config_.head_dim}, cosines, sines);
    }
  });
}

void BlockTape::Attend() {
  const std::size_t dim = config_.head_dim;
  const std::size_t shared = config_.num_attention_heads / config_.num_key_value_heads;
  Resize(attended_, q_.rows(), q_.cols());
  const std::vector<HeadGroup> groups = ListHeadGroups(config_, batch_);
  pool_.ParallelFor(groups.size(), [&](std::size_t task, std::size_t) {
    const HeadGroup& group = groups[task];
    const std::size_t tokens = group.tokens;
    const std::size_t kv = group.kv_head;
    Matrix<float> weights(tokens, tokens);
    for (std::size_t head = kv * shared; head < (kv + 1) * shared; ++head) {
      AttentionWeights(OfHead(group, q_heads_.rows, head, dim),
                       OfHead(group, k_heads_.rows, kv, dim), config_.sliding_window[layer_],
                       weights);
      const MatrixView<const float> values = OfHead(group, v_, kv, dim);
      math::MatMul(math::Plain(MatrixView<const float>(weights)), math::Plain(values), tokens,
                   OfHead(group, attended_, head, dim));
    }
  });
}

// dL/d(what o reads) -> dL/dv, and dL/d(rotated q and k)
void BlockTape::AttendBack(MatrixView<const float> gradient) {
  const std::size_t dim = config_.head_dim;
  const float scale = 1.0F / std::sqrt(static_cast<float>(dim));
  const std::size_t shared = config_.num_attention_heads / config_.num_key_value_heads;
  Resize(q_gradient_, q_.rows(), q_.cols());
  Zero(k_gradient_, k_.rows(), k_.cols());
  Zero(v_gradient_, v_.rows(), v_.cols());
  const std::vector<HeadGroup> groups = ListHeadGroups(config_, batch_);
  pool_.ParallelFor(groups.size(), [&](std::size_t task, std::size_t) {
    const HeadGroup& group = groups[task];
    const std::size_t tokens = group.tokens;
    const std::size_t kv = group.kv_head;
    Matrix<float> weights(tokens, tokens);
    Matrix<float> scores(tokens, tokens);
    const MatrixView<const float> keys = OfHead(group, k_heads_.rows, kv, dim);
    const MatrixView<const float> values = OfHead(group, v_, kv, dim);
    for (std::size_t head = kv * shared; head < (kv + 1) * shared; ++head) {
      const MatrixView<const float> queries = OfHead(group, q_heads_.rows, head, dim);
      const MatrixView<const float> d =
          gradient.Rows(group.first_token, tokens).Cols(head * dim, dim);
      AttentionWeights(queries, keys, config_.sliding_window[layer_], weights);
      math::MatMul(math::Transposed(MatrixView<const float>(weights)), math::Plain(d), tokens,
                   OfHead(group, v_gradient_, kv, dim), /*accumulate=*/true);
      math::MatMul(math::Plain(d), math::Transposed(values), dim, scores);
      SoftmaxBack(weights, scale, scores);
      const MatrixView<const float> score_gradient = scores;
      math::MatMul(math::Plain(score_gradient), math::Plain(keys), tokens,
                   OfHead(group, q_gradient_, head, dim));
      math::MatMul(math::Transposed(score_gradient), math::Plain(queries), tokens,
                   OfHead(group, k_gradient_, kv, dim), /*accumulate=*/true);
    }
  });
}

MatrixView<const float> BlockTape::Forward(const BlockParameters& block, const Batch& batch,
                                           MatrixView<const float> hidden) {
  AWQ_CHECK_EQ(hidden.rows, TokensOf(batch));
  batch_ = batch;
  positions_.clear();
  for (const Segment& segment : batch) {
    AWQ_CHECK_EQ(segment.position, std::size_t{0});
    for (std::size_t t = 0; t < segment.tokens; ++t) positions_.push_back(t);
  }
  const auto copy = [&](MatrixView<const float> from, Matrix<float>& to) {
    Resize(to, from.rows, from.cols);
    ForRows(pool_, from.rows,
            [&](std::size_t t) { std::copy_n(from.row(t), from.cols, to.row(t)); });
  };
  copy(hidden, hidden_);
  Normalize(block.norm(Role::kAttentionNorm), hidden_, attention_);
  Apply(block, Role::kQ, attention_.rows, q_);
  Apply(block, Role::kK, attention_.rows, k_);
  Apply(block, Role::kV, attention_.rows, v_);
  const auto make_heads = [&](Role norm, const Matrix<float>& from, Normed& to) {
    if (block.norm(norm).empty()) {
      copy(from, to.rows);
    } else {
      Normalize(block.norm(norm), from, to);
    }
    Rotate(to.rows, /*back=*/false);
  };
  make_heads(Role::kQNorm, q_, q_heads_);
  make_heads(Role::kKNorm, k_, k_heads_);
  Attend();
  Apply(block, Role::kO, attended_, middle_);
  AddTo(pool_, hidden_, middle_);
  Normalize(block.norm(Role::kMlpNorm), middle_, mlp_);
  Apply(block, Role::kGate, mlp_.rows, gate_);
  Apply(block, Role::kUp, mlp_.rows, up_);
  Resize(gated_, gate_.rows(), gate_.cols());
  ForRows(pool_, gate_.rows(), [&](std::size_t t) {
    math::SiluMul({gate_.row(t), gate_.cols()}, {up_.row(t), up_.cols()},
                  {gated_.row(t), gated_.cols()});
  });
  Apply(block, Role::kDown, gated_, output_);
  AddTo(pool_, middle_, output_);
  return output_;
}

void BlockTape::Backward(const BlockParameters& block, MatrixView<const float> output_gradient,
                         BlockParameters& gradient) {
  const auto norm_gradient = [&](Role role) -> std::vector<float>& {
    return gradient.norms[static_cast<std::size_t>(role)];
  };
  Matrix<float> d_gated(gated_.rows(), gated_.cols(), 0.0F);
  MatrixView<float> inputs = d_gated;
  ApplyBack(block, Role::kDown, gated_, output_gradient, gradient, &inputs);
  GateBack(pool_, d_gated, gate_, up_);
  Matrix<float> d_middle(middle_.rows(), middle_.cols(), 0.0F);
  inputs = d_middle;
  ApplyBack(block, Role::kGate, mlp_.rows, gate_, gradient, &inputs);
  ApplyBack(block, Role::kUp, mlp_.rows, up_, gradient, &inputs);
  NormalizeBack(block.norm(Role::kMlpNorm), middle_, mlp_, d_middle, norm_gradient(Role::kMlpNorm));
  AddTo(pool_, output_gradient, d_middle);

  Matrix<float> d_attended(attended_.rows(), attended_.cols(), 0.0F);
  inputs = d_attended;
  ApplyBack(block, Role::kO, attended_, d_middle, gradient, &inputs);
  AttendBack(d_attended);
  const auto heads_back = [&](Role norm, const Matrix<float>& from, const Normed& normed,
                              Matrix<float>& d) {
    Rotate(d, /*back=*/true);
    if (block.norm(norm).empty()) return;
    NormalizeBack(block.norm(norm), from, normed, d, norm_gradient(norm));
  };
  heads_back(Role::kQNorm, q_, q_heads_, q_gradient_);
  heads_back(Role::kKNorm, k_, k_heads_, k_gradient_);
  Matrix<float> d_attention(hidden_.rows(), hidden_.cols(), 0.0F);
  inputs = d_attention;
  ApplyBack(block, Role::kQ, attention_.rows, q_gradient_, gradient, &inputs);
  ApplyBack(block, Role::kK, attention_.rows, k_gradient_, gradient, &inputs);
  ApplyBack(block, Role::kV, attention_.rows, v_gradient_, gradient, &inputs);
  NormalizeBack(block.norm(Role::kAttentionNorm), hidden_, attention_, d_attention,
                norm_gradient(Role::kAttentionNorm));
}

}  // namespace awq::transformer
