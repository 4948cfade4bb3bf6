#include "pipeline/memory.h"

#include <algorithm>

#include "model/arch.h"
#include "pipeline/compute.h"
#include "pipeline/hidden_store.h"
#include "pipeline/walk.h"
#include "search/statistics.h"
#include "transformer/kv_cache.h"

namespace awq::pipeline {
namespace {

constexpr std::size_t kMiB = std::size_t{1} << 20;
// Measured on idle runs of the smallest model: program, libraries and the tokenizer's tables.
constexpr std::size_t kBaseBytes = 96 * kMiB;
// oneDNN's scratch and the search's blocks of residuals, per thread.
constexpr std::size_t kPerThreadBytes = 24 * kMiB;

// Of a group: its scale as a float, and its zero point.
constexpr std::size_t kGroupBytes = sizeof(float) + 1;

std::size_t ElementBytes(math::Precision precision) {
  return precision == math::Precision::kBF16 ? 2 : 4;
}

// A site's input channels, and the weights and groups of all its linears.
struct SiteSize {
  std::size_t in = 0;
  std::size_t elements = 0;
  std::size_t groups = 0;
};

SiteSize SizeOf(const model::ModelConfig& config, const model::SiteRow& site,
                std::size_t group_size) {
  SiteSize size;
  for (const model::LinearRow& row : config.arch->linears) {
    if (std::ranges::find(site.readers, row.role) == site.readers.end()) continue;
    const std::size_t out = model::Width(config, row.out);
    size.in = model::Width(config, row.in);
    size.elements += size.in * out;
    size.groups += group_size == 0 ? out : size.in / group_size * out;
  }
  return size;
}

// Gram matrix, sketches, and tokens held out; with targets the cross matrix, or its product with
// the weights, which is gathered where it is smaller.
std::size_t StatisticsBytes(const SiteSize& size, const Method& method) {
  const std::size_t square = size.in * size.in;
  const std::size_t sides = method.carries_targets() ? 2 : 1;
  std::size_t elements = square + sides * size.in * (search::kSketchRows * 2 + kHeldOutRows);
  if (method.carries_targets()) elements += std::min(square, size.elements);
  return elements * sizeof(float) + size.in * 64;
}

// The Gram matrix's factor, and of the site's weights what rounding with feedback holds:
// themselves, the corrected ones and scaled ones as floats, the codes of three attempts and two
// more, and both ends of the groups' ranges.
std::size_t SolvingBytes(const SiteSize& size) {
  return size.in * size.in * sizeof(float) + size.elements * (3 * sizeof(float) + 5) +
         size.groups * (5 * kGroupBytes + 2 * sizeof(float));
}

// Scratch of the forward pass, hidden states and the KV cache of the tokens in flight.
std::size_t ForwardBytes(const model::ModelConfig& config, const RunSize& run,
                         std::size_t streams) {
  const std::size_t element = ElementBytes(run.precision);
  const std::size_t in_flight =
      run.sequence_tokens == 0
          ? 0
          : std::max<std::size_t>(1, kTokensInFlight / run.sequence_tokens) * run.sequence_tokens;
  const std::size_t widest =
      std::max({config.intermediate_size, config.hidden_size, config.q_width()});
  // With two streams, what a site reads in both, and their difference.
  const std::size_t inputs = (streams + (streams > 1 ? 1 : 0)) * widest * element;
  return in_flight * (2 * widest * sizeof(float) + inputs +
                      2 * std::max(config.hidden_size, config.q_width()) * sizeof(float) +
                      config.hidden_size * sizeof(float) + 2 * config.kv_width() * element);
}

// The same on a GPU: with targets the cross matrix, and of rows inputs, targets and their
// difference; and what adds tokens in flight to it.
std::size_t GpuStatisticsBytes(const SiteSize& size, std::size_t streams) {
  const std::size_t rows = (search::kSketchRows + kHeldOutRows) * (streams > 1 ? 3 : 1);
  const std::size_t difference = streams > 1 ? kTokensInFlight * size.in * 2 : 0;
  return (streams * size.in * size.in + rows * size.in) * sizeof(float) + difference;
}

// The factor; weights, corrected ones and what rounding holds of them, as floats; codes; a refit's
// systems; and outputs of the judging rows.
std::size_t GpuSolvingBytes(const SiteSize& size, std::size_t streams, std::size_t group_size) {
  constexpr std::size_t kRefittedRows = 2048;  // at a time, each with a system of its groups
  const std::size_t groups = group_size == 0 ? 1 : size.in / group_size;
  const std::size_t outputs = size.elements / size.in * kHeldOutRows * streams;
  return (size.in * size.in + kRefittedRows * groups * groups + outputs) * sizeof(float) +
         size.elements * (5 * sizeof(float) + 5) + 5 * size.groups * kGroupBytes;
}

}  // namespace

std::size_t ProgramBytes(std::size_t threads) { return kBaseBytes + threads * kPerThreadBytes; }

std::size_t EstimateGpuMemory(const model::ModelConfig& config, const Method& method,
                              const RunSize& run) {
  const std::size_t streams = method.carries_targets() ? 2 : 1;
  const std::size_t kept = streams + (method.polish.epochs > 0 ? 1 : 0);
  const std::size_t states = kept * run.sequences * run.sequence_tokens * config.hidden_size;
  std::size_t elements = 0;
  std::size_t all_statistics = 0;
  std::size_t most = 0;
  for (const model::SiteRow& site : config.arch->sites) {
    const SiteSize size = SizeOf(config, site, run.group_size);
    const std::size_t statistics = GpuStatisticsBytes(size, streams);
    elements += size.elements;
    all_statistics += statistics;
    most = std::max(most, statistics + GpuSolvingBytes(size, streams, run.group_size));
  }
  // The published search wants the statistics of all sites at once.
  if (method.inputs == Inputs::kOriginal) most += all_statistics;
  return kGpuBaseBytes + states * sizeof(float) + 2 * 2 * elements +
         2 * ForwardBytes(config, run, streams) + most;
}

MemoryBound BoundMemory(const model::ModelConfig& config, const Method& method,
                        const RunSize& run) {
  MemoryBound bound;
  const bool sequential = method.inputs == Inputs::kSequential;
  const std::size_t element = ElementBytes(run.precision);
  const std::size_t streams = method.carries_targets() ? 2 : 1;
  bound.disk_bytes =
      streams *
      HiddenStore::Bytes(run.precision, run.sequences * run.sequence_tokens, config.hidden_size);

  bound.activation_bytes = ForwardBytes(config, run, streams);
  SiteSize block;
  std::size_t largest_site = 0;
  for (const model::SiteRow& site : config.arch->sites) {
    const SiteSize size = SizeOf(config, site, run.group_size);
    block.elements += size.elements;
    block.groups += size.groups;
    largest_site = std::max(largest_site, size.elements);
  }
  const std::size_t code_bytes = block.elements + block.groups * kGroupBytes;
  // The fold check holds one block as floats, and one linear of it twice for a moment.
  const std::size_t check_bytes = block.elements * sizeof(float) + largest_site;
  if (sequential) {
    // One site at a time, and either running, with scratch memory, or solving, without.
    std::size_t most = check_bytes;
    for (const model::SiteRow& site : config.arch->sites) {
      const SiteSize size = SizeOf(config, site, run.group_size);
      bound.gram_bytes = std::max(bound.gram_bytes, StatisticsBytes(size, method));
      most = std::max(most, StatisticsBytes(size, method) + SolvingBytes(size));
    }
    // The block as far as it is quantized, as codes and ready to compute with, and the original
    // one, where it is not used as the file has it.
    const std::size_t ready_bytes = 2 * element * block.elements;
    bound.weights_bytes = code_bytes + ready_bytes;
    if (method.polish.epochs > 0) {
      bound.disk_bytes += bound.disk_bytes / streams;  // what the block began with
      // In the place of what was ready to compute with.
      const std::size_t polish_bytes = PolishBytes(
          config, method.polish, {block.elements, block.groups}, run.sequence_tokens, run.threads);
      most = std::max(most, polish_bytes - std::min(polish_bytes, ready_bytes));
    }
    bound.activation_bytes =
        std::max(bound.activation_bytes, most - std::min(most, bound.gram_bytes));
  } else {
    for (const model::SiteRow& site : config.arch->sites) {
      bound.gram_bytes += StatisticsBytes(SizeOf(config, site, run.group_size), method);
    }
    // The search holds the largest site as floats, its codes, and blocks of residuals of 64 MiB.
    // Beside it or the check, the block's codes.
    bound.weights_bytes = code_bytes + std::max(check_bytes, largest_site * 5 + 64 * kMiB);
  }
  bound.base_bytes = ProgramBytes(run.threads);
  return bound;
}

}  // namespace awq::pipeline
