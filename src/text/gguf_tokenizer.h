// The tokenizer in the metadata of a GGUF file <-> tokenizer.json. docs/formats/gguf.md has the
// keys.
#pragma once

#include <awq/result.h>

#include <cstddef>
#include <string>
#include <string_view>

#include "io/gguf.h"
#include "io/gguf_writer.h"

namespace awq::text {

struct TokenizerFiles {
  std::string tokenizer;           // tokenizer.json
  std::string config;              // tokenizer_config.json; may be empty
  std::string chat_template = {};  // chat_template.jinja, which newer directories have instead
};

// "gpt2" vocabularies with the `pre` of a row of kPreTokenizers, and "llama" ones with scores;
// others are kUnsupported by name. The ids are those of the tokenizer.json that the file was made
// from; byte-level texts are first normalized as that says, which llama.cpp leaves out.
Result<TokenizerFiles> TokenizerFromGguf(const io::GgufMetadata& metadata);

// `vocab_size` rows of the embedding: ids without a token get one that nothing gives. `name` stands
// in errors. Error: a tokenizer that no `pre` describes, or whose merges no scores can stand for.
Status AddTokenizerToGguf(const TokenizerFiles& files, std::size_t vocab_size,
                          const std::string& name, io::GgufBuilder& builder);

}  // namespace awq::text
