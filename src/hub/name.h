// What things are called on a hub. Names come from users and from servers: they are checked before
// they become part of a path or of an address.
#pragma once

#include <awq/result.h>

#include <string>
#include <string_view>

namespace awq::hub {

// ORG/NAME[@REVISION]: a repository of the hub and a branch, tag or commit of it.
struct ModelName {
  std::string org;
  std::string name;
  std::string revision = "main";

  std::string id() const { return org + "/" + name; }
  // With the revision, where it is not the default.
  std::string text() const { return revision == "main" ? id() : id() + "@" + revision; }
};

// The rules are those of huggingface_hub, except that ORG must be there. kInvalidArgument says what
// is wrong.
Result<ModelName> ParseModelName(std::string_view text);

// True for what can be a file's name in a repository: a relative path that stays where it begins,
// without control characters, and not too long for a file system.
bool IsSafeFileName(std::string_view name);

// True for the 40 lowercase hexadecimal digits of a whole commit.
bool IsCommit(std::string_view text);

// True for the name of a blob: 40 digits (git's SHA-1) or 64 (SHA-256, of large files), lowercase.
bool IsBlobHash(std::string_view text);

}  // namespace awq::hub
