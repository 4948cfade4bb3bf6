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

Status CheckOutputName(std::string_view format, const std::filesystem::path& output) {
  const std::string name = output.string();
  if (format == kGguf && output.extension() != ".gguf") {
    return MakeError(ErrorCode::kInvalidArgument,
                     "{}: GGUF is one file, whose name ends in .gguf; write {}.gguf", name, name);
  }
  if (format != kGguf && output.extension() == ".gguf") {
    return MakeError(ErrorCode::kInvalidArgument,
                     "{}: the name of a GGUF file, but {} is a directory; add --format gguf, or "
                     "choose another name",
                     name, format);
  }
  return {};
}

}  // namespace api
}  // namespace awq
