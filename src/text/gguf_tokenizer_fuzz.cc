// A GGUF header whose metadata becomes a tokenizer, and that reads a text.
#include <cstdint>
#include <cstdlib>

#include "text/gguf_tokenizer.h"
#include "text/tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace awq;
  const auto header = io::ParseGguf(std::as_bytes(std::span(data, size)), size, "fuzz");
  if (!header.ok()) return 0;
  const auto files = text::TokenizerFromGguf(header->metadata);
  if (!files.ok()) return 0;
  const auto tokenizer = text::Tokenizer::FromJson(files->tokenizer, files->config, "fuzz");
  if (!tokenizer.ok()) return 0;
  const auto ids = (*tokenizer)->Encode("ab  a<s>\n12", true);
  if (!ids.ok()) return 0;
  for (const std::int32_t id : *ids) {
    if (id < 0 || id > (*tokenizer)->max_id()) std::abort();
  }
  (*tokenizer)->Decode(*ids, false);
  return 0;
}
