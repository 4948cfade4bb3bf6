#include "api/formats.h"

#include <awq/awq.h>

#include "base/error.h"

namespace awq {

std::vector<std::string> FileFormats() {
  std::vector<std::string> names;
  for (const pack::Format& format : pack::Formats()) names.emplace_back(format.name);
  names.emplace_back(api::kGguf);
  return names;
}

namespace api {

Result<const pack::Format*> FindFormat(std::string_view name) {
  if (const pack::Format* format = pack::FindFormat(name)) return format;
  return MakeError(ErrorCode::kInvalidArgument, "format {}: expected one of {}, {}", name,
                   pack::FormatNames(), kGguf);
}

Status CheckGgufOutput(const std::filesystem::path& output) {
  if (output.extension() != ".gguf") {
    return MakeError(ErrorCode::kInvalidArgument,
                     "{}: GGUF is one file, whose name ends in .gguf; write {}.gguf",
                     output.string(), output.string());
  }
  std::error_code failure;
  if (!std::filesystem::exists(output, failure)) return {};
  return MakeError(ErrorCode::kInvalidArgument,
                   "{}: exists already; remove it or choose another output", output.string());
}

}  // namespace api
}  // namespace awq
