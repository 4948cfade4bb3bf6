// Inflating gzip members held in memory.
#pragma once

#include <awq/result.h>

#include <cstddef>
#include <string>
#include <string_view>

namespace awq::io {

bool LooksLikeGzip(std::string_view bytes);

// All members, one after another. Refuses more than `limit_bytes` of content, truncation, and
// anything but zero padding after the last member. `name` stands in errors.
Result<std::string> InflateGzip(std::string_view compressed, std::size_t limit_bytes,
                                std::string_view name);

// The first `limit_bytes` of the content. Where the compressed bytes are only the start of a file
// (`whole` false), their end is no error.
struct ContentStart {
  std::string content;
  bool whole = false;  // this is all of it
};
Result<ContentStart> InflateGzipStart(std::string_view compressed, bool whole,
                                      std::size_t limit_bytes, std::string_view name);

}  // namespace awq::io
