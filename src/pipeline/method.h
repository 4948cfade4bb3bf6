// The ways to quantize, one row each.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "pipeline/polish.h"
#include "search/site.h"

namespace awq::pipeline {

// Whose activations a method looks at.
enum class Inputs : std::uint8_t {
  kNone,
  kOriginal,    // those of the original model, as published for AWQ
  kSequential,  // those that the quantized blocks and sites before really give
};

// Channels that stay in 16 bits (section 3.1 of the AWQ paper): only to compare with.
enum class Salience : std::uint8_t { kNone, kActivation, kWeight, kRandom };

struct Method {
  std::string_view name;
  Inputs inputs = Inputs::kNone;
  bool published_search = false;  // AWQ's scales and clip
  search::SiteOptions site;       // of kSequential
  Salience keeps = Salience::kNone;
  PolishOptions polish;  // of kSequential that carries targets

  bool calibrates() const { return inputs != Inputs::kNone; }
  // Files can hold what it makes.
  bool storable() const { return keeps == Salience::kNone; }
  bool carries_targets() const { return inputs == Inputs::kSequential && site.correct; }
};

std::span<const Method> Methods();
const Method* FindMethod(std::string_view name);  // nullptr if there is none
// "rtn, gptq, awq, ..." of all, or of those whose result can be stored.
std::string MethodNames(bool storable_only);

}  // namespace awq::pipeline
