// The weights of one block, as stored: mapped tensors or packed linears, nothing copied but what no
// view can show.
#pragma once

#include <awq/result.h>

#include <array>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "model/arch.h"
#include "quant/quantized_linear.h"
#include "tensor/tensor.h"

namespace awq::model {

// A linear stored in some packed format; unpacked one at a time, when it is needed.
class PackedSource {
 public:
  virtual ~PackedSource() = default;
  virtual Result<quant::QuantizedLinear> Unpack() const = 0;
  // Rows [first_row, first_row + rows.out_features()) of one without act_order; the sizes of `rows`
  // are right, first_row is a multiple of quant::kStripeRows. From any thread.
  virtual Status UnpackRows(std::size_t first_row, quant::QuantizedLinear& rows) const = 0;
  // For who unpacks all rows and wants the file read in order, and once: what Fetch gives in parts,
  // whole. None (0) where rows do not come from a file. From any thread.
  virtual std::size_t fetched_bytes() const { return 0; }
  virtual Status Fetch(std::size_t /*first*/, std::span<std::byte> /*to*/) const { return {}; }
  virtual Status UnpackFetched(std::span<const std::byte> /*fetched*/, std::size_t first_row,
                               quant::QuantizedLinear& rows) const {
    return UnpackRows(first_row, rows);
  }
  virtual quant::Spec spec() const = 0;  // group_size is that of this linear
  virtual std::size_t stored_bytes() const = 0;
};

struct Linear {
  std::string name;  // "model.layers.3.self_attn.q_proj"
  std::size_t out_features = 0;
  std::size_t in_features = 0;
  TensorView weight;                           // [out, in] F32, F16 or BF16, if not packed
  std::shared_ptr<const PackedSource> packed;  // or this
  // Where `weight` and `bias` lie if the source had to convert them; null where they are mapped.
  std::shared_ptr<const Buffer<std::byte>> memory;
  std::shared_ptr<const Buffer<std::byte>> bias_memory;
  std::optional<TensorView> bias;  // [out]

  bool is_packed() const { return packed != nullptr; }
};

struct BlockWeights {
  std::array<std::optional<Linear>, kRoles> linears;
  std::array<std::optional<TensorView>, kRoles> norms;

  const Linear& linear(Role role) const { return *linears[static_cast<std::size_t>(role)]; }
  Linear& linear(Role role) { return *linears[static_cast<std::size_t>(role)]; }
  const std::optional<TensorView>& norm(Role role) const {
    return norms[static_cast<std::size_t>(role)];
  }
};

// A whole model whose weights are fetched block by block. Thread contract: const calls from any
// thread.
class WeightSource {
 public:
  virtual ~WeightSource() = default;
  virtual const ModelConfig& config() const = 0;
  virtual Result<BlockWeights> Block(std::size_t layer) const = 0;
  virtual Result<TensorView> Embedding() const = 0;  // [vocab, hidden]
  virtual Result<TensorView> FinalNorm() const = 0;  // [hidden]
  virtual Result<TensorView> Head() const = 0;       // [vocab, hidden]; the embedding when tied
  // The block's (or every) file pages may leave memory; views stay valid.
  virtual void Release(std::size_t layer) const = 0;
  virtual void ReleaseAll() const = 0;
};

}  // namespace awq::model
