// A model whose MLP is made wider by zeros, so that ranks can share it evenly.
#pragma once

#include <awq/result.h>

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/stored_model.h"

namespace awq::checkpoint {

// gate and up have more rows (and biases), all zero, and down more columns: as silu(0) 0 = 0 goes
// into these, every output is the sum that it was. config.json says the new intermediate_size; the
// rest is the model that it is made of. The wider tensors of a block are copies that live as long
// as its BlockWeights.
class PaddedModel final : public StoredModel {
 public:
  // Error: a quantized model, whose codes cannot be made wider.
  static Result<std::unique_ptr<StoredModel>> Make(std::unique_ptr<StoredModel> model,
                                                   std::size_t intermediate_size);

  const model::ModelConfig& config() const override { return config_; }
  Result<model::BlockWeights> Block(std::size_t layer) const override;
  Result<TensorView> Embedding() const override { return model_->Embedding(); }
  Result<TensorView> FinalNorm() const override { return model_->FinalNorm(); }
  Result<TensorView> Head() const override { return model_->Head(); }
  void Release(std::size_t layer) const override { model_->Release(layer); }
  void ReleaseAll() const override { model_->ReleaseAll(); }

  const std::optional<pack::Quantization>& quantization() const override {
    return model_->quantization();
  }
  const std::filesystem::path& path() const override { return model_->path(); }
  std::size_t weight_bytes() const override { return model_->weight_bytes(); }
  const std::vector<std::string>& extra_tensors() const override { return model_->extra_tensors(); }
  Result<std::optional<std::string>> SmallFile(std::string_view name) const override;
  Result<std::vector<std::filesystem::path>> WeightFiles() const override {
    return model_->WeightFiles();
  }
  std::optional<StoredForm> ConvertedForm(std::string_view module) const override {
    return model_->ConvertedForm(module);
  }
  std::size_t converted_bytes() const override;
  std::string storage() const override { return model_->storage(); }

 private:
  std::unique_ptr<StoredModel> model_;
  model::ModelConfig config_;
};

}  // namespace awq::checkpoint
