// How a model becomes one that a reader takes: by another format, or quantized otherwise.
#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "base/error.h"
#include "checkpoint/gguf_names.h"
#include "checkpoint/tensor_parallel.h"
#include "verify/terms.h"

namespace awq::verify {
namespace {

constexpr int kUsualBits = 4;
constexpr std::size_t kUsualGroups[] = {128, 64, 32, 16};

bool IsTaken(const Reader& reader, const Terms& terms, const ModelFacts& facts, std::size_t ranks) {
  return CheckNumbers(terms, facts).empty() && CheckAlike(terms, facts).empty() &&
         CheckShares(reader, terms, facts, 1).empty() &&
         (ranks == 1 || CheckShares(reader, terms, facts, ranks).empty());
}

bool IsGgufModel(const ModelFacts& facts) {
  return facts.has_tokenizer && checkpoint::GgufArchOf(facts.config.model_type) != nullptr;
}

bool Stores(const pack::Format& format, const ModelFacts& facts) {
  return std::ranges::all_of(facts.linears, [&](const LinearFacts& linear) {
    if (!linear.spec) return true;
    if (format.least_zero > 0 && !linear.spec->symmetric) return false;
    return pack::Refuses(format, linear.form()).empty();
  });
}

// Of a GGUF, which is made a directory: the blocks as codes.
ModelFacts WithCodes(const ModelFacts& facts) {
  ModelFacts coded = facts;
  coded.json = {{"torch_dtype", "float16"}};
  for (LinearFacts& linear : coded.linears) {
    linear.spec = facts.blocks;
    linear.block_elements = 1;
  }
  return coded;
}

// The same numbers in another format; empty where none helps. Names and keys are what convert
// writes.
std::string SuggestConvert(const Reader& reader, const ModelFacts& facts, std::size_t ranks) {
  if (!facts.blocks && (!facts.quantization || facts.quantization->spec() == nullptr)) return "";
  ModelFacts converted = facts.blocks ? WithCodes(facts) : facts;
  for (const Terms& terms : reader.terms) {
    const pack::Format* format = pack::FindFormat(terms.format);
    if (format == nullptr || terms.format == facts.format || !Stores(*format, converted)) continue;
    converted.format = terms.format;
    if (IsTaken(reader, terms, converted, ranks)) {
      // A GGUF's minima may have been rounded.
      const bool rounded = facts.blocks && !facts.blocks->symmetric;
      return fmt::format("awq convert MODEL -o OUT --format {}{}", terms.format,
                         rounded ? " --lossy" : "");
    }
  }
  return "";
}

// Likewise into GGUF, where floats go, too.
std::string SuggestGguf(const Reader& reader, const ModelFacts& facts, std::size_t ranks) {
  const auto terms = std::ranges::find(reader.terms, kGguf, &Terms::format);
  ModelFacts converted = facts;
  if (terms == reader.terms.end() || facts.format == kGguf || !IsGgufModel(facts) ||
      !PutIntoGguf(converted) || !IsTaken(reader, *terms, converted, ranks)) {
    return "";
  }
  const bool asymmetric = std::ranges::any_of(facts.linears, [](const LinearFacts& linear) {
    return linear.spec && !linear.spec->symmetric;
  });
  return fmt::format("awq convert MODEL -o OUT.gguf --format gguf{}", asymmetric ? " --lossy" : "");
}

// What awq quantize would be told besides the format.
struct Choice {
  quant::Spec spec;
  bool padded = false;
};

// What the model has comes first, the nearest to it next.
std::vector<Choice> Choices(const ModelFacts& facts) {
  const quant::Spec* present = facts.quantization ? facts.quantization->spec() : nullptr;
  std::vector<std::size_t> groups(std::begin(kUsualGroups), std::end(kUsualGroups));
  std::vector<int> bits = {kUsualBits};
  if (present != nullptr && present->group_size != 0) {
    std::ranges::stable_sort(groups, {}, [&](std::size_t size) {
      return std::abs(
          std::log2(static_cast<double>(size) / static_cast<double>(present->group_size)));
    });
  }
  groups.push_back(0);
  if (present != nullptr) {
    groups.insert(groups.begin(), present->group_size);
    if (present->bits != kUsualBits) bits.insert(bits.begin(), present->bits);
  }
  const bool symmetric = present != nullptr && present->symmetric;
  std::vector<Choice> choices;
  for (const int width : bits) {
    for (const std::size_t group : groups) {
      for (const bool padded : {false, true}) {
        for (const bool sign : {symmetric, !symmetric}) {
          choices.push_back({quant::Spec{width, group, sign}, padded});
        }
      }
    }
  }
  return choices;
}

// One layer of what awq quantize would make of the original; nothing where it refuses to.
std::optional<ModelFacts> Quantized(const Choice& choice, const Terms& terms,
                                    const ModelFacts& facts, std::size_t ranks) {
  ModelFacts result;
  result.config = facts.config;
  result.json = {{"torch_dtype", "float16"}};
  result.format = terms.format;
  const auto layer = static_cast<std::ptrdiff_t>(facts.linears_a_layer());
  result.linears.assign(facts.linears.begin(), facts.linears.begin() + layer);
  if (choice.padded) {
    const auto size =
        checkpoint::SharedIntermediateSize(facts.config, ranks, choice.spec.group_size);
    if (!size || *size == facts.config.intermediate_size) return std::nullopt;
    result.config.intermediate_size = *size;
  }
  const model::ArchSpec& arch = *result.config.arch;
  for (std::size_t i = 0; i < result.linears.size(); ++i) {
    LinearFacts& linear = result.linears[i];
    linear.out_features = model::Width(result.config, arch.linears[i].out);
    linear.in_features = model::Width(result.config, arch.linears[i].in);
    linear.block_elements = 1;
    linear.spec = choice.spec;
    // What the blocks of GGUF do not divide stays in 16 bits, which its readers take.
    if (terms.format == kGguf && linear.in_features % kGgufBlock != 0) linear.spec.reset();
  }
  const bool any = std::ranges::any_of(
      result.linears, [](const LinearFacts& linear) { return linear.spec.has_value(); });
  if (!any) return std::nullopt;
  if (terms.format == kGguf) {
    const pack::Format& carrier = *pack::FindFormat("compressed-tensors");
    if (!Stores(carrier, result) || !PutIntoGguf(result)) return std::nullopt;
    return result;
  }
  const pack::Format* format = pack::FindFormat(terms.format);
  if (format == nullptr || !Stores(*format, result)) return std::nullopt;
  return result;
}

std::optional<Remedy> QuantizeAs(const Reader& reader, const Terms& terms, const ModelFacts& facts,
                                 std::size_t ranks) {
  const bool is_gguf = terms.format == kGguf;
  if (is_gguf && !IsGgufModel(facts)) return std::nullopt;
  for (const Choice& choice : Choices(facts)) {
    const auto made = Quantized(choice, terms, facts, ranks);
    if (!made || !IsTaken(reader, terms, *made, ranks)) continue;
    const quant::Spec& spec = choice.spec;
    return Remedy{fmt::format("awq quantize ORIGINAL -o OUT{} --format {} --group-size {}{}{}",
                              is_gguf ? ".gguf" : "", terms.format,
                              spec.group_size == 0 ? "-1" : std::to_string(spec.group_size),
                              spec.bits == kUsualBits ? "" : fmt::format(" --bits {}", spec.bits),
                              spec.symmetric ? " --sym" : ""),
                  choice.padded};
  }
  return std::nullopt;
}

}  // namespace

std::string Remedy::Text(std::size_t ranks) const {
  return padded ? fmt::format("{} --tp-pad {}", command, ranks) : command;
}

// GGUF comes last: who reads other formats, too, makes less of it (docs/verify.md).
Remedy Suggest(const Reader& reader, const ModelFacts& facts, std::size_t ranks) {
  if (std::string convert = SuggestConvert(reader, facts, ranks); !convert.empty()) {
    return {std::move(convert), false};
  }
  const auto quantize = [&](const auto& is_meant) -> std::optional<Remedy> {
    for (const Terms& terms : reader.terms) {
      if (!is_meant(terms.format)) continue;
      if (auto remedy = QuantizeAs(reader, terms, facts, ranks)) return remedy;
    }
    return std::nullopt;
  };
  const auto is_own = [&](std::string_view format) { return format == facts.format; };
  const auto is_other = [&](std::string_view format) { return !is_own(format) && format != kGguf; };
  const auto is_gguf = [](std::string_view format) { return format == kGguf; };
  if (auto remedy = quantize(is_own)) return *std::move(remedy);
  if (auto remedy = quantize(is_other)) return *std::move(remedy);
  if (std::string gguf = SuggestGguf(reader, facts, ranks); !gguf.empty()) {
    return {std::move(gguf), false};
  }
  return quantize(is_gguf).value_or(Remedy());
}

}  // namespace awq::verify
