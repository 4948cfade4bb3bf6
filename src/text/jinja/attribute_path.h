// What filters take as `attribute`: "name", "name.other.0" or a number.
#pragma once

#include <awq/result.h>

#include <optional>
#include <vector>

#include "text/jinja/machine.h"

namespace awq::text::jinja {

class AttributePath {
 public:
  // nullptr and none are the path to the item itself.
  static Result<AttributePath> Read(const Value* attribute);
  // Paths between commas.
  static Result<std::vector<AttributePath>> ReadSeveral(Meter& meter, const Value* attribute);

  // `fallback`, where it is there, stands for what is undefined on the way.
  Result<Value> Of(Machine& machine, Value item, const Value* fallback = nullptr) const;

 private:
  std::vector<Value> parts_;
};

}  // namespace awq::text::jinja
