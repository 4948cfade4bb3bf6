#include <awq/awq.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "api/guard.h"
#include "api/runtime.h"
#include "base/error.h"
#include "verify/judge.h"

namespace awq {
namespace {

ReaderVerdict ToPublic(verify::Verdict verdict) {
  ReaderVerdict result{.name = std::string(verdict.reader->name),
                       .version = std::string(verdict.reader->version),
                       .takes = verdict.takes(),
                       .ranks = std::move(verdict.ranks),
                       .remark = std::move(verdict.remark),
                       .findings = {}};
  for (verify::Finding& finding : verdict.findings) {
    result.findings.push_back({std::move(finding.where), std::move(finding.expects),
                               std::move(finding.found), std::move(finding.mend),
                               std::move(finding.ranks)});
  }
  return result;
}

std::string ToJson(const VerifyReport& report) {
  nlohmann::json readers = nlohmann::json::array();
  for (const ReaderVerdict& verdict : report.readers) {
    nlohmann::json findings = nlohmann::json::array();
    for (const VerifyFinding& finding : verdict.findings) {
      findings.push_back({{"where", finding.where},
                          {"expects", finding.expects},
                          {"found", finding.found},
                          {"mend", finding.mend},
                          {"ranks", finding.ranks}});
    }
    readers.push_back({{"name", verdict.name},
                       {"version", verdict.version},
                       {"takes", verdict.takes},
                       {"ranks", verdict.ranks},
                       {"remark", verdict.remark},
                       {"findings", std::move(findings)}});
  }
  return nlohmann::json{
      {"format", report.format}, {"readers", std::move(readers)}, {"satisfied", report.satisfied}}
      .dump(1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace

std::vector<std::string> ReaderNames() {
  std::vector<std::string> names;
  for (const verify::Reader& reader : verify::Readers()) names.emplace_back(reader.name);
  return names;
}

Result<VerifyReport> Verify(const VerifyOptions& options, const Runtime& runtime) {
  return api::Guard([&]() -> Result<VerifyReport> {
    for (const std::string& name : options.required) {
      if (verify::FindReader(name) != nullptr) continue;
      return MakeError(ErrorCode::kInvalidArgument, "program {}: expected one of {}", name,
                       fmt::join(ReaderNames(), ", "));
    }
    AWQ_ASSIGN(const auto model, api::OpenModel(options.model, runtime));
    AWQ_ASSIGN(const verify::ModelFacts facts, verify::GatherFacts(*model));
    VerifyReport report;
    report.format = std::string(facts.format);
    const auto& required = options.required;
    for (const verify::Reader& reader : verify::Readers()) {
      if (!required.empty() && std::ranges::count(required, reader.name) == 0) continue;
      AWQ_ASSIGN(verify::Verdict verdict, verify::Judge(reader, facts));
      report.readers.push_back(ToPublic(std::move(verdict)));
    }
    report.satisfied = required.empty()
                           ? std::ranges::any_of(report.readers, &ReaderVerdict::takes)
                           : std::ranges::all_of(report.readers, &ReaderVerdict::takes);
    report.json = ToJson(report);
    return report;
  });
}

}  // namespace awq
