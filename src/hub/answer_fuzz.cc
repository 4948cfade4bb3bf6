// What a hub may answer. The first byte chooses the reader, the rest is what it reads.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "hub/answer.h"
#include "hub/name.h"
#include "hub/url.h"

namespace {

using namespace awq;
using namespace awq::hub;

void Require(bool condition) {
  if (!condition) std::abort();
}

void ReadHeaders(std::string_view text) {
  Headers headers;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    AddHeader(text.substr(0, end), headers);
    text.remove_prefix(end == text.npos ? text.size() : end + 1);
  }
  const auto file = ReadRemoteFile(headers, "fuzz");
  Require(!file || IsBlobHash(file->hash));
  const auto range = ReadContentRange(HeaderOf(headers, "content-range"));
  Require(!range || !range->total_bytes || range->first < *range->total_bytes);
}

void ReadUrls(std::string_view text) {
  const std::size_t end = text.find('\n');
  const auto base = ParseUrl(text.substr(0, end));
  if (!base) return;
  Require(base->origin.starts_with(base->secure ? "https://" : "http://"));
  // What was understood is understood the same way again: who connects reads it once more.
  const auto again = ParseUrl(base->text);
  Require(again && again->origin == base->origin);
  if (end == text.npos) return;
  const auto next = FollowLocation(*base, text.substr(end + 1));
  Require(!next || next->secure || !base->secure);
}

void ReadName(std::string_view text) {
  const auto name = ParseModelName(text);
  if (name) Require(ParseModelName(name->id() + "@" + name->revision).ok());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0] % 4) {
    case 0: {
      const auto listing = ReadListing(text, "fuzz");
      if (!listing) break;
      Require(IsCommit(listing->commit));
      for (const std::string& file : listing->files) Require(IsSafeFileName(file));
      break;
    }
    case 1:
      ReadHeaders(text);
      break;
    case 2:
      ReadUrls(text);
      break;
    default:
      ReadName(text);
      break;
  }
  return 0;
}
