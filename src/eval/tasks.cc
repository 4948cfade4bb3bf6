#include "eval/tasks.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "base/error.h"
#include "io/file.h"
#include "io/json.h"

namespace awq::eval {
namespace {

constexpr std::size_t kMaxFileBytes = std::size_t{256} << 20;
constexpr std::size_t kMaxLineBytes = std::size_t{256} << 10;

// Texts to tokens.
class Encoder {
 public:
  static Result<Encoder> Create(const text::Tokenizer& tokenizer, const TaskOptions& options) {
    std::vector<std::int32_t> prefix;
    if (options.bos == text::BosMode::kAuto) {
      prefix.assign(tokenizer.prefix_ids().begin(), tokenizer.prefix_ids().end());
    } else if (options.bos == text::BosMode::kWindow) {
      const auto bos = options.bos_token_id ? options.bos_token_id : tokenizer.bos_id();
      if (!bos) {
        return MakeError(ErrorCode::kInvalidArgument,
                         "every sequence was to begin with BOS, but neither the model nor the "
                         "tokenizer names one; use --bos auto or never");
      }
      prefix.push_back(*bos);
    }
    return Encoder(tokenizer, std::move(prefix), options.max_tokens);
  }

  // `place` stands in error messages.
  Result<TaskSequence> Encode(const ChoiceText& choice, const std::string& place) {
    AWQ_TRY(EncodeContext(choice.context));
    AWQ_ASSIGN(const std::vector<std::int32_t> whole,
               tokenizer_.Encode(choice.context + choice.continuation, false));
    TaskSequence sequence;
    sequence.tokens = prefix_;
    sequence.tokens.insert(sequence.tokens.end(), whole.begin(), whole.end());
    sequence.scored_from = prefix_.size() + context_tokens_;
    sequence.characters = choice.characters;
    if (sequence.scored_from == 0 || sequence.scored_from >= sequence.tokens.size()) {
      return MakeError(
          ErrorCode::kCorrupt,
          "{}: expected tokens of the context and further ones of the choice, found "
          "{} and {}",
          place, sequence.scored_from,
          sequence.tokens.size() - std::min(sequence.scored_from, sequence.tokens.size()));
    }
    AWQ_TRY(Truncate(sequence, place));
    return sequence;
  }

  std::size_t truncated() const { return truncated_; }

 private:
  Encoder(const text::Tokenizer& tokenizer, std::vector<std::int32_t> prefix,
          std::size_t max_tokens)
      : tokenizer_(tokenizer), prefix_(std::move(prefix)), max_tokens_(max_tokens) {}

  // The choices of an item mostly share their context.
  Status EncodeContext(const std::string& context) {
    if (context == context_) return {};
    AWQ_ASSIGN(const std::vector<std::int32_t> tokens, tokenizer_.Encode(context, false));
    context_ = context;
    context_tokens_ = tokens.size();
    return {};
  }

  // The last token is not run, so one more than max_tokens fit.
  Status Truncate(TaskSequence& sequence, const std::string& place) {
    const std::size_t choice_tokens = sequence.tokens.size() - sequence.scored_from;
    if (choice_tokens > max_tokens_) {
      return MakeError(ErrorCode::kInvalidArgument,
                       "{}: a choice of {} tokens, where sequences may have {}", place,
                       choice_tokens, max_tokens_);
    }
    if (sequence.tokens.size() - 1 <= max_tokens_) return {};
    const std::size_t lost = sequence.tokens.size() - 1 - max_tokens_;
    sequence.tokens.erase(sequence.tokens.begin(),
                          sequence.tokens.begin() + static_cast<std::ptrdiff_t>(lost));
    sequence.scored_from -= lost;
    ++truncated_;
    return {};
  }

  const text::Tokenizer& tokenizer_;
  std::vector<std::int32_t> prefix_;
  std::size_t max_tokens_;
  std::string context_;
  std::size_t context_tokens_ = 0;
  std::size_t truncated_ = 0;
};

Result<TaskItem> ReadLine(std::string_view line, const std::string& place, Encoder& encoder,
                          Task& task) {
  if (line.size() > kMaxLineBytes) {
    return MakeError(ErrorCode::kCorrupt, "{}: expected a line of at most {} bytes, found {}",
                     place, kMaxLineBytes, line.size());
  }
  AWQ_ASSIGN(const nlohmann::json json, io::ParseJson(line, place));
  const auto node = text::JsonNode::Root(json, place);
  AWQ_ASSIGN(const TaskForm form, FormOf(node));
  if (task.items.empty()) task.form = form;
  if (form != task.form) {
    return MakeError(ErrorCode::kCorrupt, "{}: a task of form {} among those of form {}", place,
                     Name(form), Name(task.form));
  }
  AWQ_ASSIGN(const ItemText text, ReadItem(node, form));
  TaskItem item;
  item.gold = text.gold;
  for (const ChoiceText& choice : text.choices) {
    AWQ_ASSIGN(TaskSequence sequence, encoder.Encode(choice, place));
    item.sequences.push_back(std::move(sequence));
  }
  return item;
}

}  // namespace

std::size_t InputTokens(std::span<const TaskItem> items) {
  std::size_t tokens = 0;
  for (const TaskItem& item : items) {
    for (const TaskSequence& sequence : item.sequences) tokens += sequence.inputs().size();
  }
  return tokens;
}

Result<Task> ParseTask(std::string_view content, std::string_view name,
                       const text::Tokenizer& tokenizer, const TaskOptions& options) {
  if (options.max_items == 0) {
    return MakeError(ErrorCode::kInvalidArgument, "at most 0 items were asked for");
  }
  AWQ_ASSIGN(Encoder encoder, Encoder::Create(tokenizer, options));
  Task task;
  std::string_view rest = content;
  for (std::size_t number = 1; !rest.empty() && task.items.size() < options.max_items; ++number) {
    const std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(rest.size(), line.size() + 1));
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    const std::string place = fmt::format("{}:{}", name, number);
    AWQ_ASSIGN(TaskItem item, ReadLine(line, place, encoder, task));
    item.line = number;
    task.items.push_back(std::move(item));
  }
  if (task.items.empty()) {
    return MakeError(ErrorCode::kCorrupt, "{}: holds no items of a task", name);
  }
  task.truncated_sequences = encoder.truncated();
  return task;
}

Result<Task> ReadTask(const std::filesystem::path& path, const text::Tokenizer& tokenizer,
                      const TaskOptions& options) {
  AWQ_ASSIGN(const std::string content, io::ReadFile(path, kMaxFileBytes));
  return ParseTask(content, path.string(), tokenizer, options);
}

}  // namespace awq::eval
