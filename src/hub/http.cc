#include "hub/http.h"

#include <awq/version.h>
#include <curl/curl.h>

#include <algorithm>
#include <array>
#include <exception>
#include <optional>
#include <utility>

#include "base/check.h"
#include "base/error.h"
#include "hub/url.h"

namespace awq::hub {
namespace {

constexpr std::size_t kMaxBodyBytes = std::size_t{16} << 20;
constexpr std::size_t kMaxRefusalBytes = std::size_t{64} << 10;
constexpr std::size_t kMaxHeaderBytes = std::size_t{256} << 10;
constexpr int kMaxRedirects = 10;
constexpr long kBufferBytes = 512L << 10;
constexpr long kLeastBytesPerSecond = 100;
constexpr long kMostSmallTimeouts = 6;  // an answer that is no file may take so many time-outs

// A header's text that is ours to build.
class HeaderList {
 public:
  HeaderList() = default;
  ~HeaderList() { curl_slist_free_all(list_); }
  HeaderList(const HeaderList&) = delete;
  HeaderList& operator=(const HeaderList&) = delete;
  void Add(const std::string& line) {
    curl_slist* longer = curl_slist_append(list_, line.c_str());
    AWQ_CHECK(longer != nullptr);
    list_ = longer;
  }
  curl_slist* get() const { return list_; }

 private:
  curl_slist* list_ = nullptr;
};

bool IsRedirect(long status) {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

void StartCurl() {
  static const CURLcode started = curl_global_init(CURL_GLOBAL_DEFAULT);
  AWQ_CHECK(started == CURLE_OK);
}

template <class Value>
void Set(CURL* handle, CURLoption option, Value value) {
  AWQ_CHECK(curl_easy_setopt(handle, option, value) == CURLE_OK);
}

bool IsCertificateFailure(int code) {
  return code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE ||
         code == CURLE_SSL_CERTPROBLEM || code == CURLE_SSL_ISSUER_ERROR;
}

}  // namespace

bool HttpAnswer::may_pass() const {
  return !trouble.empty() || status == 408 || status == 429 || status == 500 || status == 502 ||
         status == 503 || status == 504;
}

std::string HttpAnswer::Reason() const {
  return trouble.empty() ? fmt::format("it answers {}", status) : trouble;
}

// What libcurl's callbacks work on during one request.
struct HttpClient::Exchange {
  const HttpRequest& request;
  const std::atomic<bool>& stop;
  CURL* handle;
  HttpAnswer answer;
  std::size_t header_bytes = 0;
  std::optional<Error> error;

  bool TakesBody() const { return request.sink && (answer.status == 200 || answer.status == 206); }

  bool OnHeader(std::string_view line) {
    header_bytes += line.size();
    if (header_bytes > kMaxHeaderBytes) {
      error = MakeError(ErrorCode::kCorrupt, "the answer's header is larger than {} bytes",
                        kMaxHeaderBytes);
      return false;
    }
    if (line.starts_with("HTTP/")) {
      answer.headers.clear();  // those before were of an interim answer
    } else {
      AddHeader(line, answer.headers);
    }
    return true;
  }

  bool OnBody(std::span<const std::byte> bytes) {
    if (answer.status == 0) curl_easy_getinfo(handle, CURLINFO_RESPONSE_CODE, &answer.status);
    if (TakesBody()) {
      const Status taken = request.sink(answer, bytes);
      if (!taken) error = taken.error();
      return taken.ok();
    }
    const bool refusal = answer.status >= 300;
    const std::size_t limit_bytes = refusal ? kMaxRefusalBytes : kMaxBodyBytes;
    const std::size_t room = limit_bytes - answer.body.size();
    answer.body.append(reinterpret_cast<const char*>(bytes.data()), std::min(room, bytes.size()));
    if (bytes.size() <= room) return true;
    if (!refusal) {
      error = MakeError(ErrorCode::kCorrupt, "the answer is larger than the {} bytes allowed here",
                        limit_bytes);
    }
    return false;
  }

