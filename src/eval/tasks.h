// Multiple-choice tasks: a file of items -> token sequences, whose hidden states are scored by
// eval/task_score.h.
#pragma once

#include <awq/result.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "eval/task_prompts.h"
#include "text/tokenizer.h"
#include "text/windows.h"

namespace awq::eval {

struct TaskOptions {
  std::size_t max_items = std::numeric_limits<std::size_t>::max();  // the first of the file
  // kAuto: what the tokenizer puts before a text; kWindow: BOS; kNever: nothing. What a tokenizer
  // puts after a text is always left out.
  text::BosMode bos = text::BosMode::kAuto;
  std::optional<std::int32_t> bos_token_id = std::nullopt;  // for kWindow; none: the tokenizer's
  std::size_t max_tokens = 2048;  // that a model is run on, of one sequence
};

// Context and choice. The model is run on all tokens but the last, whose successor nobody asks for.
struct TaskSequence {
  std::vector<std::int32_t> tokens;
  std::size_t scored_from = 0;  // the choice's first token; at least 1
  std::size_t characters = 0;   // of the choice, at least 1

  std::span<const std::int32_t> inputs() const { return {tokens.data(), tokens.size() - 1}; }
};

struct TaskItem {
  std::size_t line = 0;                 // of the file, from 1
  std::vector<TaskSequence> sequences;  // one for each choice
  std::size_t gold = 0;
};

struct Task {
  TaskForm form = TaskForm::kQuestion;
  std::vector<TaskItem> items;
  std::size_t truncated_sequences = 0;  // contexts that lost tokens to max_tokens
};

// Tokens that a model is run on for these items.
std::size_t InputTokens(std::span<const TaskItem> items);

// Reads JSON lines, all of the form of the first; blank lines are passed over.
// Contexts and choices are tokenized together, and a choice's tokens are those that the context
// alone does not have (lm-evaluation-harness's _encode_pair). Contexts too long lose tokens at
// their beginning, BOS first. kCorrupt says `name` and line: no JSON, no known form, a form unlike
// the first line's, a member of the wrong kind, a line of more than 256 KiB, a choice without
// tokens of its own or with nothing before it. kInvalidArgument: a choice longer than max_tokens,
// kWindow without a known BOS, no items asked for.
Result<Task> ParseTask(std::string_view content, std::string_view name,
                       const text::Tokenizer& tokenizer, const TaskOptions& options);
// The same of a file, gzip or not.
Result<Task> ReadTask(const std::filesystem::path& path, const text::Tokenizer& tokenizer,
                      const TaskOptions& options);

}  // namespace awq::eval
