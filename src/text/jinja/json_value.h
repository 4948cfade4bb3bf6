// JSON text as a value, its objects in the order of the text.
#pragma once

#include <awq/result.h>

#include <string_view>

#include "text/jinja/value.h"

namespace awq::text::jinja {

// `name` stands in errors. Of a key that stands twice the last value counts, as in Python. Error:
// not JSON; integers beyond 64 bits; nesting; more than 2^20 values.
Result<Value> ValueFromJson(std::string_view json, std::string_view name);

}  // namespace awq::text::jinja
