// A template's text as statements.
#pragma once

#include <awq/result.h>

#include <string_view>

#include "text/jinja/ast.h"

namespace awq::text::jinja {

// Errors say the line. Templates that include or extend others are kUnsupported.
Result<Block> Parse(std::string_view source);

}  // namespace awq::text::jinja
