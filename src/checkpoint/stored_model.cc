#include "checkpoint/stored_model.h"

#include "base/error.h"
#include "checkpoint/gguf_model.h"
#include "checkpoint/reader.h"
#include "io/gguf.h"

namespace awq::checkpoint {

Status StoredModel::CheckLayer(std::size_t layer) const {
  const std::size_t layers = config().num_hidden_layers;
  if (layer < layers) return {};
  return MakeError(ErrorCode::kInvalidArgument, "{}: there is no layer {}; the model has {}",
                   path().string(), layer, layers);
}

Result<std::unique_ptr<StoredModel>> OpenModel(const std::filesystem::path& path) {
  AWQ_ASSIGN(const auto gguf, io::FindGguf(path));
  if (gguf) {
    AWQ_ASSIGN(std::unique_ptr<StoredModel> model, GgufModel::Open(*gguf));
    return model;
  }
  AWQ_ASSIGN(std::unique_ptr<StoredModel> model, ModelDirectory::Open(path));
  return model;
}

}  // namespace awq::checkpoint
