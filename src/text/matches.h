// Cutting a text by a pattern: what matched, what lay between, and which cuts are kept.
#pragma once

#include <awq/result.h>

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"
#include "text/json_node.h"
#include "text/regex.h"
#include "text/utf8.h"

namespace awq::text {

// {"String": text} or {"Regex": pattern}.
class Pattern {
 public:
  static Result<Pattern> FromJson(const JsonNode& node);

  bool is_regex() const { return regex_.has_value(); }
  const std::string& literal() const { return literal_; }

  Result<std::optional<RegexMatch>> Find(std::string_view text, std::size_t offset,
                                         RegexScratch& scratch) const {
    if (regex_) return regex_->Find(text, offset, scratch);
    const std::size_t start = text.find(literal_, offset);
    if (start == std::string_view::npos) return std::optional<RegexMatch>();
    return std::optional(RegexMatch{start, start + literal_.size()});
  }

 private:
  std::string literal_;
  std::optional<Regex> regex_;
};

// Calls visit(start, end, is_match) -> Status for each match and each gap between matches, in
// order; together they cover the text. An empty match that touches the last match is skipped over.
template <class Visit>
Status VisitMatches(const Pattern& pattern, std::string_view text, RegexScratch& scratch,
                    Visit&& visit) {
  std::size_t covered = 0;
  std::size_t from = 0;
  std::optional<std::size_t> last_end;
  while (from <= text.size() && !text.empty()) {
    AWQ_ASSIGN(const auto match, pattern.Find(text, from, scratch));
    if (!match) break;
    if (match->start == match->end && last_end == match->end) {
      from += from < text.size() ? DecodeUtf8(text, from).bytes : 1;
      continue;
    }
    from = match->end;
    last_end = match->end;
    if (covered != match->start) AWQ_TRY(visit(covered, match->start, false));
    AWQ_TRY(visit(match->start, match->end, true));
    covered = match->end;
  }
  if (covered != text.size()) AWQ_TRY(visit(covered, text.size(), false));
  return {};
}

// The same for single characters that satisfy `is_match`, each a match of its own.
template <class IsMatch, class Visit>
Status VisitCharacters(std::string_view text, IsMatch&& is_match, Visit&& visit) {
  std::size_t covered = 0;
  for (std::size_t i = 0; i < text.size();) {
    const Utf8Char c = DecodeUtf8(text, i);
    if (is_match(c.code)) {
      if (covered != i) AWQ_TRY(visit(covered, i, false));
      AWQ_TRY(visit(i, i + c.bytes, true));
      covered = i + c.bytes;
    }
    i += c.bytes;
  }
  if (covered != text.size()) AWQ_TRY(visit(covered, text.size(), false));
  return {};
}

enum class SplitBehavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };
Result<SplitBehavior> SplitBehaviorFromJson(const JsonNode& node);

// Joins or drops the stretches that a visit gives, and passes the rest on: emit(start, end) ->
// Status. Call Finish() after the last.
template <class Emit>
class Splitter {
 public:
  Splitter(SplitBehavior behavior, Emit emit) : behavior_(behavior), emit_(std::move(emit)) {}

  Status operator()(std::size_t start, std::size_t end, bool is_match) {
    switch (behavior_) {
      case SplitBehavior::kRemoved:
        return is_match ? Status() : emit_(start, end);
      case SplitBehavior::kIsolated:
        return emit_(start, end);
      default:
        break;
    }
    const bool joins = has_pending_ && Joins(is_match);
    previous_match_ = is_match;
    if (joins) {
      end_ = end;
      return {};
    }
    AWQ_TRY(Finish());
    start_ = start;
    end_ = end;
    has_pending_ = true;
    return {};
  }

  Status Finish() {
    if (!has_pending_) return {};
    has_pending_ = false;
    return emit_(start_, end_);
  }

 private:
  bool Joins(bool is_match) const {
    if (behavior_ == SplitBehavior::kContiguous) return is_match == previous_match_;
    if (behavior_ == SplitBehavior::kMergedWithPrevious) return is_match && !previous_match_;
    return !is_match && previous_match_;
  }

  SplitBehavior behavior_;
  Emit emit_;
  bool previous_match_ = false;
  bool has_pending_ = false;
  std::size_t start_ = 0;
  std::size_t end_ = 0;
};

}  // namespace awq::text
