#include <awq/awq.h>

#include <cstdlib>

#include "api/guard.h"
#include "hub/pull.h"
#include "io/file.h"
#include "text/tokenizer.h"

namespace awq {

Result<std::vector<std::int32_t>> Tokenize(const TokenizeOptions& options) {
  return api::Guard([&]() -> Result<std::vector<std::int32_t>> {
    AWQ_ASSIGN(const auto directory,
               hub::FindModel(options.directory, /*weights=*/false, &std::getenv, nullptr));
    AWQ_ASSIGN(const auto tokenizer, text::Tokenizer::Load(directory));
    if (options.file.empty()) return tokenizer->Encode(options.text, options.add_special_tokens);
    AWQ_ASSIGN(const std::string contents, io::ReadFile(options.file));
    return tokenizer->Encode(contents, options.add_special_tokens);
  });
}

}  // namespace awq
