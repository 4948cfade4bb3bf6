#include "api/formats.h"

#include <awq/awq.h>

#include "api/runtime.h"
#include "base/error.h"
#include "pack/ggml_blocks.h"

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

Status CheckHolds(std::string_view format, const quant::Spec& spec) {
  constexpr std::size_t kFeatures = 4096;  // whole words, tiles and blocks of every format
  const std::size_t inputs = spec.group_size == 0 ? kFeatures : kFeatures * spec.group_size;
  const pack::Form form{kFeatures, inputs, spec};
  std::string why;
  if (format == kGguf) {
    const auto type = pack::BlockTypeOf(spec, inputs, "gguf");
    if (!type) why = type.error().message;
  } else {
    AWQ_ASSIGN(const pack::Format* row, FindFormat(format));
    if (std::string refusal = pack::RefusesNew(*row, form); !refusal.empty()) {
      why = fmt::format("{}: {}", format, refusal);
    }
  }
  if (why.empty()) return {};
  const std::string holders = pack::FormatsThatHoldNew(form);
  return MakeError(
      ErrorCode::kInvalidArgument, "--format {}; {} bits{} in groups of {}: {}", why, spec.bits,
      spec.symmetric ? " --sym" : "", spec.group_size == 0 ? "-1" : std::to_string(spec.group_size),
      holders.empty() ? "no format holds that" : "these formats can hold it: " + holders);
}

}  // namespace api

Status CheckUsage(const QuantizeOptions& options) {
  constexpr std::size_t kDefaultGroup = 128;
  AWQ_TRY(api::CheckOutputName(options.format, options.output));
  AWQ_ASSIGN(const auto group_size, api::ReadGroupSize(options.group_size));
  return api::CheckHolds(options.format,
                         {options.bits, group_size.value_or(kDefaultGroup), options.symmetric});
}

Status CheckUsage(const ConvertOptions& options) {
  return api::CheckOutputName(options.format, options.output);
}

}  // namespace awq
