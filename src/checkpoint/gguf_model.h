// A GGUF file, mapped and checked, as a WeightSource under the names of config.json's world.
#pragma once

#include <awq/result.h>

#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/threads.h"
#include "checkpoint/gguf_names.h"
#include "checkpoint/stored_model.h"
#include "io/gguf.h"
#include "pack/ggml_blocks.h"
#include "quant/quantized_linear.h"

namespace awq::checkpoint {

// Opening checks every tensor that the architecture names: present, shape, a type that can be read.
// Weights of F32, F16 and BF16 are views into the file where their rows stand in our order; all
// others are converted to fp32 (rows that only move keep their type) when they are asked for: those
// of a block live as long as its BlockWeights, the embedding and the head as long as the model.
class GgufModel final : public StoredModel {
 public:
  static Result<std::unique_ptr<GgufModel>> Open(const std::filesystem::path& path);

  const model::ModelConfig& config() const override { return config_; }
  Result<model::BlockWeights> Block(std::size_t layer) const override;
  // Block() whose linears have no weight yet, and what gives one of them its own.
  Result<model::BlockWeights> WithoutWeights(std::size_t layer) const;
  void ReadWeight(std::size_t layer, const model::LinearRow& row, model::Linear& linear) const;
  Result<TensorView> Embedding() const override;
  Result<TensorView> FinalNorm() const override;
  Result<TensorView> Head() const override;
  void Release(std::size_t layer) const override;
  void ReleaseAll() const override;

  // What the blocks of all linears are that are no floats: Q4_0, Q4_1 or Q8_0. Error: other or
  // several types (names two).
  Result<quant::Spec> BlocksSpec() const;
  bool IsOfFloats(std::size_t layer, model::Role role) const;
  // The same with the largest group_size whose blocks share their scales, 0: whole rows. Reads the
  // scales.
  Result<quant::Spec> CodesSpec() const;
  struct Codes {
    quant::QuantizedLinear linear;
    pack::RowChanges changes;  // of all rows
  };
  // `spec` as CodesSpec() has it.
  Result<Codes> CodesOf(ThreadPool& pool, std::size_t layer, const model::LinearRow& row,
                        const quant::Spec& spec) const;

  const std::optional<pack::Quantization>& quantization() const override { return none_; }
  const std::filesystem::path& path() const override { return path_; }
  std::size_t weight_bytes() const override;
  const std::vector<std::string>& extra_tensors() const override { return extra_tensors_; }
  Result<std::optional<std::string>> SmallFile(std::string_view name) const override;
  Result<std::vector<std::filesystem::path>> WeightFiles() const override {
    return std::vector{path_};
  }
  std::optional<StoredForm> ConvertedForm(std::string_view module) const override;
  std::size_t converted_bytes() const override;
  std::string storage() const override;

 private:
  using Memory = std::shared_ptr<const Buffer<std::byte>>;

  Status CheckTensors();
  Status CheckTensor(const std::string& name, const Shape& shape, bool is_vector);
  Status CheckLinear(std::size_t layer, const model::LinearRow& row);
  bool Interleaved(model::Role role) const;
  bool ShareScales(std::size_t group_size) const;
  bool IsConverted(const io::GgufTensor& tensor, bool interleaved) const;
  std::size_t ConvertedBytes(const io::GgufTensor& tensor, bool interleaved) const;

  const io::GgufTensor& Tensor(const std::string& name) const { return *tensors_.at(name); }
  // The tensor as floats of some width, and the memory that it lies in if that is not the file's.
  std::pair<TensorView, Memory> Read(const io::GgufTensor& tensor, bool interleaved) const;
  TensorView Table(std::string_view name, Memory& memory) const;
  model::Linear WithoutWeight(std::size_t layer, const model::LinearRow& row) const;

  std::filesystem::path path_;
  std::optional<pack::Quantization> none_;  // its types are no format of pack::Formats()
  model::ModelConfig config_;
  const GgufArch* arch_ = nullptr;
  std::string config_json_;
  std::optional<io::GgufFile> file_;
  std::map<std::string, const io::GgufTensor*, std::less<>> tensors_;  // by GGUF's names
  std::map<std::string, std::string, std::less<>> gguf_names_;         // module -> GGUF's name
  std::set<std::string> used_;  // that the architecture names
  std::vector<std::string> extra_tensors_;

  mutable std::mutex mutex_;  // of the tables
  mutable Memory embedding_;
  mutable Memory head_;
};

}  // namespace awq::checkpoint
