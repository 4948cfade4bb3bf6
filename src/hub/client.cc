#include "hub/client.h"

#include <algorithm>
#include <chrono>
#include <thread>

#include "base/error.h"
#include "hub/url.h"

namespace awq::hub {
namespace {

constexpr std::size_t kMaxWaitSeconds = 120;
constexpr auto kLook = std::chrono::milliseconds(50);  // at `stop`

// What the server itself says of a refusal, at a length that people read.
std::string Words(const HttpAnswer& answer) {
  constexpr std::size_t kMostBytes = 200;
  const std::string_view words = HeaderOf(answer.headers, "x-error-message");
  return words.empty() ? std::string() : fmt::format(" (\"{}\")", words.substr(0, kMostBytes));
}

}  // namespace

bool Patience::Wait(const HttpAnswer& answer) {
  if (++failures_ >= tries_ || answer.wait_seconds > kMaxWaitSeconds) return false;
  const std::size_t seconds =
      std::max(std::size_t{1} << std::min(failures_ - 1, 4), answer.wait_seconds);
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
  while (!stop_ && std::chrono::steady_clock::now() < end) std::this_thread::sleep_for(kLook);
  return !stop_;
}

HubClient::HubClient(const Settings& settings, const ModelName& name, const std::atomic<bool>& stop)
    : settings_(settings), name_(name), stop_(stop), http_(settings, stop) {}

std::string HubClient::FileUrl(const std::string& commit, const std::string& file) const {
  return fmt::format("{}/{}/resolve/{}/{}", settings_.endpoint, name_.id(), commit,
                     EscapeUrl(file, /*slashes=*/true));
}

Result<HttpAnswer> HubClient::Ask(const HttpRequest& request, Patience patience,
                                  const std::string& file) {
  for (;;) {
    AWQ_ASSIGN(HttpAnswer answer, http_.Send(request));
    if (!answer.may_pass()) {
      if (answer.status == 200) return answer;
      return Refusal(answer, file);
    }
    if (!patience.Wait(answer)) return Refusal(answer, file);
  }
}

Result<Listing> HubClient::List(Patience patience) {
  HttpRequest request;
  request.url = fmt::format("{}/api/models/{}/revision/{}", settings_.endpoint, name_.id(),
                            EscapeUrl(name_.revision, /*slashes=*/false));
  AWQ_ASSIGN(const HttpAnswer answer, Ask(request, patience, ""));
  AWQ_ASSIGN(Listing listing, ReadListing(answer.body, request.url));
  if (IsCommit(name_.revision) && listing.commit != name_.revision) {
    return MakeError(ErrorCode::kCorrupt, "{}: asked for one commit, it describes {}", request.url,
                     listing.commit);
  }
  return listing;
}

Result<RemoteFile> HubClient::Describe(const std::string& commit, const std::string& file) {
  HttpRequest request;
  request.url = FileUrl(commit, file);
  request.head = true;
  Patience patience(stop_);
  for (;;) {
    AWQ_ASSIGN(const HttpAnswer answer, http_.Send(request));
    if (answer.may_pass() && patience.Wait(answer)) continue;
    // A redirect that says what the file is counts, too.
    if (answer.may_pass() || answer.status < 200 || answer.status >= 400) {
      return Refusal(answer, file);
    }
    const std::string_view is = HeaderOf(answer.headers, "x-repo-commit");
    if (!is.empty() && is != commit) {
      return MakeError(ErrorCode::kCorrupt, "{}: expected commit {}, the server has {}",
                       request.url, commit, is.substr(0, 100));
    }
    return ReadRemoteFile(answer.headers, file);
  }
}

Result<HttpAnswer> HubClient::Read(const std::string& commit, const std::string& file,
                                   std::size_t offset_bytes, decltype(HttpRequest::sink) sink) {
  return http_.Send({.url = FileUrl(commit, file),
                     .head = false,
                     .offset_bytes = offset_bytes,
                     .sink = std::move(sink)});
}

Error HubClient::Refusal(const HttpAnswer& answer, const std::string& file) const {
  const std::string what = file.empty() ? name_.text() : name_.text() + ": " + file;
  const std::string page = settings_.endpoint + "/" + name_.id();
  const std::string_view code = HeaderOf(answer.headers, "x-error-code");
  if (answer.may_pass()) {
    return MakeError(ErrorCode::kIo, "{}: {} gives no answer: {}{}; try again later", what,
                     settings_.endpoint, answer.Reason(),
                     answer.wait_seconds > 0
                         ? fmt::format(", and to wait {} seconds", answer.wait_seconds)
                         : "");
  }
  if (code == "GatedRepo" || answer.status == 403) {
    return MakeError(ErrorCode::kNotFound,
                     "{}: it is gated, and {} answers {}{}: accept the licence at {}, {}", what,
                     settings_.endpoint, answer.status, Words(answer), page,
                     settings_.token.empty() ? "and set HF_TOKEN to a token of your account"
                                             : "with the account of your HF_TOKEN");
  }
  if (answer.status == 401) {
    return MakeError(
        ErrorCode::kNotFound,
        "{}: {} answers 401{}: there is no such model, or it is private or gated{}", what,
        settings_.endpoint, Words(answer),
        settings_.token.empty()
            ? fmt::format(": check the name; accept its licence at {} and set HF_TOKEN", page)
            : ": check the name, and that HF_TOKEN is valid and may read it");
  }
  if (answer.status == 404 && (code == "EntryNotFound" || !file.empty())) {
    return MakeError(ErrorCode::kNotFound, "{}: {} has no such file at this revision", what,
                     settings_.endpoint);
  }
  if (answer.status == 404 && code == "RevisionNotFound") {
    return MakeError(ErrorCode::kNotFound, "{}: {} has no branch, tag or commit {}", name_.id(),
                     settings_.endpoint, name_.revision);
  }
  if (answer.status == 404) {
    return MakeError(ErrorCode::kNotFound, "{}: {} has no such model", what, settings_.endpoint);
  }
  return MakeError(ErrorCode::kNotFound, "{}: {} answers {}{}", what, settings_.endpoint,
                   answer.status, Words(answer));
}

}  // namespace awq::hub
