#include "eval/task_prompts.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/error.h"
#include "text/unicode.h"
#include "text/utf8.h"

namespace awq::eval {
namespace {

using text::JsonNode;

constexpr std::size_t kLeastChoices = 2;
constexpr std::size_t kMostChoices = 26;
constexpr std::string_view kQuestion = "Question: ";

// Python's str.isspace: Unicode's White_Space and four separators.
bool IsPythonSpace(char32_t code) {
  return text::IsWhitespace(code) || (code >= 0x1c && code <= 0x1f);
}

// Where the whitespace at the end begins.
std::size_t TextEnd(std::string_view utf8) {
  std::size_t end = 0;
  for (std::size_t i = 0; i < utf8.size();) {
    const text::Utf8Char c = text::DecodeUtf8(utf8, i);
    i += c.bytes;
    if (!IsPythonSpace(c.code)) end = i;
  }
  return end;
}

std::string_view Strip(std::string_view utf8) {
  utf8 = utf8.substr(0, TextEnd(utf8));
  while (!utf8.empty()) {
    const text::Utf8Char c = text::DecodeUtf8(utf8, 0);
    if (!IsPythonSpace(c.code)) break;
    utf8.remove_prefix(c.bytes);
  }
  return utf8;
}

std::size_t Characters(std::string_view utf8) {
  return static_cast<std::size_t>(std::count_if(utf8.begin(), utf8.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  }));
}

std::string Replace(std::string_view in, std::string_view what, std::string_view with) {
  std::string out;
  for (std::size_t at = 0;;) {
    const std::size_t next = in.find(what, at);
    out += in.substr(at, next - at);
    if (next == std::string_view::npos) return out;
    out += with;
    at = next + what.size();
  }
}

// re.sub("\\[.*?\\]", "", text): a bracket that does not close in its line stays.
std::string WithoutBrackets(std::string_view in) {
  std::string out;
  while (!in.empty()) {
    const std::size_t open = std::min(in.find('['), in.size());
    out += in.substr(0, open);
    in.remove_prefix(open);
    const std::size_t close = std::min(in.find_first_of("]\n"), in.size());
    if (close < in.size() && in[close] == ']') {
      in.remove_prefix(close + 1);
    } else {
      out += in.substr(0, close);
      in.remove_prefix(close);
      if (!in.empty()) {
        out += in.front();
        in.remove_prefix(1);
      }
    }
  }
  return out;
}

// The harness's two rules: one space between context and continuation, and whitespace at the end of
// the context belongs to the continuation.
ChoiceText MakeChoice(std::string_view context, std::string_view continuation) {
  const std::size_t end = TextEnd(context);
  ChoiceText choice;
  choice.context = context.substr(0, end);
  choice.continuation = context.substr(end);
  choice.continuation += ' ';
  choice.continuation += continuation;
  choice.characters = Characters(continuation);
  return choice;
}

Result<std::vector<std::string_view>> Choices(const JsonNode& line, std::string_view key) {
  AWQ_ASSIGN(const JsonNode list, line.Get(key));
  if (!list.json().is_array() || list.json().size() < kLeastChoices ||
      list.json().size() > kMostChoices) {
    return list.Wrong(fmt::format("{} to {} choices", kLeastChoices, kMostChoices));
  }
  AWQ_ASSIGN(const std::vector<JsonNode> nodes, list.Array());
  std::vector<std::string_view> choices;
  for (const JsonNode& node : nodes) {
    AWQ_ASSIGN(const std::string_view choice, node.StringView());
    if (Strip(choice).empty()) return node.Wrong("a choice that is not empty");
    choices.push_back(choice);
  }
  return choices;
}

Result<std::string_view> Member(const JsonNode& line, std::string_view key) {
  AWQ_ASSIGN(const JsonNode node, line.Get(key));
  return node.StringView();
}

Status ReadGold(const JsonNode& line, std::string_view key, ItemText& item) {
  AWQ_ASSIGN(const JsonNode node, line.Get(key));
  AWQ_ASSIGN(const std::int64_t gold,
             node.Integer(0, static_cast<std::int64_t>(item.choices.size()) - 1));
  item.gold = static_cast<std::size_t>(gold);
  return {};
}

Result<ItemText> ReadQuestion(const JsonNode& line) {
  AWQ_ASSIGN(const JsonNode query, line.Get("query"));
  AWQ_ASSIGN(const std::string_view question, query.StringView());
  if (!question.starts_with(kQuestion)) {
    return query.Wrong(
        fmt::format("a text that begins with \"{}\", as ARC's and PIQA's do", kQuestion));
  }
  AWQ_ASSIGN(const auto choices, Choices(line, "choices"));
  const std::string context = std::string(question) + "\nAnswer:";
  ItemText item;
  for (std::string_view choice : choices) item.choices.push_back(MakeChoice(context, choice));
  AWQ_TRY(ReadGold(line, "gold", item));
  return item;
}

Result<ItemText> ReadHellaSwag(const JsonNode& line) {
  AWQ_ASSIGN(const std::string_view activity, Member(line, "activity_label"));
  AWQ_ASSIGN(const std::string_view first, Member(line, "ctx_a"));
  AWQ_ASSIGN(const std::string_view second, Member(line, "ctx_b"));
  AWQ_ASSIGN(const auto endings, Choices(line, "endings"));
  const std::string context =
      WithoutMarks(fmt::format("{}: {} {}", activity, first, Capitalize(second)));
  ItemText item;
  for (std::string_view ending : endings) {
    item.choices.push_back(MakeChoice(context, WithoutMarks(ending)));
    if (item.choices.back().characters == 0) {
      return MakeError(ErrorCode::kCorrupt, "{}: endings: one holds nothing but brackets",
                       line.path());
    }
  }
  AWQ_TRY(ReadGold(line, "label", item));
  return item;
}

// Partial evaluation (Trinh and Le 2018): the options differ in the context, and what follows the
// blank is scored.
Result<ItemText> ReadWinogrande(const JsonNode& line) {
  AWQ_ASSIGN(const auto contexts, Choices(line, "context_options"));
  AWQ_ASSIGN(const JsonNode node, line.Get("continuation"));
  AWQ_ASSIGN(const std::string_view continuation, node.StringView());
  const std::string_view scored = Strip(continuation);
  if (scored.empty()) return node.Wrong("a text that is not empty");
  ItemText item;
  for (std::string_view context : contexts) item.choices.push_back(MakeChoice(context, scored));
  AWQ_TRY(ReadGold(line, "gold", item));
  return item;
}

struct FormRow {
  TaskForm form;
  std::string_view name;
  std::string_view tasks;
  Measure reported;
  std::vector<std::string_view> members;
  Result<ItemText> (*read)(const JsonNode& line);
};

const std::array<FormRow, 3>& Forms() {
  static const std::array<FormRow, 3> forms = {
      {{TaskForm::kQuestion,
        "question",
        "ARC, PIQA",
        Measure::kAccNorm,
        {"query", "choices", "gold"},
        &ReadQuestion},
       {TaskForm::kHellaSwag,
        "hellaswag",
        "HellaSwag",
        Measure::kAccNorm,
        {"activity_label", "ctx_a", "ctx_b", "endings", "label"},
        &ReadHellaSwag},
       {TaskForm::kWinogrande,
        "winogrande",
        "Winogrande",
        Measure::kAcc,
        {"context_options", "continuation", "gold"},
        &ReadWinogrande}}};
  return forms;
}

const FormRow& RowOf(TaskForm form) {
  return *std::find_if(Forms().begin(), Forms().end(),
                       [&](const FormRow& row) { return row.form == form; });
}

// The members of a line, as an error message shows them.
std::string MembersOf(const JsonNode& line) {
  constexpr std::size_t kShown = 12;
  std::string members;
  std::size_t count = 0;
  for (const auto& member : line.json().items()) {
    if (++count > kShown) return members + ", ...";
    if (!members.empty()) members += ", ";
    members += text::Shorten(member.key());
  }
  return members.empty() ? "none" : members;
}

}  // namespace

