// How a model becomes one that a reader takes.
#include <algorithm>

#include "base/error.h"
#include "pack/ggml_blocks.h"
#include "verify/terms.h"

namespace awq::verify {
namespace {

// As it is, but for the format; names and keys are what convert writes.
bool TakesNumbers(const Reader& reader, const Terms& terms, const ModelFacts& facts) {
  const pack::Format* format = pack::FindFormat(terms.format);
  if (format == nullptr || !CheckNumbers(terms, facts).empty()) return false;
  for (const LinearFacts& linear : facts.linears) {
    if (linear.spec && !pack::Refuses(*format, linear.form()).empty()) return false;
  }
  ModelFacts converted = facts;
  converted.format = terms.format;
  return CheckAlike(terms, converted).empty() && CheckShares(reader, terms, converted, 1).empty();
}

bool FitsGguf(const ModelFacts& facts) {
  return std::ranges::all_of(facts.linears, [](const LinearFacts& linear) {
    if (!linear.spec) return true;
    quant::Spec spec = linear.spec.value();
    spec.group_size = linear.form().group_size();
    return pack::BlockTypeOf(spec, linear.in_features, linear.module).ok();
  });
}

// The same numbers in another format; empty where no format does.
std::string SuggestConvert(const Reader& reader, const ModelFacts& facts) {
  for (const Terms& terms : reader.terms) {
    if (terms.format == facts.format) continue;
    if (facts.quantization && TakesNumbers(reader, terms, facts)) {
      return fmt::format("awq convert MODEL -o OUT --format {}", terms.format);
    }
    if (terms.format == kGguf && facts.format != kGguf && FitsGguf(facts)) {
      const bool asymmetric = std::ranges::any_of(facts.linears, [](const LinearFacts& linear) {
        return linear.spec && !linear.spec->symmetric;
      });
      return fmt::format("awq convert MODEL -o OUT.gguf --format gguf{}",
                         asymmetric ? " --lossy" : "");
    }
  }
  return "";
}

struct Choice {
  int bits = 4;
  bool symmetric = false;
  std::size_t group_size = 0;
};

// The usual numbers that the terms allow, for this model's shapes; nothing where none fit.
std::optional<Choice> Choose(const Reader& reader, const Terms& terms, const ModelFacts& facts) {
  const pack::Format* format = pack::FindFormat(terms.format);
  if (format == nullptr) return std::nullopt;
  for (const std::size_t size :
       {std::size_t{128}, std::size_t{64}, std::size_t{32}, std::size_t{0}}) {
    for (const bool symmetric : {false, true}) {
      ModelFacts quantized = facts;
      quantized.format = terms.format;
      for (LinearFacts& linear : quantized.linears) {
        linear.spec = quant::Spec{4, size, symmetric};
        linear.block_elements = 1;
      }
      const bool stores = std::ranges::all_of(quantized.linears, [&](const LinearFacts& linear) {
        return pack::Refuses(*format, linear.form()).empty();
      });
      if (!stores || (!symmetric && format->least_zero > 0)) continue;
      if (!CheckNumbers(terms, quantized).empty()) continue;
      if (CheckShares(reader, terms, quantized, 1).empty()) return Choice{4, symmetric, size};
    }
  }
  return std::nullopt;
}

std::string SuggestQuantize(const Reader& reader, const ModelFacts& facts) {
  for (const Terms& terms : reader.terms) {
    const auto choice = Choose(reader, terms, facts);
    if (!choice) continue;
    return fmt::format("awq quantize ORIGINAL -o OUT --format {} --group-size {}{}", terms.format,
                       choice->group_size == 0 ? "-1" : std::to_string(choice->group_size),
                       choice->symmetric ? " --sym" : "");
  }
  return "none: it takes no format of awq for these shapes";
}

}  // namespace

std::string SuggestFormat(const Reader& reader, const ModelFacts& facts) {
  const std::string convert = SuggestConvert(reader, facts);
  return convert.empty() ? SuggestQuantize(reader, facts) : convert;
}

}  // namespace awq::verify
