// A template from the fuzzer, and behind a zero byte messages as JSON: rendering ends within its
// limits, gives valid UTF-8, and the same again.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "text/chat_template.h"
#include "text/utf8.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const std::size_t zero = input.find('\0');
  const auto parsed = awq::text::ChatTemplate::Parse(input.substr(0, zero), "fuzz");
  if (!parsed.ok()) return 0;
  awq::text::ChatInputs inputs;
  inputs.messages = zero == std::string_view::npos ? R"([{"role": "system", "content": "Be brief."},
                             {"role": "user", "content": [{"type": "text", "text": "H\u00e4?"}]},
                             {"role": "assistant", "tool_calls": [{"name": "f", "n": 1.5}]}])"
                                                   : input.substr(zero + 1);
  inputs.tools = R"([{"function": {"name": "f", "parameters": {"x": {"type": "integer"}}}}])";
  inputs.add_generation_prompt = true;
  inputs.now_seconds = 1'721'997'296;
  awq::text::ChatLimits limits;
  limits.steps = 20'000;
  limits.text_bytes = std::size_t{1} << 16;
  limits.total_bytes = std::size_t{1} << 22;
  const auto text = (*parsed)->Render(inputs, limits);
  if (!text.ok()) return 0;
  if (text->size() > limits.text_bytes || !awq::text::IsValidUtf8(*text)) std::abort();
  const auto again = (*parsed)->Render(inputs, limits);
  if (!again.ok() || *again != *text) std::abort();
  return 0;
}
