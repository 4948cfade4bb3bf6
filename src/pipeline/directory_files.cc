#include "pipeline/directory_files.h"

#include <array>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "io/json.h"
#include "pipeline/report.h"

namespace awq::pipeline {
namespace {

using nlohmann::json;

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

}  // namespace

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
                           const checkpoint::StoredModel& model, const pack::Format& format,
                           const pack::StoredQuantization& stored, std::string_view torch_dtype) {
  AWQ_ASSIGN(const json config, QuantizedConfig(model, format, stored, torch_dtype));
  for (std::string_view name : kCopied) {
    AWQ_ASSIGN(const auto contents, model.SmallFile(name));
    if (contents) AWQ_TRY(writer.WriteFile(std::string(name), *contents));
  }
  // Last: without it nothing takes the directory for a model.
  return writer.WriteFile("config.json", config.dump(2) + "\n");
}

}  // namespace awq::pipeline
