// Checks of Gram matrices.
#pragma once

#include "cuda/test_ops.h"

namespace awq::cuda {

// left^T x where it is paired, else x^T x.
inline std::string CheckGram(OpsBackend& backend, Element type, int width, int tokens,
                             bool is_paired) {
  const auto n = static_cast<std::size_t>(width);
  const auto count = static_cast<std::size_t>(tokens);
  const std::vector<std::uint16_t> x = Rounded(RandomFloats(count * n, 1, 31), type);
  const std::vector<std::uint16_t> left =
      is_paired ? Rounded(RandomFloats(count * n, 1, 33), type) : x;
  const std::vector<float> before = RandomFloats(n * n, 5, 32);
  GramTask task;
  task.x = backend.Place(x);
  task.type = type;
  task.width = width;
  task.tokens = tokens;
  task.gram = backend.Place(before);
  if (is_paired) task.left = backend.Place(left);
  AWQ_EXPECT(MessageOf(backend.Run(task)));
  std::vector<double> expected, sizes;
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t j = 0; j < n; ++j) {
      double sum = static_cast<double>(before[i * n + j]);
      double size = std::abs(sum);
      // Below the diagonal's tiles x^T x stays as it is.
      const bool is_below = !is_paired && j / 128 < i / 128;
      for (std::size_t t = 0; t < count && !is_below; ++t) {
        const double product = static_cast<double>(Widened(left[t * n + i], type)) *
                               static_cast<double>(Widened(x[t * n + j], type));
        sum += product;
        size += std::abs(product);
      }
      expected.push_back(sum);
      sizes.push_back(is_below ? 0 : size);
    }
  }
  // Products are exact, each is added once, and their sum.
  return Compare("element", backend.Fetch<float>(task.gram, n * n), expected,
                 [&](std::size_t i) { return static_cast<double>(tokens + 1) * kUnit * sizes[i]; });
}

inline std::vector<OpsRow> GramRows() {
  std::vector<OpsRow> rows;
  const auto add = [&](const std::string& name, Element type, int width, int tokens,
                       bool is_paired = false) {
    rows.push_back({"gram_" + name, [=](OpsBackend& backend) {
                      return CheckGram(backend, type, width, tokens, is_paired);
                    }});
  };
  add("bf16_8_1", Element::kBF16, 8, 1);
  add("f16_136_33", Element::kF16, 136, 33);
  add("bf16_264_77", Element::kBF16, 264, 77);
  add("bf16_128_160", Element::kBF16, 128, 160);  // more steps than stages
  add("paired_bf16_8_3", Element::kBF16, 8, 3, true);
  add("paired_f16_136_33", Element::kF16, 136, 33, true);
  add("paired_bf16_264_77", Element::kBF16, 264, 77, true);
  return rows;
}

}  // namespace awq::cuda
