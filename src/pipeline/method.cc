#include "pipeline/method.h"

#include <array>

namespace awq::pipeline {
namespace {

constexpr std::array<Method, 7> kMethods = {{
    {.name = "awq-plus",
     .what = "AWQ, GPTQ and corrected targets together, the best of all per linear",
     .inputs = Inputs::kSequential,
     .published_search = false,
     .site = {},
     .keeps = Salience::kNone},
    {.name = "awq",
     .what = "the published AWQ search",
     .inputs = Inputs::kOriginal,
     .published_search = true,
     .site = {},
     .keeps = Salience::kNone},
    {.name = "gptq",
     .what = "the published GPTQ, static groups in order of activation",
     .inputs = Inputs::kSequential,
     .published_search = false,
     .site = search::kGptqOptions,
     .keeps = Salience::kNone},
    {.name = "rtn",
     .what = "rounding to nearest, without calibration",
     .inputs = Inputs::kNone,
     .published_search = false,
     .site = {},
     .keeps = Salience::kNone},
    {.name = "salient-act",
     .what = "rtn, 1 % of the channels in 16 bits: those with the largest activations",
     .inputs = Inputs::kOriginal,
     .published_search = false,
     .site = {},
     .keeps = Salience::kActivation},
    {.name = "salient-weight",
     .what = "rtn, 1 % of the channels in 16 bits: those with the largest weights",
     .inputs = Inputs::kNone,
     .published_search = false,
     .site = {},
     .keeps = Salience::kWeight},
    {.name = "salient-random",
     .what = "rtn, 1 % of the channels in 16 bits: any",
     .inputs = Inputs::kNone,
     .published_search = false,
     .site = {},
     .keeps = Salience::kRandom},
}};

}  // namespace

std::span<const Method> Methods() { return kMethods; }

const Method* FindMethod(std::string_view name) {
  for (const Method& method : kMethods) {
    if (method.name == name) return &method;
  }
  return nullptr;
}

std::string MethodNames(bool storable_only) {
  std::string names;
  for (const Method& method : kMethods) {
    if (storable_only && !method.storable()) continue;
    if (!names.empty()) names += ", ";
    names += method.name;
  }
  return names;
}

}  // namespace awq::pipeline
