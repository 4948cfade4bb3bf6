#include "pipeline/method.h"

#include <array>

namespace awq::pipeline {
namespace {

constexpr std::array<Method, 8> kMethods = {{
    {.name = "awq-plus",
     .inputs = Inputs::kSequential,
     .published_search = false,
     .site = {},
     .keeps = Salience::kNone,
     .polish = {}},
    {.name = "awq-plus-polish",
     .inputs = Inputs::kSequential,
     .published_search = false,
     .site = {},
     .keeps = Salience::kNone,
     .polish = {.epochs = 4}},
    {.name = "awq",
     .inputs = Inputs::kOriginal,
     .published_search = true,
     .site = {},
     .keeps = Salience::kNone,
     .polish = {}},
    {.name = "gptq",
     .inputs = Inputs::kSequential,
     .published_search = false,
     .site = search::kGptqOptions,
     .keeps = Salience::kNone,
     .polish = {}},
    {.name = "rtn",
     .inputs = Inputs::kNone,
     .published_search = false,
     .site = {},
     .keeps = Salience::kNone,
     .polish = {}},
    {.name = "salient-act",
     .inputs = Inputs::kOriginal,
     .published_search = false,
     .site = {},
     .keeps = Salience::kActivation,
     .polish = {}},
    {.name = "salient-weight",
     .inputs = Inputs::kNone,
     .published_search = false,
     .site = {},
     .keeps = Salience::kWeight,
     .polish = {}},
    {.name = "salient-random",
     .inputs = Inputs::kNone,
     .published_search = false,
     .site = {},
     .keeps = Salience::kRandom,
     .polish = {}},
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
