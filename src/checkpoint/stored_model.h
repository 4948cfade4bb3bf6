// A model as it is stored, whatever holds it: a Hugging Face directory or a GGUF file.
#pragma once

#include <awq/result.h>

#include <cstddef>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/weights.h"
#include "pack/quantization.h"

namespace awq::checkpoint {

class StoredModel : public model::WeightSource {
 public:
  // How the file holds a linear or a table.
  struct StoredForm {
    int bits = 16;  // of an element, nominally
    std::size_t group_size = 0;
    std::size_t bytes = 0;
    std::size_t block_elements = 1;  // that are stored together
  };

  // How its linears are packed; nothing where they are not.
  virtual const std::optional<pack::Quantization>& quantization() const = 0;
  virtual const std::filesystem::path& path() const = 0;  // of the directory or file
  virtual std::size_t weight_bytes() const = 0;           // of all tensors
  virtual const std::vector<std::string>& extra_tensors() const = 0;
  // What a model directory has, or would have, under this name ("config.json"); nothing if nothing.
  virtual Result<std::optional<std::string>> SmallFile(std::string_view name) const = 0;
  // The files that hold the weights.
  virtual Result<std::vector<std::filesystem::path>> WeightFiles() const = 0;

  // For those weights that are converted before anybody sees them.
  virtual std::optional<StoredForm> ConvertedForm(std::string_view) const { return std::nullopt; }
  // The most memory that such weights take: the tables, and one block.
  virtual std::size_t converted_bytes() const { return 0; }
  virtual std::string storage() const { return ""; }  // "GGUF, Q4_K and Q6_K"

 protected:
  Status CheckLayer(std::size_t layer) const;  // that there is such a one
};

// A directory with config.json and safetensors, a .gguf file, or a directory that holds just one.
Result<std::unique_ptr<StoredModel>> OpenModel(const std::filesystem::path& path);

}  // namespace awq::checkpoint
