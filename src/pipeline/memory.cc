#include "pipeline/memory.h"

#include <algorithm>

#include "model/arch.h"
#include "pipeline/hidden_store.h"
#include "pipeline/stream.h"
#include "search/statistics.h"
#include "transformer/kv_cache.h"

namespace awq::pipeline {
namespace {

constexpr std::size_t kMiB = std::size_t{1} << 20;
// Measured on idle runs of the smallest model: program, libraries and the tokenizer's tables.
constexpr std::size_t kBaseBytes = 96 * kMiB;
// oneDNN's scratch and the search's blocks of residuals, per thread.
constexpr std::size_t kPerThreadBytes = 24 * kMiB;

}  // namespace

MemoryBound BoundMemory(const model::ModelConfig& config, math::Precision precision,
                        std::size_t sequences, std::size_t sequence_tokens, std::size_t threads) {
  MemoryBound bound;
  const std::size_t element = precision == math::Precision::kBF16 ? 2 : 4;
  bound.stream_bytes =
      HiddenStore::Bytes(precision, sequences * sequence_tokens, config.hidden_size);

  std::size_t block_elements = 0;
  std::size_t largest_site = 0;
  for (const model::SiteRow& site : config.arch->sites) {
    std::size_t site_elements = 0;
    std::size_t in = 0;
    for (const model::LinearRow& row : config.arch->linears) {
      if (std::find(site.readers.begin(), site.readers.end(), row.role) == site.readers.end()) {
        continue;
      }
      in = model::Width(config, row.in);
      site_elements += in * model::Width(config, row.out);
    }
    block_elements += site_elements;
    largest_site = std::max(largest_site, site_elements);
    bound.gram_bytes += in * in * sizeof(float) + in * 32;
    if (in >= search::kSketchFrom) bound.gram_bytes += in * search::kSketchRows * sizeof(float);
  }
  // The fold check holds one block as floats, and one linear of it twice for a moment; the search
  // holds the largest site as floats, its codes, and blocks of residuals of 64 MiB at most.
  const std::size_t search_bytes = largest_site * 5 + 64 * kMiB;
  bound.weights_bytes = std::max(block_elements * sizeof(float) + largest_site, search_bytes);

  const std::size_t in_flight =
      std::max<std::size_t>(1, kTokensInFlight / sequence_tokens) * sequence_tokens;
  const std::size_t widest =
      std::max({config.intermediate_size, config.hidden_size, config.q_width()});
  bound.activation_bytes =
      in_flight * (2 * widest * sizeof(float) + widest * element +
                   2 * std::max(config.hidden_size, config.q_width()) * sizeof(float) +
                   config.hidden_size * sizeof(float) + 2 * config.kv_width() * element);
  bound.base_bytes = kBaseBytes + threads * kPerThreadBytes;
  return bound;
}

}  // namespace awq::pipeline
