// What a walk checks of what it gathers, whatever the method.
#include "pipeline/walk.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <memory>
#include <utility>

#include "checkpoint/reader.h"
#include "pipeline/compute.h"
#include "search/gathering.h"
#include "testing/paths.h"

namespace awq::pipeline {
namespace {

using checkpoint::ModelDirectory;

// Another's, that sees a NaN among each site's held-out inputs.
class WithNan final : public Compute {
 public:
  explicit WithNan(std::unique_ptr<Compute> whole) : whole_(std::move(whole)) {}

  Result<std::unique_ptr<Sequences>> MakeSequences(std::span<const std::size_t> sequence_tokens,
                                                   const SequencesOptions& options) override {
    return whole_->MakeSequences(sequence_tokens, options);
  }
  Result<BlockPtr> Prepare(const model::BlockWeights& weights) override {
    return whole_->Prepare(weights);
  }
  BlockPtr NewBlock(kernels::Packed packed) override { return whole_->NewBlock(packed); }
  std::unique_ptr<search::SiteGathering> BeginSite(const model::SiteRow& site, std::size_t width,
                                                   const RunnableBlock* paired) override {
    auto gathering = whole_->BeginSite(site, width, paired);
    Matrix<float> row(1, width, 1.0F);
    row(0, width / 2) = std::numeric_limits<float>::quiet_NaN();
    const MatrixView<const float> view = std::as_const(row);
    dynamic_cast<search::HostGathering&>(*gathering)
        .sums()
        .HoldOut(view, paired != nullptr ? view : MatrixView<const float>());
    return gathering;
  }
  Status Wait() override { return whole_->Wait(); }

 private:
  std::unique_ptr<Compute> whole_;
};

class WalkOf : public ::testing::TestWithParam<const char*> {};

TEST_P(WalkOf, RefusesInputsThatAreNotFinite) {
  ThreadPool pool(2);
  const auto model = ModelDirectory::Open(awq::testing::GoldenDir() / "models" / "llama").value();
  Matrix<std::int32_t> tokens(4, 12);
  for (std::size_t i = 0; i < tokens.size(); ++i) tokens.data()[i] = static_cast<std::int32_t>(i);
  for (const bool damaged : {false, true}) {
    auto compute = MakeCompute(pool, model->config(), math::Precision::kF32, {}).value();
    if (damaged) compute = std::make_unique<WithNan>(std::move(compute));
    Variant variant;
    variant.method = FindMethod(GetParam());
    variant.plan = MakePlan(model->config(), {.format = "", .group_size = 16}).value();
    Walk walk(pool, *compute, *model, tokens, math::Precision::kF32, {&variant}, nullptr);
    ASSERT_TRUE(walk.Begin().ok());
    const Status done = walk.QuantizeBlock();
    ASSERT_EQ(done.ok(), !damaged);
    if (!damaged) continue;
    EXPECT_EQ(done.error().code, ErrorCode::kCorrupt);
    EXPECT_NE(done.error().message.find("block 0: "), std::string::npos) << done.error().message;
    EXPECT_NE(done.error().message.find("infinite or NaN"), std::string::npos);
  }
}

INSTANTIATE_TEST_SUITE_P(Methods, WalkOf, ::testing::Values("awq", "gptq", "awq-plus"));

}  // namespace
}  // namespace awq::pipeline
