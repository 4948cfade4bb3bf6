#include "pipeline/polish.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>
#include <utility>
#include <vector>

#include "base/random.h"
#include "transformer/block_gradient.h"

namespace awq::pipeline {
namespace {

using model::Role;
using transformer::BlockParameters;

constexpr float kMeanDecay = 0.9F;
constexpr float kSquareDecay = 0.99F;
constexpr float kSmallestHalf = 0x1p-24F;
constexpr float kLargestHalf = 65504.0F;
constexpr float kAdamEps = 1e-20F;  // gradients here may be tiny; none is only where all are zero

// One number's moments, and its step.
struct Moments {
  float mean = 0;
  float square = 0;

  // `step` counts from 1.
  struct Correction {
    float mean = 1;
    float square = 1;
  };
  static Correction CorrectionAt(std::size_t step) {
    const auto n = static_cast<float>(step);
    return {1.0F / (1.0F - std::pow(kMeanDecay, n)), 1.0F / (1.0F - std::pow(kSquareDecay, n))};
  }
  float Step(float gradient, Correction correction) {
    if (!std::isfinite(gradient)) return 0;  // of a run that went too far: no epoch to keep
    mean = kMeanDecay * mean + (1.0F - kMeanDecay) * gradient;
    square = kSquareDecay * square + (1.0F - kSquareDecay) * gradient * gradient;
    return mean * correction.mean / (std::sqrt(square * correction.square) + kAdamEps);
  }
};

struct Rates {
  float code = 0;
  float scale = 0;
  float norm = 0;
  Moments::Correction correction;
};

// A quantized linear whose codes and scales are numbers for a while.
class TrainedLinear {
 public:
  explicit TrainedLinear(quant::QuantizedLinear& linear)
      : linear_(linear),
        codes_(linear.out_features(), linear.in_features()),
        log_scales_(linear.out_features(), linear.groups()),
        code_moments_(linear.out_features(), linear.in_features(), Moments{}),
        scale_moments_(linear.out_features(), linear.groups(), Moments{}) {
    std::ranges::copy(linear.codes.span(), codes_.span().begin());
    for (std::size_t i = 0; i < log_scales_.size(); ++i) {
      log_scales_.span()[i] = std::log(linear.scales.span()[i]);
    }
  }

  // W = (round(code) - zero) fp16(exp(log scale)), gradients as if round were not there.
  void Step(ThreadPool& pool, const Matrix<float>& gradient, const Rates& rates) {
    pool.ParallelFor(codes_.rows(), [&](std::size_t r, std::size_t) {
      for (std::size_t g = 0; g < log_scales_.cols(); ++g) StepGroup(r, g, gradient, rates);
    });
  }

 private:
  void StepGroup(std::size_t r, std::size_t g, const Matrix<float>& gradient, const Rates& rates) {
    const std::size_t size = linear_.spec.group_size;
    const auto largest = static_cast<float>(linear_.spec.max_code());
    const float scale = linear_.scales(r, g);
    const float zero = linear_.zeros(r, g);
    float scale_gradient = 0;
    for (std::size_t k = g * size; k < (g + 1) * size; ++k) {
      const float d = gradient(r, k) * scale;
      scale_gradient += d * (static_cast<float>(linear_.codes(r, k)) - zero);
      const float step = code_moments_(r, k).Step(d, rates.correction);
      codes_(r, k) = std::clamp(codes_(r, k) - rates.code * step, -0.49F, largest + 0.49F);
      linear_.codes(r, k) = static_cast<std::uint8_t>(codes_(r, k) + 0.5F);
    }
    const float step = scale_moments_(r, g).Step(scale_gradient, rates.correction);
    log_scales_(r, g) -= rates.scale * step;
    linear_.scales(r, g) =
        RoundToF16(std::clamp(std::exp(log_scales_(r, g)), kSmallestHalf, kLargestHalf));
  }

  quant::QuantizedLinear& linear_;
  Matrix<float> codes_;
  Matrix<float> log_scales_;
  Matrix<Moments> code_moments_;
  Matrix<Moments> scale_moments_;
};

class TrainedNorm {
 public:
  explicit TrainedNorm(std::vector<F16>& norm) : norm_(norm), start_(PrepareNorm(norm)) {
    factors_.assign(norm.size(), 1);
    moments_.resize(norm.size());
  }
  void Step(const std::vector<float>& gradient, const Rates& rates) {
    for (std::size_t i = 0; i < norm_.size(); ++i) {
      factors_[i] -= rates.norm * moments_[i].Step(gradient[i] * start_[i], rates.correction);
      norm_[i] = ToF16(std::clamp(factors_[i] * start_[i], -kLargestHalf, kLargestHalf));
    }
  }

