#include "checkpoint/padded_model.h"

#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/error.h"
#include "io/json.h"
#include "model/arch.h"
#include "pack/format.h"

namespace awq::checkpoint {
namespace {

using Memory = std::shared_ptr<const Buffer<std::byte>>;

// The tensor with zeros after its rows, and after each row.
std::pair<TensorView, Memory> Widened(const TensorView& tensor, const Shape& shape) {
  const std::size_t element = ElementBytes(tensor.dtype);
  const std::size_t rows = tensor.shape[0];
  const std::size_t row_bytes = tensor.bytes.size() / rows;
  const std::size_t wide_row_bytes = shape.size() == 1 ? element : shape[1] * element;
  auto memory =
      std::make_shared<Buffer<std::byte>>(Buffer<std::byte>::Zeros(shape[0] * wide_row_bytes));
  for (std::size_t row = 0; row < rows; ++row) {
    std::memcpy(memory->data() + row * wide_row_bytes, tensor.bytes.data() + row * row_bytes,
                row_bytes);
  }
  return {{tensor.dtype, shape, memory->span()}, memory};
}

bool IsWidened(const model::LinearRow& row) {
  return row.out == model::Dim::kIntermediate || row.in == model::Dim::kIntermediate;
}

}  // namespace

Result<std::unique_ptr<StoredModel>> PaddedModel::Make(std::unique_ptr<StoredModel> model,
                                                       std::size_t intermediate_size) {
  if (model->quantization()) {
    return MakeError(ErrorCode::kUnsupported,
                     "{}: already quantized ({}); pad the original model instead",
                     model->path().string(), model->quantization()->format->name);
  }
  AWQ_CHECK_LT(model->config().intermediate_size, intermediate_size);
  auto padded = std::make_unique<PaddedModel>();
  padded->config_ = model->config();
  padded->config_.intermediate_size = intermediate_size;
  padded->model_ = std::move(model);
  return std::unique_ptr<StoredModel>(std::move(padded));
}

Result<model::BlockWeights> PaddedModel::Block(std::size_t layer) const {
  AWQ_ASSIGN(model::BlockWeights block, model_->Block(layer));
  for (const model::LinearRow& row : config_.arch->linears) {
    if (!IsWidened(row)) continue;
    model::Linear& linear = block.linear(row.role);
    linear.out_features = model::Width(config_, row.out);
    linear.in_features = model::Width(config_, row.in);
    std::tie(linear.weight, linear.memory) =
        Widened(linear.weight, {linear.out_features, linear.in_features});
    if (!linear.bias || linear.bias->shape[0] == linear.out_features) continue;
    auto [bias, memory] = Widened(*linear.bias, {linear.out_features});
    linear.bias = std::move(bias);
    linear.bias_memory = std::move(memory);
  }
  return block;
}

Result<std::optional<std::string>> PaddedModel::SmallFile(std::string_view name) const {
  AWQ_ASSIGN(std::optional<std::string> contents, model_->SmallFile(name));
  if (name != "config.json" || !contents) return contents;
  AWQ_ASSIGN(nlohmann::json json, io::ParseJson(*contents, "config.json"));
  json["intermediate_size"] = config_.intermediate_size;
  return std::optional(json.dump(2) + "\n");
}

std::size_t PaddedModel::converted_bytes() const {
  std::size_t elements = 0;
  for (const model::LinearRow& row : config_.arch->linears) {
    if (!IsWidened(row)) continue;
    elements += model::Width(config_, row.out) * model::Width(config_, row.in);
  }
  return model_->converted_bytes() + elements * sizeof(float);  // of what type, only Block knows
}

}  // namespace awq::checkpoint
