#include "hub/answer.h"

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "hub/name.h"
#include "io/json.h"

namespace awq::hub {
namespace {

constexpr std::size_t kMaxFiles = 100000;

std::string_view Trim(std::string_view text) {
  constexpr std::string_view kSpaces = " \t\r\n";
  const std::size_t begin = text.find_first_not_of(kSpaces);
  if (begin == text.npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpaces) - begin + 1);
}

std::string Lower(std::string_view text) {
  std::string lower(text);
  std::ranges::transform(lower, lower.begin(),
                         [](char c) { return c >= 'A' && c <= 'Z' ? char(c - 'A' + 'a') : c; });
  return lower;
}

std::string TextOf(const nlohmann::json& object, const char* key) {
  const auto found = object.is_object() ? object.find(key) : object.end();
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

}  // namespace

void AddHeader(std::string_view line, Headers& headers) {
  const std::size_t colon = line.find(':');
  if (colon == line.npos || colon == 0) return;
  headers[Lower(line.substr(0, colon))] = Trim(line.substr(colon + 1));
}

std::string_view HeaderOf(const Headers& headers, std::string_view name) {
  const auto found = headers.find(name);
  return found == headers.end() ? std::string_view() : found->second;
}

std::string_view NormalizeEtag(std::string_view etag) {
  if (etag.starts_with("W/")) etag.remove_prefix(2);
  if (etag.size() >= 2 && etag.starts_with('"') && etag.ends_with('"')) {
    etag = etag.substr(1, etag.size() - 2);
  }
  return etag;
}

std::optional<std::size_t> ReadNumber(std::string_view text) {
  std::size_t number = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, failure] = std::from_chars(text.data(), end, number);
  if (text.empty() || failure != std::errc() || stop != end) return std::nullopt;
  return number;
}

std::optional<ContentRange> ReadContentRange(std::string_view text) {
  constexpr std::string_view kUnit = "bytes ";
  const std::size_t dash = text.find('-');
  const std::size_t slash = text.find('/');
  if (!text.starts_with(kUnit) || dash == text.npos || slash == text.npos || slash < dash) {
    return std::nullopt;
  }
  const auto first = ReadNumber(text.substr(kUnit.size(), dash - kUnit.size()));
  const auto last = ReadNumber(text.substr(dash + 1, slash - dash - 1));
  if (!first || !last || *first > *last) return std::nullopt;
  const std::string_view total = text.substr(slash + 1);
  if (total == "*") return ContentRange{*first, std::nullopt};
  const auto total_bytes = ReadNumber(total);
  if (!total_bytes || *last >= *total_bytes) return std::nullopt;
  return ContentRange{*first, total_bytes};
}

Result<RemoteFile> ReadRemoteFile(const Headers& headers, const std::string& name) {
  std::string_view etag = HeaderOf(headers, "x-linked-etag");
  if (etag.empty()) etag = HeaderOf(headers, "etag");
  std::string_view size = HeaderOf(headers, "x-linked-size");
  if (size.empty()) size = HeaderOf(headers, "content-length");
  RemoteFile file{.name = name, .hash = std::string(NormalizeEtag(etag))};
  if (!IsBlobHash(file.hash)) {
    return MakeError(ErrorCode::kCorrupt,
                     "{}: the server gives no hash to check it by: expected the SHA-256 or git's "
                     "SHA-1 as X-Linked-Etag or ETag, found \"{}\"; is HF_ENDPOINT a hub?",
                     name, etag.substr(0, 100));
  }
  const auto size_bytes = ReadNumber(size);
  if (!size_bytes) {
    return MakeError(ErrorCode::kCorrupt,
                     "{}: the server does not say how large it is: expected X-Linked-Size or "
                     "Content-Length, found \"{}\"",
                     name, size.substr(0, 100));
  }
  file.size_bytes = *size_bytes;
  return file;
}

Result<Listing> ReadListing(std::string_view json, const std::string& name) {
  AWQ_ASSIGN(const nlohmann::json info, io::ParseJson(json, name));
  Listing listing{.commit = TextOf(info, "sha"), .files = {}};
  if (!IsCommit(listing.commit)) {
    return MakeError(ErrorCode::kCorrupt, "{}: \"sha\" must be a commit of 40 hexadecimal digits",
                     name);
  }
  const auto siblings = info.find("siblings");
  if (siblings == info.end() || !siblings->is_array() || siblings->size() > kMaxFiles) {
    return MakeError(ErrorCode::kCorrupt, "{}: \"siblings\" must be a list of at most {} files",
                     name, kMaxFiles);
  }
  for (const nlohmann::json& sibling : *siblings) {
    std::string file = TextOf(sibling, "rfilename");
    if (IsSafeFileName(file)) listing.files.push_back(std::move(file));
  }
  std::ranges::sort(listing.files);
  listing.files.erase(std::unique(listing.files.begin(), listing.files.end()), listing.files.end());
  return listing;
}

}  // namespace awq::hub
