// What a hub is asked about one repository: what it holds, what a file is, the file itself.
#pragma once

#include <awq/result.h>

#include <atomic>
#include <string>

#include "hub/answer.h"
#include "hub/http.h"
#include "hub/name.h"
#include "hub/settings.h"

namespace awq::hub {

// How often to try again, and how long to wait before: 1, 2, 4, 8, 16 seconds, or as long as the
// server asks for, up to 2 minutes.
class Patience {
 public:
  explicit Patience(const std::atomic<bool>& stop, int tries = 6) : stop_(stop), tries_(tries) {}
  // False at its end, at once; else true when it is time for the next try.
  bool Wait(const HttpAnswer& answer);
  // Something was won: the count begins anew.
  void Renew() { failures_ = 0; }

 private:
  const std::atomic<bool>& stop_;
  int tries_;
  int failures_ = 0;
};

// Error codes: kIo where the hub cannot be reached or cannot answer now, kNotFound where it refuses
// or has no such thing; messages say whether it is the model, the revision or the file, and what to
// do. Thread contract: as HttpClient.
class HubClient {
 public:
  HubClient(const Settings& settings, const ModelName& name, const std::atomic<bool>& stop);

  Result<Listing> List(Patience patience);
  Result<RemoteFile> Describe(const std::string& commit, const std::string& file);
  // One try, from an offset on; the answer may be any.
  Result<HttpAnswer> Read(const std::string& commit, const std::string& file,
                          std::size_t offset_bytes, decltype(HttpRequest::sink) sink);
  // What an answer that is neither good nor may pass means; `file` is empty for the repository.
  Error Refusal(const HttpAnswer& answer, const std::string& file) const;

 private:
  Result<HttpAnswer> Ask(const HttpRequest& request, Patience patience, const std::string& file);
  std::string FileUrl(const std::string& commit, const std::string& file) const;

  const Settings& settings_;
  const ModelName& name_;
  const std::atomic<bool>& stop_;
  HttpClient http_;
};

}  // namespace awq::hub
