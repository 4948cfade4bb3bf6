#include "hub/settings.h"

#include <algorithm>
#include <charconv>
#include <string_view>

#include "base/error.h"
#include "hub/url.h"
#include "io/file.h"

namespace awq::hub {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxTokenBytes = 4096;
constexpr long kMaxTimeoutSeconds = 86400;

class Environment {
 public:
  explicit Environment(const Variables& variables) : variables_(variables) {}

  // The first of them that is set to something.
  std::string First(std::initializer_list<const char*> names) const {
    for (const char* name : names) {
      const char* value = variables_(name);
      if (value != nullptr && *value != '\0') return value;
    }
    return {};
  }

  bool IsTrue(const char* name) const {
    std::string value = First({name});
    std::ranges::transform(value, value.begin(),
                           [](char c) { return c >= 'a' && c <= 'z' ? char(c - 'a' + 'A') : c; });
    return value == "1" || value == "ON" || value == "YES" || value == "TRUE";
  }

  // "~" at the start and $NAME or ${NAME} anywhere, as huggingface_hub replaces them.
  std::string Expand(std::string path) const {
    if (path == "~" || path.starts_with("~/")) path.replace(0, 1, First({"HOME"}));
    std::string expanded;
    for (std::size_t i = 0; i < path.size();) {
      const bool braces = path.compare(i, 2, "${") == 0;
      const std::size_t begin = i + (braces ? 2 : 1);
      std::size_t end = begin;
      while (end < path.size() && (path[end] == '_' || std::isalnum(Byte(path[end])) != 0)) ++end;
      const bool closed = !braces || (end < path.size() && path[end] == '}');
      const std::string name = path[i] == '$' && closed ? path.substr(begin, end - begin) : "";
      if (const char* value = name.empty() ? nullptr : variables_(name.c_str()); value != nullptr) {
        expanded += value;
        i = end + (braces ? 1 : 0);
      } else {
        expanded += path[i++];
      }
    }
    return expanded;
  }

 private:
  static int Byte(char c) { return static_cast<unsigned char>(c); }
  const Variables& variables_;
};

Result<fs::path> HomeFolder(const Environment& environment) {
  if (std::string home = environment.First({"HF_HOME"}); !home.empty()) {
    return fs::path(environment.Expand(std::move(home)));
  }
  std::string caches = environment.First({"XDG_CACHE_HOME"});
  if (caches.empty()) {
    const std::string home = environment.First({"HOME"});
    if (home.empty()) {
      return MakeError(ErrorCode::kInvalidArgument,
                       "there is no place for downloaded models: set HF_HOME (or HOME)");
    }
    caches = home + "/.cache";
  }
  return fs::path(environment.Expand(std::move(caches))) / "huggingface";
}

// A token becomes a header's text: nothing in it may end the header.
Result<std::string> CheckToken(std::string token, std::string_view where) {
  const auto is_space = [](char c) { return c == ' ' || (c >= '\t' && c <= '\r'); };
  while (!token.empty() && is_space(token.back())) token.pop_back();
  token.erase(0,
              static_cast<std::size_t>(std::ranges::find_if_not(token, is_space) - token.begin()));
  const auto is_valid = [](char c) { return c > ' ' && c <= '~'; };
  if (token.size() > kMaxTokenBytes || !std::ranges::all_of(token, is_valid)) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "{}: not a token: expected letters, digits and \"_\" in one line", where);
  }
  return token;
}

Result<std::string> ReadToken(const Environment& environment, const fs::path& home) {
  if (environment.IsTrue("HF_HUB_DISABLE_IMPLICIT_TOKEN")) return std::string();
  for (const char* name : {"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"}) {
    AWQ_ASSIGN(std::string token, CheckToken(environment.First({name}), name));
    if (!token.empty()) return token;
  }
  const std::string named = environment.First({"HF_TOKEN_PATH"});
  const fs::path path = named.empty() ? home / "token" : fs::path(environment.Expand(named));
  auto token = io::ReadFile(path, kMaxTokenBytes);
  if (token) return CheckToken(std::move(*token), path.string());
  if (token.error().code == ErrorCode::kNotFound) return std::string();
  return token.error();
}

Result<long> ReadTimeout(const Environment& environment) {
  const std::string text = environment.First({"HF_HUB_DOWNLOAD_TIMEOUT"});
  if (text.empty()) return Settings{}.timeout_seconds;
  long seconds = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), seconds);
  if (failure != std::errc() || end != text.data() + text.size() || seconds < 1 ||
      seconds > kMaxTimeoutSeconds) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "HF_HUB_DOWNLOAD_TIMEOUT={}: expected whole seconds from 1 to {}", text,
                     kMaxTimeoutSeconds);
  }
  return seconds;
}

Result<std::string> ReadEndpoint(const Environment& environment) {
  std::string endpoint = environment.First({"HF_ENDPOINT"});
  if (endpoint.empty()) return Settings{}.endpoint;
  while (endpoint.ends_with('/')) endpoint.pop_back();
  if (const auto url = ParseUrl(endpoint); !url) {
    return MakeError(ErrorCode::kInvalidArgument, "HF_ENDPOINT: {}", url.error().message);
  }
  if (endpoint.find_first_of("?#") != endpoint.npos) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "HF_ENDPOINT={}: expected an address without ? and #", endpoint);
  }
  return endpoint;
}

}  // namespace

Result<Settings> ReadSettings(const Variables& variables) {
  const Environment environment(variables);
  Settings settings;
  AWQ_ASSIGN(settings.endpoint, ReadEndpoint(environment));
  AWQ_ASSIGN(const fs::path home, HomeFolder(environment));
  const std::string cache = environment.First({"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"});
  settings.cache = fs::absolute(cache.empty() ? home / "hub" : fs::path(environment.Expand(cache)));
  AWQ_ASSIGN(settings.token, ReadToken(environment, home));
  settings.offline =
      environment.IsTrue("HF_HUB_OFFLINE") || environment.IsTrue("TRANSFORMERS_OFFLINE");
  AWQ_ASSIGN(settings.timeout_seconds, ReadTimeout(environment));
  settings.authorities = environment.First({"SSL_CERT_FILE"});
  return settings;
}

}  // namespace awq::hub
