#include "transformer/embedding.h"

#include "base/error.h"
#include "math/vector.h"

namespace awq::transformer {

Status CheckTokens(std::span<const std::int32_t> tokens, std::size_t vocab_size) {
  for (const std::int32_t token : tokens) {
    if (token >= 0 && static_cast<std::size_t>(token) < vocab_size) continue;
    return MakeError(ErrorCode::kInvalidArgument,
                     "token {} is outside the model's vocabulary of {}: tokenizer.json does not "
                     "belong to this model",
                     token, vocab_size);
  }
  return {};
}

Status Embed(const TensorView& embedding, std::span<const std::int32_t> tokens,
             MatrixView<float> hidden) {
  AWQ_TRY(CheckTokens(tokens, embedding.shape[0]));
  const std::size_t width = embedding.shape[1];
  const std::size_t row_bytes = width * ElementBytes(embedding.dtype);
  for (std::size_t t = 0; t < tokens.size(); ++t) {
    const auto id = static_cast<std::size_t>(tokens[t]);
    const TensorView row{
        embedding.dtype, {1, width}, embedding.bytes.subspan(id * row_bytes, row_bytes)};
    math::Convert(row, std::span<float>(hidden.row(t), width));
  }
  return {};
}

}  // namespace awq::transformer
