// Scales moved from the inputs of a site's linears into what produces them: the network stays
// equal.
#pragma once

#include <awq/result.h>

#include <array>
#include <span>
#include <string>
#include <vector>

#include "base/threads.h"
#include "model/weights.h"
#include "search/scale_family.h"
#include "tensor/tensor.h"

namespace awq::pipeline {

// What happens to each tensor of one block; empty vectors mean nothing.
struct FoldPlan {
  std::array<std::vector<float>, model::kRoles> columns;  // readers: W[:, j] *= columns[j]
  std::array<std::vector<float>, model::kRoles> rows;  // producers: W[i, :], b[i] or norm[i] /= it

  // Every reader of the site takes the scale, its producer gives it, once for channels that are
  // tied.
  void Add(const model::SiteRow& site, const std::vector<float>& scale,
           const search::HeadTie& tie = {});
  bool empty() const;  // nothing happens to any tensor
  const std::vector<float>& columns_of(model::Role role) const {
    return columns[static_cast<std::size_t>(role)];
  }
  const std::vector<float>& rows_of(model::Role role) const {
    return rows[static_cast<std::size_t>(role)];
  }
};

// Which channels of the site must share a scale, so that it can move into the producer. Error: why
// it cannot move at all.
Result<search::HeadTie> FoldTie(const model::ModelConfig& config, const model::SiteRow& site);
// The same for the published method, which ties nothing: why a scale cannot move; empty if it can.
std::string FoldObstacle(const model::ModelConfig& config, const model::SiteRow& site);

// [out, in] as floats, folded. Precondition: not packed.
Matrix<float> FoldedWeight(ThreadPool& pool, const model::Linear& linear, model::Role role,
                           const FoldPlan& plan);
// A norm's weight or a linear's bias, folded.
std::vector<float> FoldedVector(const TensorView& tensor, model::Role role, const FoldPlan& plan);

// Runs the block in f32 before and after the fold on a sample of its inputs [tokens, hidden] and
// compares what every site reads (times its scale) and what the block gives, channel by channel.
// Returns the largest relative difference (root mean square over the tokens). Error: names the
// producer and the reader where the two part.
Result<double> VerifyFold(ThreadPool& pool, const model::ModelConfig& config, std::size_t layer,
                          const model::BlockWeights& weights, const FoldPlan& plan,
                          MatrixView<const float> sample);

}  // namespace awq::pipeline
