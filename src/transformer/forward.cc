#include "transformer/forward.h"

#include "base/check.h"

namespace awq::transformer {
namespace {

constexpr Role kAttentionReaders[] = {Role::kQ, Role::kK, Role::kV};
constexpr Role kMlpReaders[] = {Role::kGate, Role::kUp};

}  // namespace

void MakeInput(BlockSteps& steps, Role reader, const OnInput& on_input) {
  const bool attention = reader == Role::kQ || reader == Role::kO;
  const Role first = attention ? Role::kQ : Role::kGate;
  const auto there = [&](Role site) {
    if (on_input) on_input(site);
  };
  steps.Normalize(attention ? Role::kAttentionNorm : Role::kMlpNorm);
  there(first);
  if (reader == first) return;
  AWQ_CHECK(reader == Role::kO || reader == Role::kDown);
  if (attention) {
    steps.Multiply(kAttentionReaders);
    steps.RotateAndStore();
    steps.Attend();
  } else {
    steps.Multiply(kMlpReaders);
    steps.Gate();
  }
  there(reader);
}

void RunBlock(BlockSteps& steps, const OnInput& on_input) {
  for (const Role last : {Role::kO, Role::kDown}) {
    MakeInput(steps, last, on_input);
    steps.AddOutput(last);
  }
}

}  // namespace awq::transformer
