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

constexpr std::string_view kNothing = "none";  // how the mend of what cannot be mended begins

std::string OnOneRank(const Reader& reader, const ModelFacts& facts) {
  const Remedy remedy = Suggest(reader, facts, 1);
  return remedy.command.empty() ? "none: no model of these shapes that awq makes is taken"
                                : remedy.Text(1);
}

Finding UnknownFormat(const Reader& reader, const ModelFacts& facts) {
  std::set<std::string> seen;
  std::string formats;
  for (const Terms& terms : reader.terms) {
    const std::string name = FormatName(terms.format);
    if (!seen.insert(name).second) continue;
    formats += (formats.empty() ? "" : ", ") + name;
  }
  return {"the format", formats, FormatName(facts.format), OnOneRank(reader, facts)};
}

// All that keeps the reader from taking the model on these terms, on a single rank.
Result<std::vector<Finding>> Refusals(const Reader& reader, const Terms& terms,
                                      const ModelFacts& facts) {
  std::vector<Finding> findings = CheckNumbers(terms, facts);
  Append(findings, CheckKeys(terms, facts));
  AWQ_ASSIGN(std::vector<Finding> names, CheckNames(terms, facts));
  Append(findings, std::move(names));
  Append(findings, CheckAlike(terms, facts));
  Append(findings, CheckShares(reader, terms, facts, 1));
  std::optional<std::string> mend;
  for (Finding& finding : findings) {
    if (!finding.mend.empty()) continue;
    if (!mend) mend = OnOneRank(reader, facts);
    finding.mend = *mend;
  }
  return findings;
}

struct Shared {
  Finding finding;
  Remedy remedy;
};

// The same problem at several numbers of ranks is one finding; what mends it for the most mends it
// for the fewer, which divide them.
void AddRanks(std::vector<Shared>& found, std::vector<Finding> findings, const Remedy& remedy,
              std::size_t ranks) {
  for (Finding& finding : findings) {
    const auto same = std::ranges::find_if(found, [&](const Shared& other) {
      return other.finding.where == finding.where && other.finding.expects == finding.expects &&
             other.remedy == remedy;
    });
    if (same == found.end()) {
      finding.ranks = {ranks};
      found.push_back({std::move(finding), remedy});
    } else {
      same->finding.ranks.push_back(ranks);
    }
  }
}

void JudgeRanks(const Terms& terms, const ModelFacts& facts, std::span<const std::size_t> counts,
                Verdict& verdict) {
  const Reader& reader = *verdict.reader;
  std::vector<Shared> found;
  for (const std::size_t ranks : counts) {
    if (ranks > 1 && reader.ranks == Ranks::kOne) break;
    std::vector<Finding> findings;
    if (reader.ranks == Ranks::kTensorParallel) {
      findings = CheckShares(reader, terms, facts, ranks);
    }
    if (findings.empty()) {
      verdict.ranks.push_back(ranks);
    } else {
      AddRanks(found, std::move(findings), Suggest(reader, facts, ranks), ranks);
    }
  }
  for (Shared& shared : found) {
    Finding& finding = shared.finding;
    finding.mend = shared.remedy.command.empty() ? "none: take fewer ranks"
                                                 : shared.remedy.Text(finding.ranks.back());
    verdict.findings.push_back(std::move(finding));
  }
}

// Where one thing cannot be mended, it helps nobody to mend another.
void DropVainAdvice(std::vector<Finding>& findings) {
  const auto is_final = [](const Finding& finding) { return finding.mend.starts_with(kNothing); };
  if (std::ranges::none_of(findings, is_final)) return;
  for (Finding& finding : findings) {
    if (!is_final(finding)) finding.mend.clear();
  }
}

}  // namespace

Result<Verdict> Judge(const Reader& reader, const ModelFacts& facts,
                      std::span<const std::size_t> ranks) {
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
    fewest = {UnknownFormat(reader, facts)};
  }
  Append(verdict.findings, *std::move(fewest));
  DropVainAdvice(verdict.findings);
  if (!verdict.findings.empty()) return verdict;
  verdict.remark = met->remark;
  JudgeRanks(*met, facts, ranks, verdict);
  return verdict;
}

}  // namespace awq::verify
