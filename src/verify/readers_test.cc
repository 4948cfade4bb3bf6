// The table of docs/verify.md is that of the rows.
#include "verify/readers.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "testing/paths.h"
#include "verify/facts.h"

namespace awq::verify {
namespace {

// Program and release, format, bits, groups.
using Row = std::vector<std::string>;

std::vector<std::string> Split(const std::string& text, const std::string& by) {
  std::vector<std::string> parts;
  std::size_t first = 0;
  for (std::size_t end; (end = text.find(by, first)) != std::string::npos;
       first = end + by.size()) {
    parts.push_back(text.substr(first, end - first));
  }
  parts.push_back(text.substr(first));
  return parts;
}

std::string Trimmed(const std::string& text) {
  const std::size_t first = text.find_first_not_of(' ');
  if (first == std::string::npos) return "";
  return text.substr(first, text.find_last_not_of(' ') + 1 - first);
}

// "2 to 8" for numbers of which each follows the one before it, if there are more than four.
template <class Number, class Next>
std::string List(std::vector<Number> numbers, const Next& next) {
  std::string text;
  if (!numbers.empty() && numbers.front() == 0) {
    text = numbers.size() > 1 ? "-1, " : "-1";
    numbers.erase(numbers.begin());
  }
  bool is_run = numbers.size() > 4;
  for (std::size_t i = 1; i < numbers.size(); ++i) {
    is_run = is_run && numbers[i] == next(numbers[i - 1]);
  }
  if (is_run) return text + fmt::format("{} to {}", numbers.front(), numbers.back());
  return text + fmt::format("{}", fmt::join(numbers, ", "));
}

std::string Bits(const Terms& terms) {
  const auto list = [](const std::vector<int>& bits) {
    return List(bits, [](int bit) { return bit + 1; });
  };
  if (terms.symmetric_bits.empty()) return list(terms.asymmetric_bits) + " z";
  if (terms.asymmetric_bits.empty()) return list(terms.symmetric_bits) + " s";
  std::vector<int> symmetric_only;
  std::ranges::set_difference(terms.symmetric_bits, terms.asymmetric_bits,
                              std::back_inserter(symmetric_only));
  std::string text = list(terms.asymmetric_bits) + " z s";
  if (!symmetric_only.empty()) text += ", " + list(symmetric_only) + " s";
  return text;
}

std::string Groups(const Terms& terms) {
  if (terms.group_sizes.empty()) return "all";
  return List(terms.group_sizes, [](std::size_t size) { return 2 * size; });
}

std::vector<Row> RowsOfTheCode() {
  std::vector<Row> rows;
  for (const Reader& reader : Readers()) {
    for (const Terms& terms : reader.terms) {
      if (terms.format == kPlain) continue;
      const std::string program = reader.name == "llama.cpp"
                                      ? std::string(reader.name)
                                      : fmt::format("{} {}", reader.name, reader.version);
      if (terms.format == kGguf) {
        rows.push_back({program, "gguf", "", ""});
      } else {
        rows.push_back({program, std::string(terms.format), Bits(terms), Groups(terms)});
      }
    }
  }
  return rows;
}

// Cells that are left empty are as above.
std::vector<Row> RowsOfTheDocs() {
  std::ifstream file(testing::SourceDir() / "docs" / "verify.md");
  std::vector<Row> rows;
  std::string program;
  std::vector<std::string> formats;
  bool is_table = false;
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("| program | format | bits |")) is_table = true;
    if (!is_table || line.starts_with("| program") || line.starts_with("|---")) continue;
    if (!line.starts_with("|")) break;
    std::vector<std::string> cells = Split(line, "|");
    for (std::string& cell : cells) cell = Trimmed(cell);
    if (!cells[1].empty()) program = cells[1];
    if (!cells[2].empty()) formats = Split(cells[2], ", ");
    for (const std::string& format : formats) {
      const bool is_gguf = format == "gguf";
      rows.push_back({program, format, is_gguf ? "" : cells[3], is_gguf ? "" : cells[4]});
    }
  }
  return rows;
}

TEST(Readers, AreWhatTheDocsSay) {
  std::vector<Row> code = RowsOfTheCode();
  std::vector<Row> docs = RowsOfTheDocs();
  std::ranges::sort(code);
  std::ranges::sort(docs);
  EXPECT_GT(docs.size(), 20U);
  EXPECT_EQ(code, docs);
}

}  // namespace
}  // namespace awq::verify
