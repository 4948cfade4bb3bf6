// One file from the hub into the cache.
#pragma once

#include <awq/result.h>

#include <atomic>
#include <cstddef>
#include <functional>
#include <string>

#include "hub/cache.h"
#include "hub/client.h"

namespace awq::hub {

// Told how many bytes more are there; fewer, where a file begins anew. Called from any thread.
using Meter = std::function<void(std::ptrdiff_t)>;

struct BlobJob {
  RemoteFile file;
  std::size_t held_bytes = 0;  // of an earlier, interrupted try, as counted before
};

// Goes on where an earlier try was interrupted, tries again where the connection breaks, and lets
// the file count only when its length and its hash are right; what is wrong is fetched once anew.
// On an error what came so far stays for the next run, unless it is wrong.
Status FetchBlob(HubClient& client, const RepositoryCache& cache, const std::string& commit,
                 const BlobJob& job, const Meter& meter, const std::atomic<bool>& stop);

}  // namespace awq::hub
