// What a run that writes a directory remembers of itself, so that the next one can go on.
#pragma once

#include <awq/result.h>

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>

namespace awq::checkpoint {

struct Journal {
  std::string fingerprint;                     // the caller's: model and settings
  std::string layout;                          // of the shards: names, shapes, order
  std::map<std::string, nlohmann::json> done;  // unit -> note
  std::set<std::string> written;               // tensors that are whole

  // Anything but a journal of this form is an error.
  static Result<Journal> Read(const std::filesystem::path& path);
  // Atomic and durable.
  Status Write(const std::filesystem::path& path) const;
};

}  // namespace awq::checkpoint
