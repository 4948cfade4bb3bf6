// From a line of a task's file to the texts that a model is asked about, as lm-evaluation-harness
// (EleutherAI, version 0.4) builds them for its tasks arc_easy, hellaswag, piqa and winogrande
// without examples before the question.
#pragma once

#include <awq/result.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "text/json_node.h"

namespace awq::eval {

// Told by a line's members.
enum class TaskForm : std::uint8_t {
  kQuestion,    // query ("Question: ..."), choices, gold: ARC, PIQA
  kHellaSwag,   // activity_label, ctx_a, ctx_b, endings, label
  kWinogrande,  // context_options, continuation, gold
};

enum class Measure : std::uint8_t {
  kAcc,      // the likeliest choice is the gold one
  kAccNorm,  // the choice of the largest log-likelihood per character is
};

std::string_view Name(TaskForm form);    // "question", "hellaswag", "winogrande"
std::string_view Name(Measure measure);  // "acc", "acc_norm"
// What is published of such tasks: acc of Winogrande, whose choices all end alike, else acc_norm.
Measure ReportedMeasure(TaskForm form);

// What a model is asked of one choice: how likely is `continuation` after `context`?
struct ChoiceText {
  std::string context;         // without whitespace at its end
  std::string continuation;    // with it, and with the space between the two
  std::size_t characters = 0;  // code points of the choice, that space not counted
};

struct ItemText {
  std::vector<ChoiceText> choices;  // 2 to 26
  std::size_t gold = 0;
};

// kCorrupt: a line in no known form; names the members found and those expected.
Result<TaskForm> FormOf(const text::JsonNode& line);
// kCorrupt: a member of the wrong kind, an empty choice, too few or too many, a gold beyond them.
Result<ItemText> ReadItem(const text::JsonNode& line, TaskForm form);

// HellaSwag's texts without WikiHow's marks: " [title]" becomes ". ", other brackets go.
std::string WithoutMarks(std::string_view utf8);
// Python's capitalize: the first character in title case, the others in lower case (one character
// for one; Python has two for a leading sharp s, and a final sigma).
std::string Capitalize(std::string_view utf8);

}  // namespace awq::eval
