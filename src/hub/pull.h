// A model by its name: from the cache where it is whole, else from the hub into the cache.
#pragma once

#include <awq/progress.h>
#include <awq/result.h>

#include <cstddef>
#include <filesystem>
#include <string>
#include <vector>

#include "hub/name.h"
#include "hub/settings.h"

namespace awq::hub {

struct PullRequest {
  ModelName name;
  bool weights = true;             // without: configuration, tokenizer, templates, licence
  std::vector<std::string> files;  // not empty: these of the repository, and nothing else
};

struct Pulled {
  std::filesystem::path directory;
  std::string commit;
  std::size_t downloaded_files = 0;
  std::size_t downloaded_bytes = 0;  // without what an interrupted run had left
};

// Nothing is asked for over the network where the revision is a whole commit whose files are there,
// or with HF_HUB_OFFLINE; a hub that cannot be reached is told to the sink and what the cache has
// of the revision is taken, if it is whole. Errors name the model, the revision or the file.
Result<Pulled> Pull(const Settings& settings, const PullRequest& request, ProgressSink* progress);

// The directory that stands where a MODEL is asked for: a local one, which always comes first, or a
// model of the hub, pulled. What looks like a path is never downloaded. kNotFound says what was
// tried.
Result<std::filesystem::path> FindModel(const std::string& model, bool weights,
                                        const Variables& variables, ProgressSink* progress);

}  // namespace awq::hub
