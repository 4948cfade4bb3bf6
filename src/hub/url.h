// Addresses, as libcurl reads them: what decides who gets the token must read an address as what
// connects does.
#pragma once

#include <awq/result.h>

#include <string>
#include <string_view>

namespace awq::hub {

struct Url {
  std::string text;
  std::string origin;  // scheme, host and port: "https://huggingface.co:443"
  bool secure = false;
};

// http and https, without a user's name in it; at most 16 KiB.
Result<Url> ParseUrl(std::string_view text);

// Where a Location header leads from `base`. An address that is no longer secure is refused.
Result<Url> FollowLocation(const Url& base, std::string_view location);

// Everything percent-encoded but letters, digits and "-._~"; and "/" where `slashes` stay.
std::string EscapeUrl(std::string_view text, bool slashes);

}  // namespace awq::hub
