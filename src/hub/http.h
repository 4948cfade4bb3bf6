// One request over HTTP after the other, by libcurl. Redirects are followed here and not there, so
// that the token goes to the endpoint's own scheme, host and port and to nowhere else.
#pragma once

#include <awq/result.h>

#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "hub/answer.h"
#include "hub/settings.h"

namespace awq::hub {

struct HttpAnswer {
  long status = 0;  // 0: none came
  Headers headers;
  std::string body;              // what no sink took; of a refusal its first 64 KiB
  std::string trouble;           // why the answer is absent or only a part; a later try may mend it
  std::size_t wait_seconds = 0;  // Retry-After

  // Worth another try: broken off, or the server says that it cannot now.
  bool may_pass() const;
  // "503", or what the trouble was.
  std::string Reason() const;
};

struct HttpRequest {
  std::string url;  // on the endpoint
  bool head = false;
  std::size_t offset_bytes = 0;  // of a body: Range
  // Receives the body of an answer with status 200 or 206 as it comes. An error ends the request.
  std::function<Status(const HttpAnswer& answer, std::span<const std::byte> bytes)> sink;
};

// Thread contract: one thread at a time. `stop` may be set from any; a request under way then ends
// with an error.
class HttpClient {
 public:
  HttpClient(const Settings& settings, const std::atomic<bool>& stop);
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  // Follows up to 10 redirects. A HEAD ends where a redirect carries X-Linked-Etag: the hub has
  // then said of the file what it knows. Without a sink a body of more than 16 MiB is an error. So
  // are a redirect to what is not encrypted, a certificate that cannot be trusted, and `stop`.
  Result<HttpAnswer> Send(const HttpRequest& request);

 private:
  struct Exchange;
  Result<HttpAnswer> SendOnce(const HttpRequest& request, const std::string& url, bool with_token);
  void SetUp(const HttpRequest& request, const std::string& url);
  Result<HttpAnswer> Conclude(Exchange& exchange, int code, const std::string& reason);

  const Settings& settings_;
  const std::atomic<bool>& stop_;
  std::unique_ptr<void, void (*)(void*)> handle_;
};

}  // namespace awq::hub
