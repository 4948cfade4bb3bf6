// Checks of embedding, norms and gates.
#pragma once

#include "cuda/test_ops.h"

namespace awq::cuda {

inline std::string CheckEmbed(OpsBackend& backend, Element type, int width) {
  const int vocab = 11;
  const std::vector<std::int32_t> ids{3, 0, 10, -1, 3, 11};
  const std::vector<float> table = RandomFloats(static_cast<std::size_t>(vocab * width), 1, 1);
  const std::vector<std::uint16_t> rounded = Rounded(table, type);
  const bool wide = type == Element::kF32;
  const std::size_t count = ids.size() * static_cast<std::size_t>(width);
  EmbedTask task;
  task.table = wide ? static_cast<void*>(backend.Place(table)) : backend.Place(rounded);
  task.type = type;
  task.vocab = vocab;
  task.width = width;
  task.ids = backend.Place(ids);
  task.tokens = static_cast<int>(ids.size());
  task.hidden = backend.Poisoned<float>(count);
  AWQ_EXPECT(MessageOf(backend.Run(task)));
  const std::vector<float> found = backend.Fetch<float>(task.hidden, count);
  for (std::size_t i = 0; i < count; ++i) {
    const int id = ids[i / static_cast<std::size_t>(width)];
    const bool known = id >= 0 && id < vocab;
    const auto at =
        static_cast<std::size_t>(known ? id * width : 0) + i % static_cast<std::size_t>(width);
    const float expected = wide ? table[at] : Widened(rounded[at], type);
    if (known ? found[i] == expected : found[i] != found[i]) continue;
    return "feature " + std::to_string(i) + " is " + std::to_string(found[i]);
  }
  return "";
}

struct NormCase {
  Element type = Element::kBF16;
  int width = 0;
  bool adds = false;
  bool has_bias = false;
  bool picks = false;  // some rows only
  bool normalizes = true;
};

inline std::string CheckNorm(OpsBackend& backend, const NormCase& is) {
  const std::size_t held = 4;
  const auto width = static_cast<std::size_t>(is.width);
  const std::vector<std::int32_t> rows =
      is.picks ? std::vector<std::int32_t>{3, 1} : std::vector<std::int32_t>{0, 1, 2};
  std::vector<float> hidden = RandomFloats(held * width, 3, 2);
  const std::vector<float> added = RandomFloats(held * width, 1, 3);
  const std::vector<float> bias = RandomFloats(width, 1, 4);
  const std::vector<float> weight = RandomFloats(width, 1, 5);
  NormTask task;
  task.hidden = backend.Place(hidden);
  task.added = is.adds ? backend.Place(added) : nullptr;
  task.bias = is.has_bias ? backend.Place(bias) : nullptr;
  task.weight = backend.Place(weight);
  task.eps = 1e-5F;
  task.width = is.width;
  task.rows = is.picks ? backend.Place(rows) : nullptr;
  task.tokens = static_cast<int>(rows.size());
  task.out = {is.normalizes ? backend.Poisoned<std::uint16_t>(rows.size() * width) : nullptr,
              is.type};
  AWQ_EXPECT(MessageOf(backend.Run(task)));

  std::vector<double> expected;
  for (const std::int32_t row : rows) {
    float* const x = &hidden[static_cast<std::size_t>(row) * width];
    double squares = 0;
    for (std::size_t i = 0; i < width; ++i) {
      const float more = added[static_cast<std::size_t>(row) * width + i];
      if (is.adds) x[i] += is.has_bias ? more + bias[i] : more;
      squares += static_cast<double>(x[i]) * static_cast<double>(x[i]);
    }
    const double root = std::sqrt(squares / static_cast<double>(width) + 1e-5);
    for (std::size_t i = 0; i < width; ++i) {
      expected.push_back(static_cast<double>(x[i]) / root * static_cast<double>(weight[i]));
    }
  }
  const std::vector<double> sums(hidden.begin(), hidden.end());
  AWQ_EXPECT(Compare("hidden state", backend.Fetch<float>(task.hidden, hidden.size()), sums,
                     [](std::size_t) { return 0.0; }));
  if (!is.normalizes) return "";
  // A thread adds up to 32 squares, then 10 steps over threads; the root halves that, then four.
  const double relative = (43.0 / 2 + 4) * kUnit + UnitOf(is.type);
  return Compare(
      "output", FetchActivations(backend, task.out, expected.size()), expected,
      [&](std::size_t i) { return relative * std::abs(expected[i]) + SmallestOf(is.type); });
}

inline std::string CheckGate(OpsBackend& backend, Element type, int width, bool has_bias) {
  const int tokens = 3;
  const auto features = static_cast<std::size_t>(width);
  const std::size_t stride = 2 * features;  // gate and up of a token beside one another
  std::vector<float> both = RandomFloats(tokens * stride, 4, 6);
  both[0] = -200;  // exp overflows
  both[1] = 200;
  const std::vector<float> bias = RandomFloats(stride, 1, 7);
  GateTask task;
  task.gate = backend.Place(both);
  task.up = task.gate + features;
  task.stride = static_cast<std::int64_t>(stride);
  if (has_bias) {
    task.gate_bias = backend.Place(bias);
    task.up_bias = task.gate_bias + features;
  }
  task.tokens = tokens;
  task.width = width;
  task.out = {backend.Poisoned<std::uint16_t>(tokens * features), type};
  AWQ_EXPECT(MessageOf(backend.Run(task)));
  std::vector<double> expected;
  for (std::size_t t = 0; t < tokens; ++t) {
    for (std::size_t i = 0; i < features; ++i) {
      const auto with_bias = [&](std::size_t at) {
        return static_cast<double>(has_bias ? both[t * stride + at] + bias[at]
                                            : both[t * stride + at]);
      };
      const double gate = with_bias(i);
      expected.push_back(gate / (1 + std::exp(-gate)) * with_bias(features + i));
    }
  }
  // exp within two units in its last place, which are 4 roundings, then +, / and *.
  const double relative = 7 * kUnit + UnitOf(type);
  return Compare(
      "output", FetchActivations(backend, task.out, expected.size()), expected,
      [&](std::size_t i) { return relative * std::abs(expected[i]) + SmallestOf(type); });
}

inline std::vector<OpsRow> TokenRows() {
  std::vector<OpsRow> rows;
  for (const Element type : {Element::kF32, Element::kF16, Element::kBF16}) {
    rows.push_back({"embed_" + std::to_string(static_cast<int>(type)),
                    [=](OpsBackend& backend) { return CheckEmbed(backend, type, 264); }});
  }
  // One vector; remainders of warps; every thread's; several vectors of a thread.
  for (const int width : {8, 264, 8192, 8200}) {
    rows.push_back({"norm_" + std::to_string(width), [=](OpsBackend& backend) {
                      return CheckNorm(backend, {Element::kBF16, width});
                    }});
  }
  rows.push_back({"add_norm_f16", [](OpsBackend& backend) {
                    return CheckNorm(backend, {Element::kF16, 520, true});
                  }});
  rows.push_back({"add_bias_norm_of_some", [](OpsBackend& backend) {
                    return CheckNorm(backend, {Element::kBF16, 520, true, true, true});
                  }});
  rows.push_back({"add_alone", [](OpsBackend& backend) {
                    return CheckNorm(backend, {Element::kBF16, 520, true, true, false, false});
                  }});
  rows.push_back({"gate_f16", [](OpsBackend& backend) {
                    return CheckGate(backend, Element::kF16, 264, true);
                  }});
  rows.push_back({"gate_bf16_of_two_blocks", [](OpsBackend& backend) {
                    return CheckGate(backend, Element::kBF16, 2056, false);
                  }});
  return rows;
}

}  // namespace awq::cuda
