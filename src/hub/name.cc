#include "hub/name.h"

#include <algorithm>

#include "base/error.h"

namespace awq::hub {
namespace {

constexpr std::size_t kMaxIdBytes = 96;
constexpr std::size_t kMaxPartBytes = 255;   // what file systems allow
constexpr std::size_t kMaxPathBytes = 1024;  // leaves room for the cache's own folders
constexpr std::size_t kMaxDepth = 16;

bool IsHexOf(std::string_view text, std::size_t digits) {
  return text.size() == digits && text.find_first_not_of("0123456789abcdef") == text.npos;
}

bool IsLetterOrDigit(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

// One part of ORG/NAME.
bool IsIdPart(std::string_view part) {
  const auto may_end = [](char c) { return IsLetterOrDigit(c) || c == '_'; };
  return !part.empty() && may_end(part.front()) && may_end(part.back()) &&
         std::ranges::all_of(part, [&](char c) { return may_end(c) || c == '-' || c == '.'; }) &&
         part.find("--") == part.npos && part.find("..") == part.npos;
}

// Git's rules for references forbid most of what a shell or a URL would make something else of.
bool IsRevision(std::string_view text) {
  return IsSafeFileName(text) && text.find_first_of(" ~^:?*[") == text.npos &&
         text.find("..") == text.npos && text.find("@{") == text.npos && text.front() != '-';
}

}  // namespace

Result<ModelName> ParseModelName(std::string_view text) {
  const std::size_t at = text.find('@');
  const std::string_view id = text.substr(0, at);
  const std::size_t slash = id.find('/');
  ModelName name;
  if (slash != id.npos) {
    name.org = id.substr(0, slash);
    name.name = id.substr(slash + 1);
  }
  if (id.size() > kMaxIdBytes || !IsIdPart(name.org) || !IsIdPart(name.name) ||
      name.name.ends_with(".git")) {
    return MakeError(
        ErrorCode::kInvalidArgument,
        "{}: not the name of a model on a hub: expected ORG/NAME or ORG/NAME@REVISION, "
        "in letters, digits, \"-\", \"_\" and \".\", at most {} bytes",
        text, kMaxIdBytes);
  }
  if (at == text.npos) return name;
  name.revision = text.substr(at + 1);
  if (!IsRevision(name.revision)) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "{}: what follows the @ must be a branch, a tag or a commit", text);
  }
  return name;
}

bool IsSafeFileName(std::string_view name) {
  if (name.empty() || name.size() > kMaxPathBytes) return false;
  const auto unsafe = [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte < 0x20 || byte == 0x7f || c == '\\';
  };
  if (std::ranges::any_of(name, unsafe)) return false;
  std::size_t depth = 0;
  for (std::size_t begin = 0; begin <= name.size();) {
    const std::size_t end = std::min(name.find('/', begin), name.size());
    const std::string_view part = name.substr(begin, end - begin);
    if (part.empty() || part == "." || part == ".." || part.size() > kMaxPartBytes) return false;
    if (++depth > kMaxDepth) return false;
    begin = end + 1;
  }
  return true;
}

bool IsCommit(std::string_view text) { return IsHexOf(text, 40); }

bool IsBlobHash(std::string_view text) { return IsHexOf(text, 40) || IsHexOf(text, 64); }

}  // namespace awq::hub