std::string_view Name(TaskForm form) { return RowOf(form).name; }

std::string_view Name(Measure measure) { return measure == Measure::kAcc ? "acc" : "acc_norm"; }

Measure ReportedMeasure(TaskForm form) { return RowOf(form).reported; }

std::string WithoutMarks(std::string_view utf8) {
  return Replace(WithoutBrackets(Replace(Strip(utf8), " [title]", ". ")), "  ", " ");
}

std::string Capitalize(std::string_view utf8) {
  std::string out;
  for (std::size_t i = 0; i < utf8.size();) {
    const text::Utf8Char c = text::DecodeUtf8(utf8, i);
    if (i == 0) {
      text::AppendTitlecase(c.code, out);
    } else {
      text::AppendLowercase(c.code, out);
    }
    i += c.bytes;
  }
  return out;
}

Result<TaskForm> FormOf(const JsonNode& line) {
  if (!line.json().is_object()) return line.Wrong("an object");
  for (const FormRow& row : Forms()) {
    if (std::all_of(row.members.begin(), row.members.end(),
                    [&](std::string_view member) { return line.Find(member).has_value(); })) {
      return row.form;
    }
  }
  std::string known;
  for (const FormRow& row : Forms()) {
    known += known.empty() ? "" : "; or ";
    for (std::string_view member : row.members) known += fmt::format("\"{}\" ", member);
    known += fmt::format("({})", row.tasks);
  }
  return MakeError(ErrorCode::kCorrupt, "{}: a task of no known form; its members: {}; expected {}",
                   line.path(), MembersOf(line), known);
}

Result<ItemText> ReadItem(const JsonNode& line, TaskForm form) { return RowOf(form).read(line); }

}  // namespace awq::eval
