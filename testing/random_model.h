// A small model of random weights in memory: what the forward pass, generation and evaluation are
// tested on without files.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "model/arch.h"
#include "model/weights.h"
#include "tensor/tensor.h"

namespace awq::testing {

inline model::ModelConfig SmallConfig() {
  model::ModelConfig config;
  config.arch = model::FindArch("llama");
  config.model_type = "llama";
  config.hidden_size = 32;
  config.intermediate_size = 48;
  config.num_hidden_layers = 2;
  config.num_attention_heads = 4;
  config.num_key_value_heads = 2;
  config.head_dim = 8;
  config.vocab_size = 50;
  config.max_position_embeddings = 512;
  config.rms_norm_eps = 1e-5;
  config.sliding_window.assign(config.num_hidden_layers, 0);
  return config;
}

class RandomModel final : public model::WeightSource {
 public:
  explicit RandomModel(model::ModelConfig config, DType dtype = DType::kF32, unsigned seed = 1)
      : config_(std::move(config)), dtype_(dtype), random_(seed) {
    embedding_ = Make({config_.vocab_size, config_.hidden_size}, 1);
    if (!config_.tie_word_embeddings) {
      head_ = Make({config_.vocab_size, config_.hidden_size}, Gain(config_.hidden_size));
    }
    final_norm_ = MakeNorm(config_.hidden_size);
    for (std::size_t layer = 0; layer < config_.num_hidden_layers; ++layer) MakeBlock(layer);
  }

  const model::ModelConfig& config() const override { return config_; }
  Result<model::BlockWeights> Block(std::size_t layer) const override { return blocks_.at(layer); }
  Result<TensorView> Embedding() const override { return embedding_; }
  Result<TensorView> FinalNorm() const override { return final_norm_; }
  Result<TensorView> Head() const override { return head_.bytes.empty() ? embedding_ : head_; }
  void Release(std::size_t) const override { ++releases_; }
  void ReleaseAll() const override {}

  // For tests that damage or replace a weight.
  model::BlockWeights& block(std::size_t layer) { return blocks_.at(layer); }
  TensorView& embedding() { return embedding_; }
  TensorView& final_norm() { return final_norm_; }
  TensorView& head() { return head_; }
  std::size_t releases() const { return releases_; }

  // A tensor of the model's type that lives as long as the model.
  TensorView Store(const Shape& shape, const std::vector<float>& values) {
    std::vector<std::byte>& bytes = memory_.emplace_back(values.size() * ElementBytes(dtype_));
    for (std::size_t i = 0; i < values.size(); ++i) {
      const F16 f16 = ToF16(values[i]);
      const BF16 bf16 = ToBF16(values[i]);
      const void* from = &values[i];
      if (dtype_ == DType::kF16) from = &f16;
      if (dtype_ == DType::kBF16) from = &bf16;
      std::memcpy(bytes.data() + i * ElementBytes(dtype_), from, ElementBytes(dtype_));
    }
    return {dtype_, shape, bytes};
  }

 private:
  static float Gain(std::size_t in) { return 1.2F / std::sqrt(static_cast<float>(in)); }

  TensorView Make(const Shape& shape, float deviation) {
    std::normal_distribution<float> normal(0, deviation);
    std::size_t size = 1;
    for (std::size_t each : shape) size *= each;
    std::vector<float> values(size);
    for (float& x : values) x = normal(random_);
    return Store(shape, values);
  }

  TensorView MakeNorm(std::size_t width) {
    std::uniform_real_distribution<float> uniform(0.25F, 1.75F);
    std::vector<float> values(width);
    for (float& x : values) x = uniform(random_);
    return Store({width}, values);
  }

  void MakeBlock(std::size_t layer) {
    model::BlockWeights block;
    for (const model::LinearRow& row : config_.arch->linears) {
      const std::size_t out = model::Width(config_, row.out);
      const std::size_t in = model::Width(config_, row.in);
      // Larger queries and keys: attention is then far from uniform.
      const bool sharp = row.role == model::Role::kQ || row.role == model::Role::kK;
      model::Linear linear;
      linear.name = model::ModuleName(*config_.arch, layer, row.name);
      linear.out_features = out;
      linear.in_features = in;
      linear.weight = Make({out, in}, Gain(in) * (sharp ? 1.7F : 1.0F));
      if (row.bias != nullptr && config_.*row.bias) linear.bias = Make({out}, 0.5F);
      block.linears[static_cast<std::size_t>(row.role)] = std::move(linear);
    }
    for (const model::NormRow& row : config_.arch->norms) {
      if (row.present != nullptr && !(config_.*row.present)) continue;
      block.norms[static_cast<std::size_t>(row.role)] = MakeNorm(model::Width(config_, row.width));
    }
    blocks_.push_back(std::move(block));
  }

  model::ModelConfig config_;
  DType dtype_;
  std::mt19937 random_;
  std::deque<std::vector<std::byte>> memory_;
  TensorView embedding_, head_, final_norm_;
  std::vector<model::BlockWeights> blocks_;
  mutable std::size_t releases_ = 0;
};

}  // namespace awq::testing
