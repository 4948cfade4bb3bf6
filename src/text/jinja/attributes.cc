#include <algorithm>
#include <array>

#include "text/jinja/machine.h"
#include "text/jinja/operators.h"

namespace awq::text::jinja {
namespace {

using namespace std::string_view_literals;

Value Bind(const Function& method, const Value& self) {
  auto callable = std::make_shared<Callable>();
  callable->name = method.name;
  callable->depth = self.depth() + 1;
  callable->call = [&method, self](Machine& machine, const Arguments& arguments) {
    return Apply(machine, method, self, arguments);
  };
  return Value(std::shared_ptr<const Callable>(std::move(callable)));
}

// What would change a list or a dict: the sandbox has it, but nothing may be done with it.
bool IsUnsafe(const Value& object, std::string_view name) {
  static constexpr std::array kOfDicts = {"clear"sv, "pop"sv, "popitem"sv, "setdefault"sv,
                                          "update"sv};
  static constexpr std::array kOfLists = {"append"sv, "clear"sv,  "extend"sv,  "insert"sv,
                                          "pop"sv,    "remove"sv, "reverse"sv, "sort"sv};
  if (object.dict() != nullptr) return std::ranges::find(kOfDicts, name) != kOfDicts.end();
  const Sequence* sequence = object.sequence();
  return sequence != nullptr && sequence->kind == Sequence::Kind::kList &&
         std::ranges::find(kOfLists, name) != kOfLists.end();
}

Result<Value> DictGet(Machine&, const Value& self, Given given) {
  const Value* found = self.dict()->Find(*given[0]);
  return found != nullptr ? *found : given[1] != nullptr ? *given[1] : Value();
}

template <Sequence::Kind kKind>
Result<Value> DictView(Machine& machine, const Value& self, Given) {
  Meter& meter = machine.meter();
  std::vector<Value> items;
  AWQ_TRY(meter.Spend(self.dict()->items().size()));
  for (const auto& [key, value] : self.dict()->items()) {
    if constexpr (kKind == Sequence::Kind::kItems) {
      AWQ_ASSIGN(Value pair, MakeSequence(meter, {key, value}, Sequence::Kind::kTuple));
      items.push_back(std::move(pair));
    } else {
      items.push_back(kKind == Sequence::Kind::kKeys ? key : value);
    }
  }
  return MakeSequence(meter, std::move(items), kKind);
}

Result<Value> Same(Machine&, const Value& self, Given) { return self; }

constexpr std::array kDictMethods = {
    Function{"get", {"key", "default"}, 1, DictGet},
    Function{"keys", {}, 0, DictView<Sequence::Kind::kKeys>},
    Function{"values", {}, 0, DictView<Sequence::Kind::kValues>},
    Function{"items", {}, 0, DictView<Sequence::Kind::kItems>},
    Function{"copy", {}, 0, Same},
};

Result<Value> ListCount(Machine& machine, const Value& self, Given given) {
  std::int64_t count = 0;
  for (const Value& item : self.sequence()->items) {
    AWQ_ASSIGN(const bool same, Equal(machine.meter(), item, *given[0]));
    count += same ? 1 : 0;
  }
  return Value(count);
}

Result<Value> ListIndex(Machine& machine, const Value& self, Given given) {
  const std::vector<Value>& items = self.sequence()->items;
  for (std::size_t i = 0; i < items.size(); ++i) {
    AWQ_ASSIGN(const bool same, Equal(machine.meter(), items[i], *given[0]));
    if (same) return Value(static_cast<std::int64_t>(i));
  }
  return MakeError(ErrorCode::kInvalidArgument, "the value is not in the list");
}

constexpr std::array kListMethods = {
    Function{"count", {"value"}, 1, ListCount},
    Function{"index", {"value"}, 1, ListIndex},
    Function{"copy", {}, 0, Same},
};

template <std::size_t kRows>
const Function* Find(const std::array<Function, kRows>& table, std::string_view name) {
  const auto row = std::ranges::find(table, name, &Function::name);
  return row != table.end() ? &*row : nullptr;
}

const Function* FindMethod(const Value& object, std::string_view name) {
  if (object.is_text()) return FindTextMethod(name);
  if (object.dict() != nullptr) return Find(kDictMethods, name);
  const Sequence* sequence = object.sequence();
  const bool is_list = sequence != nullptr && sequence->kind <= Sequence::Kind::kRange;
  return is_list ? Find(kListMethods, name) : nullptr;
}

Result<Value> LoopCycle(Machine&, const Value& self, const Arguments& all) {
  if (all.positional.empty()) {
    return MakeError(ErrorCode::kInvalidArgument, "loop.cycle() needs an argument");
  }
  return all.positional[self.loop()->index % all.positional.size()];
}

Result<Value> LoopChanged(Machine& machine, const Value& self, const Arguments& all) {
  Loop& loop = *self.loop();
  bool same = loop.last_changed && loop.last_changed->size() == all.positional.size();
  for (std::size_t i = 0; same && i < all.positional.size(); ++i) {
    AWQ_ASSIGN(same, Equal(machine.meter(), all.positional[i], (*loop.last_changed)[i]));
  }
  if (!loop.last_changed) machine.Keep(*self.As<std::shared_ptr<Loop>>());
  if (!same) loop.last_changed = all.positional;
  return Value(!same);
}

constexpr Function kLoopCycle{"loop.cycle", {}, 0, nullptr, LoopCycle};
constexpr Function kLoopChanged{"loop.changed", {}, 0, nullptr, LoopChanged};

std::optional<Value> LoopAttribute(const Value& object, std::string_view name) {
  const Loop& loop = *object.loop();
  const auto number = [](std::size_t n) { return Value(static_cast<std::int64_t>(n)); };
  const std::size_t count = loop.items.size();
  if (name == "index") return number(loop.index + 1);
  if (name == "index0") return number(loop.index);
  if (name == "revindex") return number(count - loop.index);
  if (name == "revindex0") return number(count - loop.index - 1);
  if (name == "first") return Value(loop.index == 0);
  if (name == "last") return Value(loop.index + 1 == count);
  if (name == "length") return number(count);
  if (name == "depth") return number(loop.level + 1);
  if (name == "depth0") return number(loop.level);
  if (name == "cycle") return Bind(kLoopCycle, object);
  if (name == "changed") return Bind(kLoopChanged, object);
  if (name == "previtem") {
    return loop.index > 0 ? loop.items[loop.index - 1]
                          : Value::MakeUndefined("there is no previous item");
  }
  if (name == "nextitem") {
    return loop.index + 1 < count ? loop.items[loop.index + 1]
                                  : Value::MakeUndefined("there is no next item");
  }
  return std::nullopt;
}

// What Python's getattr finds.
std::optional<Value> OwnAttribute(const Value& object, std::string_view name) {
  if (object.loop() != nullptr) return LoopAttribute(object, name);
  if (const Namespace* space = object.name_space()) {
    const Value* member = space->members.Find(name);
    return member != nullptr ? std::optional(*member) : std::nullopt;
  }
  if (IsUnsafe(object, name)) {
    return Value::MakeUndefined(
        fmt::format("{} would change a {}, which a template may not do", name, object.type_name()));
  }
  const Function* method = FindMethod(object, name);
  return method != nullptr ? std::optional(Bind(*method, object)) : std::nullopt;
}

Value Missing(const Value& object, std::string_view what) {
  return Value::MakeUndefined(fmt::format("a {} has no {}", object.type_name(), what));
}

}  // namespace

Result<Value> Attribute(Machine& machine, const Value& object, std::string_view name) {
  AWQ_TRY(machine.meter().Spend(1));
  if (object.is_undefined()) return UndefinedError(object);
  if (auto own = OwnAttribute(object, name)) return std::move(*own);
  if (const Dict* dict = object.dict()) {
    if (const Value* member = dict->Find(name)) return *member;
  }
  return Missing(object, name);
}

Result<Value> Subscript(Machine& machine, const Value& object, const Value& key) {
  AWQ_ASSIGN(auto item, Item(machine.meter(), object, key));
  if (item) return std::move(*item);
  if (!key.is_text()) return Missing(object, "such element");
  if (auto own = OwnAttribute(object, key.utf8())) return std::move(*own);
  return Missing(object, key.utf8());
}

}  // namespace awq::text::jinja
