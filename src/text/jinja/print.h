// Values as Python and its json package write them.
#pragma once

#include <awq/result.h>

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "text/jinja/meter.h"
#include "text/jinja/value.h"

namespace awq::text::jinja {

// str(value). Error: what Python would write with an address in memory.
Result<std::string> Str(Meter& meter, const Value& value);
Result<std::string> Repr(Meter& meter, const Value& value);

struct JsonStyle {
  bool ascii_only = false;
  bool sorted = false;
  std::optional<std::string> indent = std::nullopt;  // of one level; none: all on one line
  std::string item_separator = ", ";
  std::string key_separator = ": ";
};
// json.dumps. Error: what JSON has no form for.
Result<std::string> ToJson(Meter& meter, const Value& value, const JsonStyle& style);

// repr of a float: the shortest decimal that reads back as it.
std::string FloatText(double value);

}  // namespace awq::text::jinja
