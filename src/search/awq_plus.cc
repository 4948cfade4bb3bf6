#include "search/awq_plus.h"

#include "search/awq.h"
#include "search/gptq.h"
#include "search/ranges.h"

namespace awq::search {
namespace {

// tr(D H D^T) of all the site's linears at a scale, after rounding with feedback in full ranges.
double FeedbackLoss(ThreadPool& pool, const ScaledLinears& linears,
                    const SiteStatistics& statistics, const Scale& scale) {
  const std::size_t in = scale.size();
  Matrix<float> gram(in, in);
  ScaleGram(pool, scale, statistics.gram, gram);
  const GramFactor factor = FactorGram(pool, gram, DampingFor(in, statistics.tokens));
  double loss = 0;
  for (const MatrixView<const float>& weights : linears.weights) {
    const Matrix<float> scaled = ScaledWeights(pool, weights, scale);
    const quant::QuantizedLinear rounded = RoundGptq(pool, scaled, factor, linears.spec);
    loss += MeasureOutputError(pool, scaled, rounded, gram);
  }
  return loss;
}

}  // namespace

PlusScale SearchPlusScale(ThreadPool& pool, const ScaledLinears& linears,
                          const SiteStatistics& statistics, const PlusOptions& options) {
  const ScaleCandidate identity{Scale(statistics.gram.cols(), 1.0F), {}};
  PlusScale best{identity, FeedbackLoss(pool, linears, statistics, identity.scale), 0};
  best.identity_loss = best.loss;
  for (ScaleCandidate& candidate :
       TwoExponentCandidates(pool, linears, statistics, options.finalists)) {
    if (candidate.exponents == Exponents{}) continue;
    const double loss = FeedbackLoss(pool, linears, statistics, candidate.scale);
    if (!(loss < best.loss)) continue;
    best.loss = loss;
    best.choice = std::move(candidate);
  }
  return best;
}

quant::QuantizedLinear RoundPlus(ThreadPool& pool, MatrixView<const float> weights,
                                 const SiteStatistics& statistics, const GramFactor& factor,
                                 const quant::Spec& spec) {
  const GroupRanges ranges = SearchRanges(pool, weights, statistics.gram, spec);
  quant::QuantizedLinear linear = MapsOf(pool, ranges, spec, weights.cols);
  RoundWithFeedback(pool, weights, factor, linear);
  return linear;
}

quant::QuantizedLinear RoundGptq(ThreadPool& pool, MatrixView<const float> weights,
                                 const GramFactor& factor, const quant::Spec& spec) {
  quant::QuantizedLinear linear = MapsOf(pool, FullRanges(pool, weights, spec), spec, weights.cols);
  RoundWithFeedback(pool, weights, factor, linear);
  return linear;
}

}  // namespace awq::search
