// The filters, by file.
#pragma once

#include <span>

#include "text/jinja/machine.h"

namespace awq::text::jinja {

std::span<const Function> TextFilters();      // text_filters.cc
std::span<const Function> NumberFilters();    // number_filters.cc
std::span<const Function> SequenceFilters();  // sequence_filters.cc
std::span<const Function> ChoosingFilters();  // choosing_filters.cc

}  // namespace awq::text::jinja
