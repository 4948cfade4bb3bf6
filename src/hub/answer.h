// What a hub answers, read without trust: headers, the list of a repository's files, the names in
// an index of shards. No network here.
#pragma once

#include <awq/result.h>

#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace awq::hub {

// By name in lowercase; of one that comes twice the last counts.
using Headers = std::map<std::string, std::string, std::less<>>;

// One line of a header, with or without its end; what is no "name: value" is passed over.
void AddHeader(std::string_view line, Headers& headers);

// The header's value, or nothing.
std::string_view HeaderOf(const Headers& headers, std::string_view name);

// W/"x", "x" or x -> x
std::string_view NormalizeEtag(std::string_view etag);

// A whole decimal number that fits, and nothing beside it.
std::optional<std::size_t> ReadNumber(std::string_view text);

// "bytes FIRST-LAST/TOTAL" or "bytes FIRST-LAST/*", with FIRST <= LAST < TOTAL.
struct ContentRange {
  std::size_t first = 0;
  std::optional<std::size_t> total_bytes;
};
std::optional<ContentRange> ReadContentRange(std::string_view text);

// A file as the answer to HEAD describes it: X-Linked-Etag and X-Linked-Size of a large file, which
// lies elsewhere; ETag and Content-Length of one that the hub holds itself.
struct RemoteFile {
  std::string name;
  std::string hash;  // IsBlobHash: the name of its blob, and what its content must have
  std::size_t size_bytes = 0;
};
// kCorrupt: no hash that can be checked, or no size.
Result<RemoteFile> ReadRemoteFile(const Headers& headers, const std::string& name);

// A repository at a revision.
struct Listing {
  std::string commit;              // IsCommit
  std::vector<std::string> files;  // sorted, IsSafeFileName; others are left out
};
// `name` stands in errors. At most 100,000 files.
Result<Listing> ReadListing(std::string_view json, const std::string& name);

}  // namespace awq::hub
