// tokenizer.json from the fuzzer; what loads must encode and decode any text without harm, and its
// streamed decoding must equal the whole.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "text/tokenizer.h"
#include "text/utf8.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  // The text stands behind the first zero byte.
  const std::size_t zero = input.find('\0');
  const std::string_view json = input.substr(0, zero);
  const std::string_view text =
      zero == std::string_view::npos ? "Hello 12 \xE2\x96\x81 \xFF<s>\n" : input.substr(zero + 1);
  const auto tokenizer = awq::text::Tokenizer::FromJson(json, "", "fuzz");
  if (!tokenizer.ok()) return 0;
  const auto ids = (*tokenizer)->Encode(text, true);
  if (!ids.ok()) return 0;
  const std::string whole = (*tokenizer)->Decode(*ids, false);
  awq::text::StreamingDecoder decoder(*tokenizer, false);
  std::string streamed;
  for (const std::int32_t id : *ids) {
    const std::string part = decoder.Feed(id);
    if (!awq::text::IsValidUtf8(part)) std::abort();
    streamed += part;
  }
  streamed += decoder.Flush();
  if (streamed != whole) std::abort();
  return 0;
}
