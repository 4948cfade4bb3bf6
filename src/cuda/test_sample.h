// Checks of sampling against its definition: which tokens may be drawn, and that each is where the
// random number says. tests/cuda_sampler_test.cc holds it against the CPU's.
#pragma once

#include <algorithm>
#include <numeric>

#include "cuda/sample.h"
#include "cuda/test_ops.h"

namespace awq::cuda {

// What a token has of [0, 1), most likely first; empty where it is not to be drawn.
struct Share {
  double first = 0;
  double last = 0;
};

inline std::vector<Share> SharesOf(const std::vector<float>& logits, const SampleState& state) {
  const double largest = static_cast<double>(*std::max_element(logits.begin(), logits.end()));
  std::vector<double> p;
  for (const float each : logits) {
    p.push_back(
        std::exp((static_cast<double>(each) - largest) / static_cast<double>(state.temperature)));
  }
  std::vector<std::size_t> order(p.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  const bool cuts = state.top_k > 0 || state.top_p < 1 || state.min_p > 0;
  if (cuts) {
    std::stable_sort(order.begin(), order.end(),
                     [&](std::size_t a, std::size_t b) { return logits[a] > logits[b]; });
  }
  if (state.top_k > 0 && static_cast<std::size_t>(state.top_k) < order.size()) {
    const float kth = logits[order[static_cast<std::size_t>(state.top_k) - 1]];
    std::erase_if(order, [&](std::size_t i) { return logits[i] < kth; });
  }
  double all = 0, kept = 0;
  for (const std::size_t i : order) all += p[i];
  std::vector<Share> shares(p.size());
  for (const std::size_t i : order) {
    const bool enough = kept >= static_cast<double>(state.top_p) * all;
    if (cuts && kept > 0 && (enough || p[i] < static_cast<double>(state.min_p))) break;
    shares[i] = {kept, kept + p[i]};
    kept += p[i];
  }
  for (Share& each : shares) each = {each.first / kept, each.last / kept};
  return shares;
}

// step: logits are multiples of it, so that there are equal ones; 0: any.
struct LogitsCase {
  int vocab = 0;
  float deviation = 3;
  float step = 0;
};

inline std::string CheckSample(OpsBackend& backend, const SampleState& options,
                               const LogitsCase& is) {
  const auto [vocab, deviation, step] = is;
  constexpr std::size_t kRows = 3;
  const auto width = static_cast<std::size_t>(vocab);
  std::vector<float> logits = RandomFloats(kRows * width, deviation, 41);
  for (float& each : logits) each = step > 0 ? std::rint(each / step) * step : each;
  std::vector<SampleState> states(kRows, options);
  for (std::size_t i = 0; i < kRows; ++i) states[i].random = FirstRandom(5, i);
  SampleTask task;
  task.logits = backend.Place(logits);
  task.vocab = vocab;
  task.rows = kRows;
  task.states = backend.Place(states);
  task.tokens = backend.Poisoned<std::int32_t>(kRows);
  AWQ_EXPECT(MessageOf(backend.Run(task)));
  const std::vector<std::int32_t> tokens = backend.Fetch<std::int32_t>(task.tokens, kRows);
  for (std::size_t i = 0; i < kRows; ++i) {
    const std::vector<float> row(logits.begin() + static_cast<std::ptrdiff_t>(i * width),
                                 logits.begin() + static_cast<std::ptrdiff_t>((i + 1) * width));
    if (tokens[i] < 0 || tokens[i] >= vocab) return "token " + std::to_string(tokens[i]);
    const auto token = static_cast<std::size_t>(tokens[i]);
    if (options.temperature == 0) {
      if (row[token] != *std::max_element(row.begin(), row.end())) return "not the best";
      continue;
    }
    // The first number of the stream.
    std::uint64_t z = states[i].random + 0x9e3779b97f4a7c15U;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
    const double number = static_cast<double>((z ^ (z >> 31)) >> 11) * 0x1p-53;
    const Share share = SharesOf(row, options)[token];
    // Weights by fp32 arguments up to 8 deviations by the temperature, 4 roundings each.
    const double slack =
        2 * (32 * static_cast<double>(deviation / options.temperature) + 4) * kUnit;
    if (share.last <= share.first) return "token " + std::to_string(token) + " is cut off";
    if (number < share.first - slack || number > share.last + slack) {
      return "number " + std::to_string(number) + " is not in " + std::to_string(share.first) +
             " to " + std::to_string(share.last) + " of token " + std::to_string(token);
    }
  }
  return "";
}

// Logits of which nothing can be drawn.
inline std::string CheckBadLogits(OpsBackend& backend) {
  const float infinity = INFINITY;
  const std::vector<float> logits{1,         NAN,       2,         3, infinity,  0,
                                  -infinity, -infinity, -infinity, 0, -infinity, -0.0F};
  const std::vector<SampleState> states(4, SampleState{.temperature = 1, .random = 9});
  SampleTask task;
  task.logits = backend.Place(logits);
  task.vocab = 3;
  task.rows = 4;
  task.states = backend.Place(states);
  task.tokens = backend.Poisoned<std::int32_t>(4);
  AWQ_EXPECT(MessageOf(backend.Run(task)));
  const auto tokens = backend.Fetch<std::int32_t>(task.tokens, 4);
  const auto after = backend.Fetch<SampleState>(task.states, 4);
  if (tokens[0] != -1 || tokens[1] != -1 || tokens[2] != -1) return "bad logits are not refused";
  if (after[0].random != 9 || after[0].drawn != 0) return "a state moved on without a token";
  return tokens[3] == 0 || tokens[3] == 2 ? "" : "a token of no probability";
}

inline std::vector<OpsRow> SampleRows() {
  std::vector<OpsRow> rows;
  const auto add = [&](const std::string& name, const SampleState& state, const LogitsCase& is) {
    rows.push_back(
        {"sample_" + name, [=](OpsBackend& backend) { return CheckSample(backend, state, is); }});
  };
  add("greedy", {}, {1500});
  add("temperature", {.temperature = 0.8F}, {1500});
  add("top_k", {.temperature = 1, .top_k = 40}, {5000});
  add("top_p", {.temperature = 1.5F, .top_p = 0.9F}, {5000});
  add("min_p", {.temperature = 1, .min_p = 0.1F}, {333});
  add("all_cuts", {.temperature = 2, .top_p = 0.7F, .min_p = 0.01F, .top_k = 100}, {2047});
  add("top_p_of_flat", {.temperature = 1, .top_p = 0.5F}, {1000, 1e-3F});
  add("few", {.temperature = 1, .top_p = 0.99F, .top_k = 2}, {3});
  add("equals", {.temperature = 2, .top_p = 0.8F, .top_k = 200}, {700, 3, 2});
  rows.push_back({"sample_bad_logits", CheckBadLogits});
  return rows;
}

}  // namespace awq::cuda
