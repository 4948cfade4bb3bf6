// What llama.cpp calls the ways of cutting a text into words, and what tokenizer.json says for
// each.
#pragma once

#include <array>
#include <span>
#include <string_view>

namespace awq::text {

inline constexpr std::string_view kQwen2Words =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
inline constexpr std::string_view kLlama3Words =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

struct PreTokenizerRow {
  std::string_view name;       // tokenizer.ggml.pre
  std::string_view words;      // a pattern, each match a word; empty: that of GPT-2
  bool single_digits = false;  // each digit a word of its own, before the pattern
  bool nfc = false;            // texts are normalized first
  bool ignore_merges = false;  // a word that is a token is that token
  bool adds_bos = false;       // unless tokenizer.ggml.add_bos_token says otherwise
};

// The first row of equal ones is written.
inline constexpr std::array<PreTokenizerRow, 7> kPreTokenizers = {{
    {"gpt-2", "", false, false, false, false},
    {"qwen2", kQwen2Words, false, true, false, false},
    {"deepseek-r1-qwen", kQwen2Words, false, true, false, false},
    {"llama-bpe", kLlama3Words, false, false, true, true},
    {"llama3", kLlama3Words, false, false, true, true},
    {"llama-v3", kLlama3Words, false, false, true, true},
    {"smollm", "", true, false, false, false},
}};

}  // namespace awq::text
