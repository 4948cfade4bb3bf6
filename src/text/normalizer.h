// The "normalizer" of a tokenizer file: what happens to a text before it is split.
#pragma once

#include <awq/result.h>

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "text/json_node.h"
#include "text/regex.h"

namespace awq::text {

// A text on its way, and how many of its leading bytes come from the first character of what the
// caller gave (0 where this piece does not begin there): Metaspace's "first" asks.
struct NormalizedText {
  std::string text;
  std::size_t first_bytes = 0;
};

class Normalizer {
 public:
  virtual ~Normalizer() = default;
  // Precondition: valid UTF-8, not empty.
  virtual Status Apply(NormalizedText& text, RegexScratch& scratch) const = 0;
};

class NormalizerChain {
 public:
  // The component under "normalizer"; unknown types are kUnsupported, by name.
  static Result<NormalizerChain> FromJson(const JsonNode& node);

  bool empty() const { return stages_.empty(); }
  Status Apply(NormalizedText& text, RegexScratch& scratch) const;

 private:
  std::vector<std::unique_ptr<const Normalizer>> stages_;
};

}  // namespace awq::text
