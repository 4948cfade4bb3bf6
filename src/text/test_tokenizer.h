// A little byte-level tokenizer for tests, whose file each test may change.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "text/byte_alphabet.h"
#include "text/tokenizer.h"

namespace awq::text {

// Ids 0 to 255 are the bytes; 256 "ab", 257 "abc", 258 "Ġa"; 259 <s> and 260 </s> are special.
inline nlohmann::json TestTokenizerJson() {
  nlohmann::json vocab;
  for (int byte = 0; byte < 256; ++byte) {
    std::string letter;
    AppendByteLetters(std::string(1, static_cast<char>(byte)), letter);
    vocab[letter] = byte;
  }
  vocab["ab"] = 256;
  vocab["abc"] = 257;
  vocab["Ġa"] = 258;
  const auto special = [](int id, const char* content) {
    return nlohmann::json{{"id", id}, {"content", content}, {"special", true}};
  };
  return {{"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", {"a b", "ab c", "Ġ a"}}}},
          {"added_tokens", {special(259, "<s>"), special(260, "</s>")}},
          {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}}},
          {"decoder", {{"type", "ByteLevel"}}}};
}

inline std::shared_ptr<const Tokenizer> MakeTokenizer(const nlohmann::json& json,
                                                      const std::string& config = "") {
  auto made = Tokenizer::FromJson(json.dump(), config, "test.json");
  EXPECT_TRUE(made.ok()) << (made.ok() ? "" : made.error().message);
  return made.ok() ? *made : nullptr;
}

// The message of the error that loading must give.
inline Error LoadError(const nlohmann::json& json) {
  auto made = Tokenizer::FromJson(json.dump(), "", "test.json");
  EXPECT_FALSE(made.ok());
  return made.ok() ? Error() : made.error();
}

}  // namespace awq::text
