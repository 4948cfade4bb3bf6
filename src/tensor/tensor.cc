#include "tensor/tensor.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace awq {

std::string ShapeString(const Shape& shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

}  // namespace awq
