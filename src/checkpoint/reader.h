// A Hugging Face model directory, mapped and checked, as a StoredModel.
#pragma once

#include <awq/result.h>

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "checkpoint/stored_model.h"
#include "io/safetensors.h"
#include "pack/format.h"

namespace awq::checkpoint {

// A packed linear as it is stored; the views live as long as the directory.
struct PackedLinear {
  std::string module;
  pack::Form form;
  std::vector<TensorView> parts;  // in the order of the format's parts()
};

// Opening reads headers only. It checks every tensor the architecture names: present, dtype, shape;
// and for a quantized directory every part of every packed linear. Tensors the table does not name
// are listed by extra_tensors() (rotary caches and the like), never silently used.
class ModelDirectory final : public StoredModel {
 public:
  static Result<std::unique_ptr<ModelDirectory>> Open(const std::filesystem::path& directory);

  const std::filesystem::path& path() const override { return path_; }
  const model::ModelConfig& config() const override { return config_; }
  // How its linears are packed; nothing where they are not.
  const std::optional<pack::Quantization>& quantization() const override { return quantization_; }
  Result<model::BlockWeights> Block(std::size_t layer) const override;
  Result<TensorView> Embedding() const override;
  Result<TensorView> FinalNorm() const override;
  Result<TensorView> Head() const override;
  void Release(std::size_t layer) const override;
  void ReleaseAll() const override;
  // Of a tensor, or a part of one, that Find() or Packed() gave.
  void ReleaseBytes(std::span<const std::byte> bytes) const;

  // Nothing where the linear is not packed.
  Result<std::optional<PackedLinear>> Packed(std::size_t layer, const model::LinearRow& row) const;
  // Every tensor, of the architecture or not, in the order of the files' names and in each its own.
  std::vector<std::string> StoredNames() const;
  Result<TensorView> Find(const std::string& name) const;

  std::size_t weight_bytes() const override;
  const std::vector<std::string>& extra_tensors() const override { return extra_tensors_; }
  Result<std::optional<std::string>> SmallFile(std::string_view name) const override;
  Result<std::vector<std::filesystem::path>> WeightFiles() const override;

 private:
  bool IsZero(const std::string& name) const;
  struct Located {
    std::size_t file = 0;
    io::TensorInfo info;
  };
  // One tensor the architecture names; `dtypes` are those it may have.
  struct Expected {
    std::string name;
    Shape shape;
    std::span<const DType> dtypes;
  };

  Status ReadOlderQuantization();
  Status OpenFiles();
  Status OpenShards(const std::filesystem::path& index);
  Status OpenFile(const std::filesystem::path& path,
                  std::size_t header_limit_bytes = io::kMaxSafetensorsHeaderBytes);
  Status CheckTensors();
  Status CheckTensor(const Expected& expected);
  Status CheckLinear(std::size_t layer, const model::LinearRow& row);
  // The form of a packed linear, or nothing where config.json leaves it in 16 bits. Asking what
  // config.json says costs: FormAt() has it from opening.
  Result<std::optional<pack::Form>> FormOf(const std::string& module, std::size_t out_features,
                                           std::size_t in_features) const;
  std::optional<pack::Form> FormAt(const std::string& module) const;
  Status CheckStoredAs(const std::string& module, bool packed) const;
  void ListExtras();

  Result<model::Linear> LinearAt(std::size_t layer, const model::LinearRow& row) const;

  std::filesystem::path path_;
  model::ModelConfig config_;
  std::optional<pack::Quantization> quantization_;
  std::vector<io::SafetensorsFile> files_;
  std::map<std::string, Located> tensors_;
  std::map<std::string, pack::Form> forms_;  // of the packed linears
  std::set<std::string> used_;               // tensors that the architecture names
  std::vector<std::string> extra_tensors_;
};

}  // namespace awq::checkpoint