  // No exception may pass through libcurl.
  template <class Take>
  std::size_t Guarded(std::size_t bytes, Take take) {
    try {
      return take() ? bytes : 0;
    } catch (const std::exception& failure) {
      error = MakeError(ErrorCode::kInternal, "while reading an answer: {}", failure.what());
      return 0;
    }
  }
  static std::size_t Header(char* data, std::size_t size, std::size_t count, void* self) {
    auto* const exchange = static_cast<Exchange*>(self);
    return exchange->Guarded(size * count, [&] {
      return exchange->OnHeader({data, size * count});
    });
  }
  static std::size_t Body(char* data, std::size_t size, std::size_t count, void* self) {
    auto* const exchange = static_cast<Exchange*>(self);
    return exchange->Guarded(size * count, [&] {
      return exchange->OnBody(std::as_bytes(std::span(data, size * count)));
    });
  }
  static int Progress(void* self, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
    return static_cast<Exchange*>(self)->stop ? 1 : 0;
  }
};

HttpClient::HttpClient(const Settings& settings, const std::atomic<bool>& stop)
    : settings_(settings), stop_(stop), handle_(nullptr, &curl_easy_cleanup) {
  StartCurl();
  handle_.reset(curl_easy_init());
  AWQ_CHECK(handle_ != nullptr);
}

HttpClient::~HttpClient() = default;

Result<HttpAnswer> HttpClient::Send(const HttpRequest& request) {
  AWQ_ASSIGN(const Url endpoint, ParseUrl(settings_.endpoint));
  AWQ_ASSIGN(Url url, ParseUrl(request.url));
  for (int redirects = 0;; ++redirects) {
    const bool with_token = url.origin == endpoint.origin;
    AWQ_ASSIGN(HttpAnswer answer, SendOnce(request, url.text, with_token));
    const std::string_view location = HeaderOf(answer.headers, "location");
    if (!IsRedirect(answer.status) || location.empty()) return answer;
    if (request.head && !HeaderOf(answer.headers, "x-linked-etag").empty()) return answer;
    if (redirects == kMaxRedirects) {
      return MakeError(ErrorCode::kIo, "{}: redirected more than {} times", url.origin,
                       kMaxRedirects);
    }
    auto next = FollowLocation(url, location);
    if (!next) {
      return MakeError(ErrorCode::kIo, "{} redirects to {}", url.origin, next.error().message);
    }
    url = std::move(*next);
  }
}

// What does not depend on the exchange.
void HttpClient::SetUp(const HttpRequest& request, const std::string& url) {
  curl_easy_reset(handle_.get());  // connections stay
  Set(handle_.get(), CURLOPT_URL, url.c_str());
  Set(handle_.get(), CURLOPT_USERAGENT, fmt::format("awq.cpp/{}", kVersion).c_str());
  Set(handle_.get(), CURLOPT_NOBODY, request.head ? 1L : 0L);
  if (request.offset_bytes > 0) {
    Set(handle_.get(), CURLOPT_RANGE, fmt::format("{}-", request.offset_bytes).c_str());
  }
  Set(handle_.get(), CURLOPT_NOSIGNAL, 1L);
  // Refused where a request before this one has ended early; it only makes fewer reads.
  curl_easy_setopt(handle_.get(), CURLOPT_BUFFERSIZE, kBufferBytes);
  Set(handle_.get(), CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
  Set(handle_.get(), CURLOPT_CONNECTTIMEOUT, settings_.timeout_seconds);
  Set(handle_.get(), CURLOPT_LOW_SPEED_LIMIT, kLeastBytesPerSecond);
  Set(handle_.get(), CURLOPT_LOW_SPEED_TIME, settings_.timeout_seconds);
  if (!request.sink) {
    Set(handle_.get(), CURLOPT_TIMEOUT, kMostSmallTimeouts * settings_.timeout_seconds);
  }
  if (!settings_.authorities.empty()) {
    Set(handle_.get(), CURLOPT_CAINFO, settings_.authorities.c_str());
  }
}

Result<HttpAnswer> HttpClient::SendOnce(const HttpRequest& request, const std::string& url,
                                        bool with_token) {
  CURL* const handle = handle_.get();
  SetUp(request, url);
  HeaderList headers;
  headers.Add("Accept-Encoding: identity");  // sizes and offsets are those of the file itself
  if (with_token && !settings_.token.empty()) {
    headers.Add("Authorization: Bearer " + settings_.token);
  }
  std::array<char, CURL_ERROR_SIZE> reason{};
  Exchange exchange{.request = request, .stop = stop_, .handle = handle, .answer = {}, .error = {}};
  Set(handle, CURLOPT_HTTPHEADER, headers.get());
  Set(handle, CURLOPT_ERRORBUFFER, reason.data());
  Set(handle, CURLOPT_HEADERFUNCTION, &Exchange::Header);
  Set(handle, CURLOPT_HEADERDATA, &exchange);
  Set(handle, CURLOPT_WRITEFUNCTION, &Exchange::Body);
  Set(handle, CURLOPT_WRITEDATA, &exchange);
  Set(handle, CURLOPT_NOPROGRESS, 0L);
  Set(handle, CURLOPT_XFERINFOFUNCTION, &Exchange::Progress);
  Set(handle, CURLOPT_XFERINFODATA, &exchange);
  const CURLcode code = curl_easy_perform(handle);
  return Conclude(exchange, code, reason[0] != '\0' ? reason.data() : curl_easy_strerror(code));
}

Result<HttpAnswer> HttpClient::Conclude(Exchange& exchange, int code, const std::string& reason) {
  HttpAnswer& answer = exchange.answer;
  curl_easy_getinfo(handle_.get(), CURLINFO_RESPONSE_CODE, &answer.status);
  if (exchange.error) return *exchange.error;
  if (stop_) return MakeError(ErrorCode::kIo, "stopped");
  if (IsCertificateFailure(code)) {
    return MakeError(ErrorCode::kIo,
                     "{}: {}; if a proxy of yours stands between, set SSL_CERT_FILE to the "
                     "certificates to trust",
                     settings_.endpoint, reason);
  }
  // A refusal's body is cut on purpose.
  const bool cut = code == CURLE_WRITE_ERROR && answer.status >= 300;
  if (code != CURLE_OK && !cut) answer.trouble = reason;
  curl_off_t wait_seconds = 0;
  curl_easy_getinfo(handle_.get(), CURLINFO_RETRY_AFTER, &wait_seconds);
  answer.wait_seconds = static_cast<std::size_t>(std::max<curl_off_t>(0, wait_seconds));
  return std::move(answer);
}

}  // namespace awq::hub
