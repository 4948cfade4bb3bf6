#include "text/jinja/attribute_path.h"

#include <algorithm>
#include <charconv>

#include "text/jinja/text_ops.h"

namespace awq::text::jinja {

Result<AttributePath> AttributePath::Read(const Value* attribute) {
  AttributePath path;
  if (attribute == nullptr || attribute->is_none()) return path;
  if (!attribute->is_text()) {
    path.parts_.push_back(*attribute);
    return path;
  }
  std::string_view rest = attribute->utf8();
  for (std::size_t dot = 0; dot != rest.npos;) {
    dot = rest.find('.');
    const std::string_view part = rest.substr(0, dot);
    std::int64_t number = 0;
    const char* const end = part.data() + part.size();
    const bool is_number = !part.empty() && part.find_first_not_of("0123456789") == part.npos &&
                           std::from_chars(part.data(), end, number).ec == std::errc();
    path.parts_.push_back(is_number ? Value(number) : Value::Plain(part));
    if (dot != rest.npos) rest.remove_prefix(dot + 1);
  }
  return path;
}

Result<std::vector<AttributePath>> AttributePath::ReadSeveral(Meter& meter,
                                                              const Value* attribute) {
  std::vector<AttributePath> paths;
  if (attribute == nullptr || !attribute->is_text()) {
    AWQ_ASSIGN(AttributePath path, Read(attribute));
    paths.push_back(std::move(path));
    return paths;
  }
  AWQ_ASSIGN(const auto parts, Split(meter, attribute->utf8(), ",", -1));
  for (const std::string& part : parts) {
    const Value name = Value::Plain(part);
    AWQ_ASSIGN(AttributePath path, Read(&name));
    paths.push_back(std::move(path));
  }
  return paths;
}

Result<Value> AttributePath::Of(Machine& machine, Value item, const Value* fallback) const {
  for (const Value& part : parts_) {
    AWQ_ASSIGN(item, Subscript(machine, item, part));
    if (fallback != nullptr && item.is_undefined()) item = *fallback;
  }
  return item;
}

}  // namespace awq::text::jinja
