#include "pipeline/directory_files.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "io/json.h"
#include "pipeline/report.h"

namespace awq::pipeline {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

// What readers look for beside the weights; copied as it is where it exists.
constexpr std::array<std::string_view, 14> kCopied = {"generation_config.json",
                                                      kReportName,
                                                      "tokenizer.json",
                                                      "tokenizer_config.json",
                                                      "tokenizer.model",
                                                      "vocab.json",
                                                      "merges.txt",
                                                      "special_tokens_map.json",
                                                      "added_tokens.json",
                                                      "chat_template.json",
                                                      "chat_template.jinja",
                                                      "LICENSE",
                                                      "LICENSE.txt",
                                                      "NOTICE"};

bool LiesIn(const fs::path& directory, const fs::path& file) {
  return std::ranges::mismatch(directory, file).in1 == directory.end();
}

// HUB/models--ORG--NAME/snapshots/COMMIT has links to HUB/models--ORG--NAME/blobs.
bool LiesInBlobs(const fs::path& directory, const fs::path& file) {
  fs::path commit = directory;
  while (commit.has_relative_path() && commit.parent_path().filename() != "snapshots") {
    commit = commit.parent_path();
  }
  std::error_code failure;
  const fs::path blobs = fs::canonical(commit.parent_path().parent_path() / "blobs", failure);
  return commit.has_relative_path() && !failure && LiesIn(blobs, file);
}

bool LeadsOut(const fs::path& directory, const fs::path& link) {
  std::error_code failure;
  if (fs::symlink_status(link, failure).type() != fs::file_type::symlink) return false;
  const fs::path home = fs::canonical(directory, failure);
  if (failure) return true;
  const fs::path file = fs::canonical(link, failure);
  return failure || (!LiesIn(home, file) && !LiesInBlobs(home, file));
}

}  // namespace

Result<std::optional<std::string>> CopiedFile(const checkpoint::StoredModel& model,
                                              std::string_view name, ProgressSink* progress) {
  const fs::path link = model.path() / name;
  std::error_code ignored;
  if (!fs::exists(link, ignored) || !LeadsOut(model.path(), link)) return model.SmallFile(name);
  // Models are put together of links; what is JSON under such a name is meant.
  if (name.ends_with(".json")) {
    AWQ_ASSIGN(auto text, model.SmallFile(name));
    if (text && io::ParseJson(*text, link.string()).ok()) return text;
  }
  Note(progress, fmt::format("{}: a link that leads out of the model's directory, so the output is "
                             "without it; put a copy in its place to have it there",
                             link.string()));
  return std::optional<std::string>();
}

Result<json> QuantizedConfig(const checkpoint::StoredModel& model, const pack::Format& format,
                             const pack::StoredQuantization& stored, std::string_view torch_dtype) {
  AWQ_ASSIGN(const auto original, model.SmallFile("config.json"));
  AWQ_ASSIGN(json config, io::ParseJson(original.value_or(""), "config.json"));
  config["quantization_config"] = format.write_config(stored);
  if (!torch_dtype.empty()) {
    config.erase("dtype");
    config["torch_dtype"] = torch_dtype;
  }
  return config;
}

Status WriteDirectoryFiles(checkpoint::DirectoryWriter& writer,
                           const checkpoint::StoredModel& model, const StoredAs& stored,
                           ProgressSink* progress) {
  AWQ_ASSIGN(const json config,
             QuantizedConfig(model, stored.format, stored.quantization, stored.torch_dtype));
  for (std::string_view name : kCopied) {
    AWQ_ASSIGN(const auto contents, CopiedFile(model, name, progress));
    if (contents) AWQ_TRY(writer.WriteFile(std::string(name), *contents));
  }
  // Last: without it nothing takes the directory for a model.
  return writer.WriteFile("config.json", config.dump(2) + "\n");
}

}  // namespace awq::pipeline
