// What Python's str does, on UTF-8. Positions and lengths that callers see are in code points.
#pragma once

#include <awq/result.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/jinja/meter.h"

namespace awq::text::jinja {

bool IsPythonSpace(char32_t code);  // str.isspace

enum class Side : std::uint8_t { kBoth, kLeft, kRight };
// Without `characters`: whitespace.
std::string_view Strip(std::string_view text, Side side,
                       std::optional<std::string_view> characters = std::nullopt);

// The first place at or after `from`, in bytes; npos if there is none. Time is linear.
std::size_t FindText(std::string_view text, std::string_view part, std::size_t from = 0);

// At most `limit` cuts; a negative limit is none. Without a separator: at runs of whitespace.
Result<std::vector<std::string>> Split(Meter& meter, std::string_view text,
                                       std::optional<std::string_view> separator,
                                       std::int64_t limit);
Result<std::vector<std::string>> SplitFromRight(Meter& meter, std::string_view text,
                                                std::optional<std::string_view> separator,
                                                std::int64_t limit);
std::vector<std::string> SplitLines(std::string_view text, bool keep_ends);

// At most `limit` times; a negative limit is none.
Result<std::string> Replace(Meter& meter, std::string_view text, std::string_view old,
                            std::string_view fresh, std::int64_t limit);

// Simple case mappings of Unicode, with SS for a sharp s.
std::string Upper(std::string_view text);
std::string Lower(std::string_view text);
std::string Capitalize(std::string_view text);
std::string Title(std::string_view text);  // str.title: a word begins after what has no case
bool IsCased(char32_t code);
bool IsUpper(char32_t code);
bool IsLower(char32_t code);

// Where each character begins, in bytes, and the end.
std::vector<std::size_t> CharacterOffsets(std::string_view text);

// Python's slice of `length` items: the indices that it takes, in order. Error: a step of 0.
Result<std::vector<std::size_t>> SliceIndices(std::size_t length, std::optional<std::int64_t> start,
                                              std::optional<std::int64_t> stop,
                                              std::optional<std::int64_t> step);

std::string EscapeHtml(std::string_view text);

}  // namespace awq::text::jinja
