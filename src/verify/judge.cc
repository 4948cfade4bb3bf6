#include "verify/judge.h"

#include <algorithm>
#include <iterator>
#include <set>

#include "base/error.h"
#include "verify/terms.h"

namespace awq::verify {
namespace {

void Append(std::vector<Finding>& findings, std::vector<Finding> more) {
  std::ranges::move(more, std::back_inserter(findings));
}

std::string FormatName(std::string_view format) {
  return format == kPlain ? "floats" : std::string(format);
}

Finding UnknownFormat(const Reader& reader, const ModelFacts& facts) {
  std::set<std::string> seen;
  std::string formats;
  for (const Terms& terms : reader.terms) {
    const std::string name = FormatName(terms.format);
    if (!seen.insert(name).second) continue;
    formats += (formats.empty() ? "" : ", ") + name;
  }
  return {"the format", formats, FormatName(facts.format), SuggestFormat(reader, facts)};
}

// All that keeps the reader from taking the model on these terms, on a single rank.
Result<std::vector<Finding>> Refusals(const Reader& reader, const Terms& terms,
                                      const ModelFacts& facts) {
  std::vector<Finding> findings = CheckNumbers(terms, facts);
  Append(findings, CheckKeys(terms, facts));
  AWQ_ASSIGN(std::vector<Finding> names, CheckNames(terms, facts));
  Append(findings, std::move(names));
  Append(findings, CheckAlike(terms, facts));
  for (ShareProblem& problem : CheckShares(reader, terms, facts, 1)) {
    findings.push_back(std::move(problem.finding));
  }
  for (Finding& finding : findings) {
    if (finding.mend.empty()) finding.mend = SuggestFormat(reader, facts);
  }
  return findings;
}

struct Shared {
  ShareProblem problem;
  bool alone = true;  // everything at these ranks is mended by padding
};

// The same problem at several numbers of ranks is one finding.
void AddRanks(std::vector<Shared>& found, const std::vector<ShareProblem>& problems,
              std::size_t ranks) {
  const bool alone = std::ranges::all_of(problems, &ShareProblem::padding_mends);
  for (const ShareProblem& problem : problems) {
    const auto same = std::ranges::find_if(found, [&](const Shared& other) {
      return other.problem.finding.where == problem.finding.where &&
             other.problem.finding.expects == problem.finding.expects && other.alone == alone;
    });
    if (same == found.end()) {
      found.push_back({problem, alone});
      found.back().problem.finding.ranks = {ranks};
    } else {
      same->problem.finding.ranks.push_back(ranks);
    }
  }
}

void JudgeRanks(const Terms& terms, const ModelFacts& facts, Verdict& verdict) {
  const Reader& reader = *verdict.reader;
  std::vector<Shared> found;
  for (const std::size_t ranks : kRankCounts) {
    if (ranks > 1 && reader.ranks == Ranks::kOne) break;
    std::vector<ShareProblem> problems;
    if (reader.ranks == Ranks::kTensorParallel) {
      problems = CheckShares(reader, terms, facts, ranks);
    }
    if (problems.empty()) verdict.ranks.push_back(ranks);
    AddRanks(found, problems, ranks);
  }
  for (Shared& shared : found) {
    Finding& finding = shared.problem.finding;
    if (shared.problem.padding_mends && shared.alone) {
      finding.mend = fmt::format("quantize the original with --tp-pad {}", finding.ranks.back());
    } else if (shared.problem.padding_mends) {
      finding.mend = "--tp-pad would mend this, but not the rest";
    } else if (finding.mend.empty()) {
      finding.mend = "take fewer ranks; padding cannot mend it";
    }
    verdict.findings.push_back(std::move(finding));
  }
}

}  // namespace

Result<Verdict> Judge(const Reader& reader, const ModelFacts& facts) {
  Verdict verdict{&reader, {}, "", CheckModel(reader, facts)};
  const Terms* met = nullptr;
  std::optional<std::vector<Finding>> fewest;
  for (const Terms& terms : reader.terms) {
    if (terms.format != facts.format) continue;
    AWQ_ASSIGN(std::vector<Finding> refusals, Refusals(reader, terms, facts));
    if (fewest && refusals.size() > fewest->size()) continue;
    fewest = std::move(refusals);
    met = &terms;
    if (fewest->empty()) break;
  }
  if (!fewest) {
    verdict.findings.push_back(UnknownFormat(reader, facts));
    return verdict;
  }
  Append(verdict.findings, *std::move(fewest));
  if (!verdict.findings.empty()) return verdict;
  verdict.remark = met->remark;
  JudgeRanks(*met, facts, verdict);
  return verdict;
}

}  // namespace awq::verify
