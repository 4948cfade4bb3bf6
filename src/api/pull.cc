#include "hub/pull.h"

#include <awq/awq.h>

#include <chrono>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "api/guard.h"
#include "base/clock.h"

namespace awq {
namespace {

std::string ToJson(const PullReport& report, const hub::ModelName& name) {
  return nlohmann::json{{"model", name.id()},
                        {"revision", name.revision},
                        {"commit", report.commit},
                        {"directory", report.directory},
                        {"downloaded_files", report.downloaded_files},
                        {"downloaded_bytes", report.downloaded_bytes},
                        {"seconds", report.seconds}}
      .dump(1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace

Result<PullReport> Pull(const PullOptions& options, const Runtime& runtime) {
  return api::Guard([&]() -> Result<PullReport> {
    const auto start = std::chrono::steady_clock::now();
    AWQ_ASSIGN(const hub::ModelName name, hub::ParseModelName(options.model));
    AWQ_ASSIGN(const hub::Settings settings, hub::ReadSettings(&std::getenv));
    AWQ_ASSIGN(const hub::Pulled pulled,
               hub::Pull(settings, {.name = name, .weights = true, .files = options.files},
                         runtime.progress));
    PullReport report;
    report.directory = pulled.directory.string();
    report.commit = pulled.commit;
    report.downloaded_files = pulled.downloaded_files;
    report.downloaded_bytes = pulled.downloaded_bytes;
    report.seconds = SecondsSince(start);
    report.json = ToJson(report, name);
    return report;
  });
}

}  // namespace awq
