#include "calib/text_source.h"

#include <algorithm>
#include <cctype>
#include <nlohmann/json.hpp>
#include <string_view>

#include "base/error.h"
#include "io/file.h"
#include "io/json.h"
#include "text/utf8.h"

namespace awq::calib {
namespace {

constexpr std::size_t kLargestFile = std::size_t{2} << 30;

// JSON lines need more than the text in them; read again, further, where this was not enough.
constexpr std::size_t kJsonBytesPerTextByte = 4;

// By the first line that is not blank, whatever the file's name: no calibration text begins with
// an object that has a "text".
bool IsJsonLines(std::string_view content) {
  const std::size_t first = content.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos || content[first] != '{') return false;
  const auto row = io::ParseJson(content.substr(first, content.find('\n', first) - first), "line");
  return row.ok() && row->is_object() && row->contains("text");
}

bool IsNamedJson(const std::filesystem::path& path) {
  std::string name = path.filename().string();
  std::transform(name.begin(), name.end(), name.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  if (name.ends_with(".gz")) name.resize(name.size() - 3);
  return name.ends_with(".jsonl") || name.ends_with(".json");
}

bool HoldsJsonLines(const std::filesystem::path& path, std::string_view start) {
  return IsNamedJson(path) || IsJsonLines(start);
}

Result<std::string> JoinTextFields(std::string_view lines, const std::string& name,
                                   std::size_t limit_bytes) {
  std::string joined;
  std::size_t number = 0;
  while (!lines.empty() && joined.size() < limit_bytes) {
    ++number;
    const std::string_view line = lines.substr(0, lines.find('\n'));
    lines.remove_prefix(std::min(lines.size(), line.size() + 1));
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    const auto row = io::ParseJson(line, "line");
    const auto text_of = [](const nlohmann::json& json) {
      const auto text = json.is_object() ? json.find("text") : json.end();
      return text != json.end() && text->is_string() ? &*text : nullptr;
    };
    const nlohmann::json* text = row ? text_of(*row) : nullptr;
    if (text == nullptr) {
      return MakeError(ErrorCode::kInvalidArgument,
                       "{}:{}: expected a line that is a JSON object with a string \"text\", found "
                       "{}; one object a line, or give the text itself in a .txt file",
                       name, number,
                       row ? "other JSON" : "no JSON, or more or less than one value");
    }
    if (!joined.empty()) joined += "\n\n";
    joined += text->get_ref<const std::string&>();
  }
  return joined;
}

Result<std::string> ReadJsonLines(const std::filesystem::path& path, std::size_t limit_bytes) {
  for (std::size_t bytes = limit_bytes;;) {
    bytes = std::min(bytes * kJsonBytesPerTextByte, kLargestFile);
    AWQ_ASSIGN(io::ContentStart file, io::ReadFileStart(path, bytes));
    // What is behind the last line break may be half a line.
    if (!file.whole) file.content.resize(file.content.rfind('\n') + 1);
    AWQ_ASSIGN(std::string text, JoinTextFields(file.content, path.string(), limit_bytes));
    if (file.whole || text.size() >= limit_bytes || bytes == kLargestFile) return text;
  }
}

// Not inside a character of UTF-8.
void CutAtCharacter(std::string& text, std::size_t limit_bytes) {
  if (text.size() <= limit_bytes) return;
  while (limit_bytes > 0 && (static_cast<unsigned char>(text[limit_bytes]) & 0xc0U) == 0x80U) {
    --limit_bytes;
  }
  text.resize(limit_bytes);
}

// UTF-8 without zero bytes; one wrong character in a hundred bytes is let pass.
Status CheckIsText(std::string_view text, const std::filesystem::path& path) {
  std::size_t wrong = 0;
  for (std::size_t i = 0; i < text.size();) {
    if (text[i] == '\0') wrong = text.size();
    const text::Utf8Step step = text::StepUtf8(text, i);
    if (step.kind != text::Utf8Kind::kValid) ++wrong;
    i += step.bytes;
    if (wrong > text.size() / 100) {
      return MakeError(ErrorCode::kInvalidArgument,
                       "{}: is no UTF-8 text (byte {}); give a text file", path.string(),
                       i - step.bytes);
    }
  }
  return {};
}

}  // namespace

Result<std::string> ReadWholeText(const std::filesystem::path& path) {
  AWQ_ASSIGN(std::string text, io::ReadFile(path));
  if (HoldsJsonLines(path, text)) {
    AWQ_ASSIGN(text, JoinTextFields(text, path.string(), std::string::npos));
  }
  AWQ_TRY(CheckIsText(text, path));
  return text;
}

Result<std::string> ReadCalibrationText(const std::filesystem::path& path,
                                        std::size_t limit_bytes) {
  AWQ_ASSIGN(io::ContentStart file, io::ReadFileStart(path, limit_bytes));
  std::string text = std::move(file.content);
  if (HoldsJsonLines(path, text)) {
    AWQ_ASSIGN(text, ReadJsonLines(path, limit_bytes));
  }
  AWQ_TRY(CheckIsText(text, path));
  CutAtCharacter(text, limit_bytes);
  if (text.find_first_not_of(" \t\r\n") == std::string::npos) {
    return MakeError(ErrorCode::kInvalidArgument, "{}: holds no text; give a file with text",
                     path.string());
  }
  return text;
}

}  // namespace awq::calib
