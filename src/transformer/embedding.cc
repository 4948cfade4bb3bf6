#include "transformer/embedding.h"

#include "base/error.h"
#include "math/vector.h"

namespace awq::transformer {

Status Embed(const TensorView& embedding, std::span<const std::int32_t> tokens,
             MatrixView<float> hidden) {
  const std::size_t vocab = embedding.shape[0];
  const std::size_t width = embedding.shape[1];
  const std::size_t row_bytes = width * ElementBytes(embedding.dtype);
  for (std::size_t t = 0; t < tokens.size(); ++t) {
    const auto id = static_cast<std::size_t>(tokens[t]);
    if (tokens[t] < 0 || id >= vocab) {
      return MakeError(ErrorCode::kInvalidArgument,
                       "token {} is outside the model's vocabulary of {}: tokenizer.json does not "
                       "belong to this model",
                       tokens[t], vocab);
    }
    const TensorView row{
        embedding.dtype, {1, width}, embedding.bytes.subspan(id * row_bytes, row_bytes)};
    math::Convert(row, std::span<float>(hidden.row(t), width));
  }
  return {};
}

}  // namespace awq::transformer
