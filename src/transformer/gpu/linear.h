// Linears on the GPU: packed as its kernels read them, or dense.
#pragma once

#include <awq/result.h>

#include <cstddef>
#include <functional>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "base/threads.h"
#include "cuda/linear.h"
#include "model/weights.h"
#include "transformer/gpu/context.h"

namespace awq::transformer::gpu {

// Linears of the same inputs, whose outputs stand side by side: [tokens, outputs()], without their
// biases.
class Linear {
 public:
  Linear() = default;
  // What the kernels cannot hold is made dense, of `type` (kHalf or kBfloat16). Error: the GPU's
  // memory, a tensor that cannot be read, or dense weights where cuBLASLt is not found.
  static Result<Linear> FromModel(Context& context, ThreadPool& pool,
                                  std::span<const model::Linear* const> linears, cuda::Float type);
  // Dense weights [out, in], rounded to nearest.
  static Result<Linear> Rounded(Context& context, ThreadPool& pool, const TensorView& weight,
                                const quant::Spec& spec, cuda::Float type, std::string_view name);
  static Result<Linear> FromDense(Context& context, ThreadPool& pool, const TensorView& weight,
                                  cuda::Float type, std::string_view name);

  // Dense, of parts with these outputs, which SetPart gives their weights.
  static Linear OfParts(std::span<const std::size_t> outputs, std::size_t inputs, cuda::Float type);
  // weights [outputs of the part, inputs] of the type, which may go when this returns. Error: the
  // GPU's memory, or cuBLASLt is not found.
  Status SetPart(Context& context, std::size_t part, std::span<const std::byte> weights);
  // The same of codes, which stay so. False, and nothing has changed: the kernels cannot hold them.
  Result<bool> SetPart(Context& context, ThreadPool& pool, std::size_t part,
                       const quant::QuantizedLinear& weights);

  std::size_t outputs() const { return outputs_; }
  std::size_t bytes() const;
  std::size_t weights() const;  // how many

  // x [tokens, inputs] of the type -> y [tokens, outputs()], both on the device.
  void Apply(Context& context, const void* x, std::size_t tokens, float* y) const;

 private:
  struct Part {
    std::size_t first_output = 0;
    std::size_t outputs = 0;
    std::size_t inputs = 0;
    cuda::DeviceMemory memory;
    cuda::DeviceWeights packed;  // in `memory`; of no codes where it is dense
  };
  // Rows of a packed linear, [first_row, first_row + rows.out_features()); from any thread.
  using ReadRows = std::function<Status(std::size_t first_row, quant::QuantizedLinear& rows)>;
  struct Packed {
    quant::Spec spec;
    std::size_t outputs = 0;
    std::size_t inputs = 0;
    ReadRows read;
    std::string_view name;
  };

  explicit Linear(cuda::Float type) : type_(type) {}
  Status Add(Context& context, Part part);
  // Of one spec and one number of inputs; all but the last have whole panels of outputs. None: a
  // scale is no fp16 number.
  static Result<std::optional<Part>> MakePacked(Context& context, ThreadPool& pool,
                                                std::span<const Packed> linears);
  Result<bool> AddPacked(Context& context, ThreadPool& pool, std::span<const Packed> linears);
  Status AddDense(Context& context, ThreadPool& pool, const Shape& shape, std::string_view name,
                  const std::function<Status(std::size_t first_row, MatrixView<float>)>& read);
  Status AddModelDense(Context& context, ThreadPool& pool, const model::Linear& linear);
  Status AddModels(Context& context, ThreadPool& pool,
                   std::span<const model::Linear* const> linears);
  void Apply(Context& context, const Part& part, const void* x, std::size_t tokens, float* y) const;

  cuda::Float type_ = cuda::Float::kBfloat16;
  std::size_t outputs_ = 0;
  std::vector<Part> parts_;
};

}  // namespace awq::transformer::gpu