 private:
  std::vector<F16>& norm_;
  std::vector<float> start_;
  std::vector<float> factors_;
  std::vector<Moments> moments_;
};

void ReadParameters(ThreadPool& pool, const StoredBlock& block, BlockParameters& to) {
  for (std::size_t role = 0; role < model::kRoles; ++role) {
    const StoredLinear& linear = block.linears[role];
    Matrix<float>& weight = to.weights[role];
    if (linear.quantized) {
      const quant::QuantizedLinear& codes = *linear.quantized;
      if (weight.size() == 0) weight = Matrix<float>(codes.out_features(), codes.in_features());
      pool.ParallelFor(codes.out_features(), [&](std::size_t r, std::size_t) {
        quant::Dequantize(codes, r, weight.view().Rows(r, 1));
      });
    } else if (weight.size() == 0 && linear.dense.size() > 0) {
      weight = Matrix<float>(linear.dense.rows(), linear.dense.cols());
      std::ranges::transform(linear.dense.span(), weight.span().begin(),
                             [](F16 x) { return ToFloat(x); });
    }
    to.biases[role] = PrepareNorm(linear.bias);
    to.norms[role] = PrepareNorm(block.norms[role]);
  }
}

// What Polish changes, into memory that `to` has from the last time.
void Copy(const StoredBlock& block, StoredBlock& to) {
  to.norms = block.norms;
  const auto copy = [](const auto& from, auto& into) {
    if (into.size() == 0) into = std::remove_cvref_t<decltype(into)>(from.rows(), from.cols());
    std::ranges::copy(from.span(), into.span().begin());
  };
  for (std::size_t role = 0; role < model::kRoles; ++role) {
    const auto& from = block.linears[role].quantized;
    if (!from) continue;
    auto& into = to.linears[role].quantized;
    if (!into) into.emplace().spec = from->spec;
    copy(from->codes, into->codes);
    copy(from->scales, into->scales);
    copy(from->zeros, into->zeros);
  }
}

class Polisher {
 public:
  Polisher(ThreadPool& pool, const PolishTask& task, const PolishOptions& options,
           StoredBlock& block)
      : pool_(pool),
        task_(task),
        options_(options),
        block_(block),
        rope_(*task.config, task.sequence_tokens),
        tape_(pool, *task.config, rope_, task.layer) {
    ReadParameters(pool_, block_, parameters_);
  }

  PolishResult Go() {
    for (std::size_t role = 0; role < model::kRoles; ++role) {
      auto& quantized = block_.linears[role].quantized;
      if (quantized) linears_.emplace_back(role, *quantized);
      if (!block_.norms[role].empty()) norms_.emplace_back(role, block_.norms[role]);
    }
    PolishResult result;
    result.before = HeldOutError();
    result.after = result.before;
    StoredBlock best;
    Copy(block_, best);
    const std::size_t learnt = task_.sequences - task_.held_out_sequences;
    const std::size_t each = std::max<std::size_t>(1, options_.step_tokens / task_.sequence_tokens);
    steps_ = options_.epochs * CeilDiv(learnt, each);
    std::vector<std::size_t> order(learnt);
    std::iota(order.begin(), order.end(), std::size_t{0});
    Random random(task_.layer);
    for (std::size_t epoch = 0; epoch < options_.epochs; ++epoch) {
      for (std::size_t i = learnt; i > 1; --i) std::swap(order[i - 1], order[random.Below(i)]);
      for (std::size_t s = 0; s < learnt; s += each) {
        const std::size_t count = std::min(each, learnt - s);
        Step(std::span(order).subspan(s, count));
        if (task_.on_progress) task_.on_progress(epoch, (s + count) * task_.sequence_tokens);
      }
      const double error = HeldOutError();
      if (!(error < result.after)) continue;
      result.after = error;
      result.epochs_kept = epoch + 1;
      Copy(block_, best);
    }
    for (std::size_t role = 0; role < model::kRoles; ++role) {
      block_.linears[role].quantized = std::move(best.linears[role].quantized);
    }
    block_.norms = std::move(best.norms);
    return result;
  }

