// A file of multiple-choice items: an error, or sequences that can be run and scored.
#include <cstdint>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "eval/tasks.h"
#include "text/byte_alphabet.h"

namespace {

using namespace awq;

constexpr std::int32_t kBos = 257;

void Require(bool condition) {
  if (!condition) std::abort();
}

// A token for every byte, one that spans the space between context and choice, and BOS.
std::shared_ptr<const text::Tokenizer> MakeTokenizer() {
  nlohmann::json vocab;
  for (int byte = 0; byte < 256; ++byte) {
    std::string letter;
    text::AppendByteLetters(std::string(1, static_cast<char>(byte)), letter);
    vocab[letter] = byte;
  }
  vocab["Ġa"] = 256;
  const nlohmann::json json = {
      {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", {"Ġ a"}}}},
      {"added_tokens", {{{"id", kBos}, {"content", "<s>"}, {"special", true}}}}};
  auto made = text::Tokenizer::FromJson(json.dump(), "", "fuzz");
  Require(made.ok());
  return *made;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const auto tokenizer = MakeTokenizer();
  if (size == 0) return 0;
  const std::string_view content(reinterpret_cast<const char*>(data) + 1, size - 1);
  eval::TaskOptions options;
  if ((data[0] & 1) != 0) options.bos = text::BosMode::kWindow;
  options.bos_token_id = kBos;
  options.max_tokens = std::size_t{1} << (data[0] >> 5) * 2;  // 1 to 16384
  options.max_items = (data[0] & 2) != 0 ? 1 : 1000;
  const auto task = eval::ParseTask(content, "fuzz", *tokenizer, options);
  if (!task.ok()) return 0;
  Require(!task->items.empty() && task->items.size() <= options.max_items);
  for (const eval::TaskItem& item : task->items) {
    Require(item.sequences.size() >= 2 && item.gold < item.sequences.size());
    for (const eval::TaskSequence& sequence : item.sequences) {
      Require(sequence.scored_from >= 1 && sequence.scored_from < sequence.tokens.size());
      Require(sequence.inputs().size() <= options.max_tokens);
      Require(sequence.characters >= 1);
      for (const std::int32_t token : sequence.tokens) Require(token >= 0 && token <= kBos);
    }
  }
  return 0;
}
