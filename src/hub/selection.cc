#include "hub/selection.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "base/error.h"

namespace awq::hub {
namespace {

constexpr std::array<std::string_view, 16> kSmallFiles = {"config.json",
                                                          "generation_config.json",
                                                          "tokenizer.json",
                                                          "tokenizer_config.json",
                                                          "tokenizer.model",
                                                          "special_tokens_map.json",
                                                          "added_tokens.json",
                                                          "vocab.json",
                                                          "vocab.txt",
                                                          "merges.txt",
                                                          "chat_template.json",
                                                          "chat_template.jinja",
                                                          "preprocessor_config.json",
                                                          "processor_config.json",
                                                          "quantize_config.json",
                                                          "quant_config.json"};
constexpr std::array<std::string_view, 5> kLicences = {"LICENSE", "LICENCE", "NOTICE", "COPYING",
                                                       "USE_POLICY"};

bool IsSmallFile(std::string_view file) {
  if (std::ranges::find(kSmallFiles, file) != kSmallFiles.end()) return true;
  return file.find('/') == file.npos &&
         std::ranges::any_of(kLicences, [&](auto prefix) { return file.starts_with(prefix); });
}

}  // namespace

bool Contains(const Listing& listing, const std::string& file) {
  return std::ranges::binary_search(listing.files, file);
}

std::vector<std::string> SmallFiles(const Listing& listing) {
  std::vector<std::string> chosen;
  std::ranges::copy_if(listing.files, std::back_inserter(chosen), IsSmallFile);
  return chosen;
}

std::vector<std::string> AbsentSmallFiles(const Listing& listing) {
  std::vector<std::string> absent;
  for (const std::string_view file : kSmallFiles) {
    if (!Contains(listing, std::string(file))) absent.emplace_back(file);
  }
  return absent;
}

Status CheckWeights(const Listing& listing, const std::string& name) {
  if (Contains(listing, kSingleWeights) || Contains(listing, kIndex)) return {};
  const auto first = [&](std::string_view ending) {
    const auto found = std::ranges::find_if(
        listing.files, [&](const std::string& file) { return file.ends_with(ending); });
    return found == listing.files.end() ? std::string() : *found;
  };
  std::string instead = "it has no weights at all";
  if (const std::string gguf = first(".gguf"); !gguf.empty()) {
    instead = fmt::format("it has GGUF files: awq pull {} --file {}", name, gguf);
  } else if (const std::string bin = first(".bin"); !bin.empty()) {
    instead = fmt::format("it has {}, and pickled files are never opened", bin);
  } else if (const std::string other = first(".safetensors"); !other.empty()) {
    instead = fmt::format("it has {}, which is no model by itself", other);
  }
  return MakeError(ErrorCode::kUnsupported, "{}: expected {} or {}; {}", name, kSingleWeights,
                   kIndex, instead);
}

}  // namespace awq::hub
