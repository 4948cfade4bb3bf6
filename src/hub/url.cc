#include "hub/url.h"

#include <curl/curl.h>

#include <algorithm>
#include <memory>

#include "base/error.h"

namespace awq::hub {
namespace {

constexpr std::size_t kMaxUrlBytes = 16384;

using Handle = std::unique_ptr<CURLU, decltype(&curl_url_cleanup)>;

std::string Part(CURLU* url, CURLUPart part, unsigned flags = 0) {
  char* text = nullptr;
  if (curl_url_get(url, part, &text, flags) != CURLUE_OK) return {};
  std::string copy = text;
  curl_free(text);
  return copy;
}

std::string Shown(std::string_view text) {
  constexpr std::size_t kMostBytes = 200;
  // What follows the ? of a storage's address is as good as a password.
  text = text.substr(0, text.find('?'));
  return std::string(text.substr(0, kMostBytes)) + (text.size() > kMostBytes ? "..." : "");
}

Status SetText(CURLU* url, std::string_view text) {
  const bool plain = std::ranges::all_of(text, [](char c) { return c > ' ' && c <= '~'; });
  if (!plain || text.size() > kMaxUrlBytes ||
      curl_url_set(url, CURLUPART_URL, std::string(text).c_str(), 0) != CURLUE_OK) {
    return MakeError(ErrorCode::kInvalidArgument, "{}: not an address", Shown(text));
  }
  return {};
}

// A name, or an address in brackets: what %XX may have hidden in a host is not read the same way by
// all who read it.
bool IsHost(std::string_view host) {
  return !host.empty() && std::ranges::all_of(host, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
           std::string_view("-._[]:").find(c) != std::string_view::npos;
  });
}

// Who connects reads the text once more: it must not name another host then.
bool ReadsAlike(const std::string& text, std::string_view host) {
  const Handle again(curl_url(), &curl_url_cleanup);
  return curl_url_set(again.get(), CURLUPART_URL, text.c_str(), 0) == CURLUE_OK &&
         Part(again.get(), CURLUPART_HOST) == host;
}

// Also an empty one, http://@HOST, which not all who read it see. `text` is an address as curl has
// it.
bool HasUser(CURLU* handle, std::string_view text) {
  const std::size_t start = text.find("://");
  std::string_view authority = start == text.npos ? "" : text.substr(start + 3);
  authority = authority.substr(0, authority.find_first_of("/?#"));
  return authority.find('@') != authority.npos || !Part(handle, CURLUPART_USER).empty() ||
         !Part(handle, CURLUPART_PASSWORD).empty();
}

Result<Url> Read(CURLU* handle) {
  Url url;
  url.text = Part(handle, CURLUPART_URL);
  const std::string scheme = Part(handle, CURLUPART_SCHEME);
  std::string host = Part(handle, CURLUPART_HOST);
  const bool alike = ReadsAlike(url.text, host);
  std::ranges::transform(host, host.begin(),
                         [](char c) { return c >= 'A' && c <= 'Z' ? char(c - 'A' + 'a') : c; });
  if ((scheme != "http" && scheme != "https") || !IsHost(host) || !alike) {
    return MakeError(ErrorCode::kInvalidArgument, "{}: expected https://HOST or http://HOST",
                     Shown(url.text));
  }
  if (HasUser(handle, url.text)) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "an address on {} has a user's name in it; set HF_TOKEN instead", host);
  }
  url.secure = scheme == "https";
  url.origin = scheme + "://" + host + ":" + Part(handle, CURLUPART_PORT, CURLU_DEFAULT_PORT);
  return url;
}

}  // namespace

Result<Url> ParseUrl(std::string_view text) {
  const Handle handle(curl_url(), &curl_url_cleanup);
  AWQ_TRY(SetText(handle.get(), text));
  return Read(handle.get());
}

Result<Url> FollowLocation(const Url& base, std::string_view location) {
  const Handle handle(curl_url(), &curl_url_cleanup);
  AWQ_TRY(SetText(handle.get(), base.text));
  AWQ_TRY(SetText(handle.get(), location));  // what is relative is so to what was set before
  AWQ_ASSIGN(Url url, Read(handle.get()));
  if (base.secure && !url.secure) {
    return MakeError(ErrorCode::kInvalidArgument, "{}: refused, it is not encrypted (https)",
                     Shown(url.text));
  }
  return url;
}

std::string EscapeUrl(std::string_view text, bool slashes) {
  std::string escaped;
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '-' || c == '.' || c == '_' || c == '~' || (c == '/' && slashes);
    if (plain) {
      escaped += c;
    } else {
      escaped += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
  }
  return escaped;
}

}  // namespace awq::hub
