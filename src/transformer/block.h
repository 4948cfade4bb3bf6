// One decoder block: its weights made ready, and its forward pass.
#pragma once

#include <awq/result.h>

#include <array>
#include <cstddef>
#include <span>
#include <vector>

#include "base/threads.h"
#include "kernels/linear.h"
#include "model/weights.h"
#include "transformer/attention.h"
#include "transformer/batch.h"
#include "transformer/forward.h"
#include "transformer/kv_cache.h"
#include "transformer/rope.h"

namespace awq::transformer {

struct PreparedBlock {
  std::array<kernels::Linear, model::kRoles> linears;
  // What a linear uses in place, where its source had to convert it.
  std::array<std::shared_ptr<const Buffer<std::byte>>, model::kRoles> memory;
  std::array<std::vector<float>, model::kRoles> norms;  // empty where the architecture has none

  const kernels::Linear& linear(Role role) const { return linears[static_cast<std::size_t>(role)]; }
  kernels::Linear& linear(Role role) { return linears[static_cast<std::size_t>(role)]; }
  const std::vector<float>& norm(Role role) const { return norms[static_cast<std::size_t>(role)]; }
  std::vector<float>& norm(Role role) { return norms[static_cast<std::size_t>(role)]; }
  std::size_t owned_bytes() const;
  bool owns_all() const;  // nothing is used where the source has it
};

// Views of `weights` may be kept: its source must outlive the block.
Result<PreparedBlock> Prepare(ThreadPool& pool, const model::BlockWeights& weights,
                              kernels::Precision precision,
                              kernels::Packed packed = kernels::Packed::kDense,
                              const kernels::PanelMemory& memory = {});

std::vector<float> ToFloats(const TensorView& tensor);

// Sees what each site reads, before its linears run.
class Observer {
 public:
  virtual ~Observer() = default;
  // `reader` is the first linear of the site: kQ, kO, kGate or kDown.
  virtual void OnInput(Role reader, const kernels::Activations& input) = 0;
};

// Runs blocks over batches. Holds the scratch memory, so one per thread of control.
class BlockRunner : private BlockSteps {
 public:
  // `rope` must cover every position and outlive the runner, as must the pool and the config.
  BlockRunner(ThreadPool& pool, const model::ModelConfig& config, const RopeTable& rope,
              kernels::Precision precision, kernels::Packed packed = kernels::Packed::kDense);

  // hidden [tokens, hidden_size], updated in place. Keys and values go to `cache_layer` of the
  // cache; `layer` is the block's place in the model.
  struct Place {
    std::size_t layer = 0;
    std::size_t cache_layer = 0;
  };
  void Run(const PreparedBlock& block, Place place, const Batch& batch, KvCache& cache,
           MatrixView<float> hidden, Observer* observer = nullptr);

  // The pieces of Run, for callers that stop between them (forward.h): what `reader` reads.
  void MakeInput(const PreparedBlock& block, Role reader, Place place, const Batch& batch,
                 KvCache& cache, MatrixView<const float> hidden, kernels::Activations& input,
                 Observer* observer = nullptr);
  // Scratch memory comes back with the next call.
  void ReleaseScratch();
  // hidden += what `reader`, kO or kDown, makes of its input.
  void AddOutput(const PreparedBlock& block, Role reader, const kernels::Activations& input,
                 MatrixView<float> hidden);

 private:
  // What the steps work on.
  struct Task {
    const PreparedBlock* block = nullptr;
    Place place;
    const Batch* batch = nullptr;
    KvCache* cache = nullptr;
    MatrixView<const float> hidden;
    MatrixView<float> sums;  // hidden, where outputs are added
    kernels::Activations* input = nullptr;
  };

  void Begin(const Task& task);
  void Normalize(Role norm) override;
  void Multiply(std::span<const Role> readers) override;
  void RotateAndStore() override;
  void Attend() override;
  void Gate() override;
  void AddOutput(Role reader) override;
  void ListTokens(const Batch& batch, std::size_t rows);
  void NormAndRotate(const std::vector<float>& norm, MatrixView<float> heads);
  MatrixView<float> Take(std::size_t which, std::size_t rows, std::size_t cols);

  ThreadPool& pool_;
  const model::ModelConfig& config_;
  const RopeTable& rope_;
  kernels::Precision precision_;
  Attention attention_;
  Task task_;
  struct Token {
    std::size_t slot = 0;
    std::size_t position = 0;
  };
  std::vector<Token> tokens_;  // of the batch that is running
  kernels::Activations input_;
  std::array<MatrixView<float>, 3> products_;  // of the last Multiply, in scratch_
  std::array<Buffer<float>, 4> scratch_;
};

}  // namespace awq::transformer
