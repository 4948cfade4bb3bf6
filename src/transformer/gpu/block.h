// One decoder block on the GPU: its weights there, and the steps of its forward pass.
#pragma once

#include <awq/result.h>

#include <array>
#include <cstddef>
#include <span>

#include "kernels/linear.h"
#include "model/weights.h"
#include "transformer/forward.h"
#include "transformer/gpu/batch.h"
#include "transformer/gpu/context.h"
#include "transformer/gpu/linear.h"
#include "transformer/gpu/pages.h"

namespace awq::transformer::gpu {

struct Block {
  Linear attention;  // kQ, kK, kV
  Linear o;
  Linear mlp;  // kGate, kUp
  Linear down;
  std::array<cuda::DeviceMemory, model::kRoles> norms;   // fp32
  std::array<cuda::DeviceMemory, model::kRoles> biases;  // fp32

  std::size_t bytes() const;    // of the linears
  std::size_t weights() const;  // how many

  const Linear& linear(Role first) const;
  // The linear that has this one's outputs among its own, and which part of it they are.
  struct Place {
    Linear* linear = nullptr;
    std::size_t part = 0;
  };
  Place PlaceOf(Role role);
  // Of an EmptyBlock. Precondition: dense bf16 weights. Error: see Linear::SetPart.
  Status SetLinear(Context& context, Role role, const kernels::Linear& linear);
  // The same of codes; false where the kernels cannot hold them.
  Result<bool> SetCodes(Context& context, ThreadPool& pool, Role role,
                        const quant::QuantizedLinear& codes);
  void SetBias(Context& context, Role role, std::span<const float> bias);
  Status SetNorm(Context& context, Role role, std::span<const float> norm);
  const float* norm(Role role) const { return norms[static_cast<std::size_t>(role)].data<float>(); }
  const float* bias(Role role) const {
    return biases[static_cast<std::size_t>(role)].data<float>();
  }
};

// What the kernels are made for, said before anything is loaded.
Status CheckConfig(const model::ModelConfig& config);

// Of dense bf16 linears, none of which is set.
Block EmptyBlock(const model::ModelConfig& config);

// `type`: of dense weights and of activations.
Result<Block> Prepare(Context& context, ThreadPool& pool, const model::BlockWeights& weights,
                      cuda::Float type);

// Angles on the device, [positions, head_dim / 2] each.
struct Rope {
  const float* cosines = nullptr;
  const float* sines = nullptr;
};

// Runs blocks over one batch after another, whose hidden states it holds. What a block's last
// output adds to them is added by the norm that comes next.
class Steps final : public BlockSteps {
 public:
  // All outlive it.
  Steps(Context& context, const model::ModelConfig& config, Rope rope, cuda::Element type);

  // hidden() has room for the batch's tokens then, and may be filled; or it is `hidden`
  // [tokens, hidden_size], the caller's.
  void Begin(const Batch& batch, const KvCache& cache, float* hidden = nullptr);
  float* hidden() { return hidden_; }
  std::size_t tokens() const { return batch_.tokens(); }
  // Every segment is one token.
  bool is_decoding() const { return batch_.is_decoded(); }
  int table_pages() const { return batch_.table_pages(); }
  const void* pages() const { return cache_.rows; }
  const void* scales() const { return cache_.scales; }
  void Run(const Block& block, std::size_t layer, std::size_t cache_layer);
  // The pieces of Run, for callers that stop between them (forward.h): what `reader` reads
  // [tokens, inputs] of the type, valid until the next call. hidden() stays as it is.
  const void* MakeInput(const Block& block, std::size_t layer, Role reader);
  // hidden() += what `reader`, kO or kDown, makes of the input that MakeInput made.
  void AddOutputOf(Role reader);
  // After the last block: hidden() is complete, and what is returned is that of this norm
  // [hidden_size], [tokens, hidden_size] of the type.
  const void* Finish(const float* norm);

 private:
  void Normalize(Role norm) override;
  void Multiply(std::span<const Role> readers) override;
  void RotateAndStore() override;
  void Attend() override;
  void Gate() override;
  void AddOutput(Role reader) override;
  // hidden() is complete, and where there is a norm what is returned is that of it.
  const void* AddAndNorm(const float* norm);
  cuda::Activations Input(std::size_t width);

  Context& context_;
  const model::ModelConfig& config_;
  Rope rope_;
  cuda::Element type_;
  PlacedBatch batch_;
  cuda::KvPages cache_;
  const Block* block_ = nullptr;
  std::size_t layer_ = 0;
  std::size_t cache_layer_ = 0;
  float* hidden_ = nullptr;
  const float* added_ = nullptr;       // not yet part of hidden_; null: nothing
  const float* added_bias_ = nullptr;  // likewise
  float* products_ = nullptr;
  Scratch hidden_memory_, input_memory_, products_memory_, added_memory_, parts_memory_;
};

}  // namespace awq::transformer::gpu