 private:
  // Runs sequences; error_ becomes what is missing to the targets, weighted for the loss.
  double Run(std::span<const std::size_t> sequences) {
    const std::size_t length = task_.sequence_tokens;
    const std::size_t width = task_.config->hidden_size;
    const std::size_t tokens = sequences.size() * length;
    if (hidden_.rows() != tokens) {
      hidden_ = Matrix<float>(tokens, width);
      error_ = Matrix<float>(tokens, width);
    }
    transformer::Batch batch;
    for (std::size_t i = 0; i < sequences.size(); ++i) {
      batch.push_back({.tokens = length, .position = 0, .slot = i});
      task_.inputs->Load(pool_, sequences[i] * length, hidden_.view().Rows(i * length, length));
      task_.targets->Load(pool_, sequences[i] * length, error_.view().Rows(i * length, length));
    }
    const MatrixView<const float> output = tape_.Forward(parameters_, batch, hidden_);
    std::vector<double> losses(tokens);
    pool_.ParallelFor(tokens, [&](std::size_t t, std::size_t) {
      double square = 0;
      double missing = 0;
      for (std::size_t c = 0; c < width; ++c) {
        square += static_cast<double>(error_(t, c)) * error_(t, c);
        error_(t, c) = output(t, c) - error_(t, c);
        missing += static_cast<double>(error_(t, c)) * error_(t, c);
      }
      const double weight = square > 0 ? 1 / square : 0;
      losses[t] = missing * weight;
      for (std::size_t c = 0; c < width; ++c) error_(t, c) *= static_cast<float>(weight);
    });
    return std::accumulate(losses.begin(), losses.end(), 0.0);
  }

  double HeldOutError() {
    const std::size_t length = task_.sequence_tokens;
    const std::size_t count =
        task_.held_out_sequences > 0 ? task_.held_out_sequences : task_.sequences;
    double sum = 0;
    for (std::size_t s = task_.sequences - count; s < task_.sequences; ++s) sum += Run({&s, 1});
    return sum / static_cast<double>(count * length);
  }

  void Step(std::span<const std::size_t> sequences) {
    Run(sequences);
    tape_.Backward(parameters_, error_, gradient_);
    ++step_;
    const double done = static_cast<double>(step_ - 1) / static_cast<double>(steps_);
    const auto left = static_cast<float>(0.5 * (1 + std::cos(std::numbers::pi * done)));
    const Rates rates{.code = options_.code_rate * left,
                      .scale = options_.scale_rate * left,
                      .norm = options_.norm_rate * left,
                      .correction = Moments::CorrectionAt(step_)};
    for (auto& [role, linear] : linears_) linear.Step(pool_, gradient_.weights[role], rates);
    for (auto& [role, norm] : norms_) norm.Step(gradient_.norms[role], rates);
    ReadParameters(pool_, block_, parameters_);
  }

  ThreadPool& pool_;
  const PolishTask& task_;
  const PolishOptions& options_;
  StoredBlock& block_;
  transformer::RopeTable rope_;
  transformer::BlockTape tape_;
  std::vector<std::pair<std::size_t, TrainedLinear>> linears_;
  std::vector<std::pair<std::size_t, TrainedNorm>> norms_;
  BlockParameters parameters_;
  BlockParameters gradient_;
  Matrix<float> hidden_;
  Matrix<float> error_;
  std::size_t step_ = 0;
  std::size_t steps_ = 0;
};

}  // namespace

std::size_t PolishBytes(const model::ModelConfig& config, const PolishOptions& options,
                        const BlockSize& block, std::size_t sequence_tokens, std::size_t threads) {
  const std::size_t tokens = std::max(options.step_tokens, sequence_tokens);
  const std::size_t heads = config.num_attention_heads + config.num_key_value_heads;
  // Hidden states and errors; what the tape keeps; what it has while it goes back; and of each
  // norm a factor, of the token its position and loss.
  const std::size_t of_token = 10 * config.hidden_size + 6 * config.q_width() +
                               5 * config.kv_width() + 4 * config.intermediate_size + heads + 2 + 4;
  const std::size_t of_thread = 2 * sequence_tokens * sequence_tokens;
  // The weight, its gradient, its code as a number and two moments; the best code so far.
  const std::size_t of_weight = 5 * sizeof(float) + 1;
  // The scale's logarithm and two moments; the best scale and zero point so far.
  const std::size_t of_group = 4 * sizeof(float) + 1;
  return (tokens * of_token + threads * of_thread) * sizeof(float) + block.elements * of_weight +
         block.groups * of_group;
}

PolishResult Polish(ThreadPool& pool, const PolishTask& task, const PolishOptions& options,
                    StoredBlock& block) {
  return Polisher(pool, task, options, block).Go();
}

}  // namespace awq::pipeline
