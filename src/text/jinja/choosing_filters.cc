// Filters that call others, or tests, on every item; and default.
#include <array>

#include "text/jinja/attribute_path.h"
#include "text/jinja/filter_tables.h"

namespace awq::text::jinja {
namespace {

Result<Value> DefaultFilter(Machine&, const Value& self, Given given) {
  const bool falls =
      self.is_undefined() || (given[1] != nullptr && given[1]->is_true() && !self.is_true());
  if (!falls) return self;
  return given[0] != nullptr ? *given[0] : Value::Plain("");
}

// The name of a filter or test, and the arguments behind it.
Result<std::string> TakeName(Arguments& arguments) {
  if (arguments.positional.empty()) {
    return MakeError(ErrorCode::kInvalidArgument, "the name of a filter or attribute is missing");
  }
  AWQ_ASSIGN(std::string name, TextOr(&arguments.positional.front(), ""));
  arguments.positional.erase(arguments.positional.begin());
  return name;
}

Result<Value> MapAttribute(Machine& machine, const Value& self, const Arguments& all) {
  const Value* fallback = all.Named("default");
  if (fallback != nullptr && fallback->is_none()) fallback = nullptr;
  if (all.named.size() > (all.Named("default") != nullptr ? 2U : 1U)) {
    return MakeError(ErrorCode::kInvalidArgument, "map takes attribute and default by name");
  }
  AWQ_ASSIGN(const AttributePath path, AttributePath::Read(all.Named("attribute")));
  AWQ_ASSIGN(const std::vector<Value> items, Iterate(machine.meter(), self));
  std::vector<Value> mapped;
  for (const Value& item : items) {
    AWQ_ASSIGN(Value value, path.Of(machine, item, fallback));
    mapped.push_back(std::move(value));
  }
  return MakeSequence(machine.meter(), std::move(mapped), Sequence::Kind::kGenerator);
}

Result<Value> MapFilter(Machine& machine, const Value& self, const Arguments& all) {
  if (!self.is_true()) return MakeSequence(machine.meter(), {}, Sequence::Kind::kGenerator);
  if (all.positional.empty() && all.Named("attribute") != nullptr) {
    return MapAttribute(machine, self, all);
  }
  Arguments arguments = all;
  AWQ_ASSIGN(const std::string name, TakeName(arguments));
  AWQ_ASSIGN(const std::vector<Value> items, Iterate(machine.meter(), self));
  std::vector<Value> mapped;
  for (const Value& item : items) {
    AWQ_ASSIGN(Value value, machine.CallFilter(name, item, arguments));
    mapped.push_back(std::move(value));
  }
  return MakeSequence(machine.meter(), std::move(mapped), Sequence::Kind::kGenerator);
}

template <bool kWanted, bool kByAttribute>
Result<Value> ChooseFilter(Machine& machine, const Value& self, const Arguments& all) {
  if (!self.is_true()) return MakeSequence(machine.meter(), {}, Sequence::Kind::kGenerator);
  Arguments arguments = all;
  AttributePath path;
  if (kByAttribute) {
    if (arguments.positional.empty()) {
      return MakeError(ErrorCode::kInvalidArgument, "the name of an attribute is missing");
    }
    AWQ_ASSIGN(path, AttributePath::Read(&arguments.positional.front()));
    arguments.positional.erase(arguments.positional.begin());
  }
  std::optional<std::string> test;
  if (!arguments.positional.empty()) {
    AWQ_ASSIGN(test, TakeName(arguments));
  }
  AWQ_ASSIGN(const std::vector<Value> items, Iterate(machine.meter(), self));
  std::vector<Value> chosen;
  for (const Value& item : items) {
    AWQ_ASSIGN(const Value value, path.Of(machine, item));
    bool passes = value.is_true();
    if (test) {
      AWQ_ASSIGN(passes, machine.CallTest(*test, value, arguments));
    }
    if (passes == kWanted) chosen.push_back(item);
  }
  return MakeSequence(machine.meter(), std::move(chosen), Sequence::Kind::kGenerator);
}

constexpr std::array kFilters = {
    Function{"default", {"default_value", "boolean"}, 0, DefaultFilter},
    Function{"d", {"default_value", "boolean"}, 0, DefaultFilter},
    Function{"map", {}, 0, nullptr, MapFilter},
    Function{"select", {}, 0, nullptr, ChooseFilter<true, false>},
    Function{"reject", {}, 0, nullptr, ChooseFilter<false, false>},
    Function{"selectattr", {}, 0, nullptr, ChooseFilter<true, true>},
    Function{"rejectattr", {}, 0, nullptr, ChooseFilter<false, true>},
};

}  // namespace

std::span<const Function> ChoosingFilters() { return kFilters; }

}  // namespace awq::text::jinja
