// Filters of lists and dicts.
#include <algorithm>
#include <array>

#include "text/jinja/attribute_path.h"
#include "text/jinja/filter_tables.h"
#include "text/jinja/operators.h"
#include "text/jinja/print.h"
#include "text/jinja/text_ops.h"

namespace awq::text::jinja {
namespace {

using Kind = Sequence::Kind;

bool IsTrue(const Value* value) { return value != nullptr && value->is_true(); }

Result<Value> IgnoreCase(Machine& machine, const Value& value) {
  if (!value.is_text()) return value;
  AWQ_TRY(machine.meter().Scan(value.utf8().size()));
  return MakeText(machine.meter(), Lower(value.utf8()));
}

Result<Value> FirstFilter(Machine& machine, const Value& self, Given) {
  const Value none = Value::MakeUndefined("there is no first item");
  if (Sequence* sequence = self.sequence()) {
    if (sequence->read >= sequence->items.size()) return none;
    const Value& first = sequence->items[sequence->read];
    if (sequence->kind == Kind::kGenerator) ++sequence->read;
    return first;
  }
  AWQ_ASSIGN(const std::vector<Value> items, Iterate(machine.meter(), self));
  return items.empty() ? none : items.front();
}

Result<Value> LastFilter(Machine& machine, const Value& self, Given) {
  if (self.is_undefined()) return WrongType("a last item", self);
  AWQ_TRY(Length(machine.meter(), self));  // a generator has none, and no last item
  AWQ_ASSIGN(const std::vector<Value> items, Iterate(machine.meter(), self));
  return items.empty() ? Value::MakeUndefined("there is no last item") : items.back();
}

Result<Value> ListFilter(Machine& machine, const Value& self, Given) {
  AWQ_ASSIGN(std::vector<Value> items, Iterate(machine.meter(), self));
  return MakeSequence(machine.meter(), std::move(items));
}

Result<Value> ReverseFilter(Machine& machine, const Value& self, Given) {
  if (self.is_undefined()) return WrongType("a reverse order", self);
  if (self.is_text()) {
    AWQ_ASSIGN(auto turned,
               Slice(machine.meter(), self, Value(), Value(), Value(std::int64_t{-1})));
    return std::move(*turned);
  }
  AWQ_ASSIGN(std::vector<Value> items, Iterate(machine.meter(), self));
  std::reverse(items.begin(), items.end());
  return MakeSequence(machine.meter(), std::move(items), Kind::kGenerator);
}

Result<Value> JoinFilter(Machine& machine, const Value& self, Given given) {
  Meter& meter = machine.meter();
  std::string between;
  if (given[0] != nullptr) {
    AWQ_ASSIGN(between, Str(meter, *given[0]));
  }
  AWQ_ASSIGN(const AttributePath path, AttributePath::Read(given[1]));
  AWQ_ASSIGN(const std::vector<Value> items, Iterate(meter, self));
  std::string out;
  for (std::size_t i = 0; i < items.size(); ++i) {
    AWQ_ASSIGN(const Value item, path.Of(machine, items[i]));
    AWQ_ASSIGN(const std::string text, Str(meter, item));
    if (i > 0) out += between;
    out += text;
    AWQ_TRY(meter.Fits(out.size()));
  }
  return MakeText(meter, std::move(out));
}

struct Keyed {
  Value key;
  Value item;
};

// Python's sorted(): equal items keep their order, reversed or not.
Result<std::vector<Value>> Sorted(Meter& meter, std::vector<Keyed> keyed, bool reverse) {
  std::optional<Error> error;
  if (reverse) std::reverse(keyed.begin(), keyed.end());
  std::stable_sort(keyed.begin(), keyed.end(), [&](const Keyed& a, const Keyed& b) {
    if (error) return false;
    const auto order = Order(meter, a.key, b.key);
    if (!order) error = order.error();
    return order.ok() && *order < 0;
  });
  if (error) return *error;
  if (reverse) std::reverse(keyed.begin(), keyed.end());
  std::vector<Value> items;
  for (Keyed& each : keyed) items.push_back(std::move(each.item));
  return items;
}

Result<Value> SortFilter(Machine& machine, const Value& self, Given given) {
  Meter& meter = machine.meter();
  AWQ_ASSIGN(const std::vector<AttributePath> paths, AttributePath::ReadSeveral(meter, given[2]));
  AWQ_ASSIGN(std::vector<Value> items, Iterate(meter, self));
  std::vector<Keyed> keyed;
  for (Value& item : items) {
    std::vector<Value> keys;
    for (const AttributePath& path : paths) {
      AWQ_ASSIGN(Value key, path.Of(machine, item));
      if (!IsTrue(given[1])) {
        AWQ_ASSIGN(key, IgnoreCase(machine, key));
      }
      keys.push_back(std::move(key));
    }
    AWQ_ASSIGN(Value key, MakeSequence(meter, std::move(keys)));
    keyed.push_back({std::move(key), std::move(item)});
  }
  AWQ_ASSIGN(std::vector<Value> sorted, Sorted(meter, std::move(keyed), IsTrue(given[0])));
  return MakeSequence(meter, std::move(sorted));
}

Result<Value> DictSortFilter(Machine& machine, const Value& self, Given given) {
  Meter& meter = machine.meter();
  AWQ_ASSIGN(const std::string by, TextOr(given[1], "key"));
  if (by != "key" && by != "value") {
    return MakeError(ErrorCode::kInvalidArgument, "dictsort sorts by key or value, found {}", by);
  }
  const Dict* dict = self.dict();
  if (dict == nullptr) return WrongType("the items of a dict", self);
  std::vector<Keyed> keyed;
  for (const auto& [key, value] : dict->items()) {
    Value sorts = by == "key" ? key : value;
    if (!IsTrue(given[0])) {
      AWQ_ASSIGN(sorts, IgnoreCase(machine, sorts));
    }
    AWQ_ASSIGN(Value pair, MakeSequence(meter, {key, value}, Kind::kTuple));
    keyed.push_back({std::move(sorts), std::move(pair)});
  }
  AWQ_ASSIGN(std::vector<Value> sorted, Sorted(meter, std::move(keyed), IsTrue(given[2])));
  return MakeSequence(meter, std::move(sorted));
}

Result<Value> UniqueFilter(Machine& machine, const Value& self, Given given) {
  Meter& meter = machine.meter();
  AWQ_ASSIGN(const AttributePath path, AttributePath::Read(given[1]));
  AWQ_ASSIGN(const std::vector<Value> items, Iterate(meter, self));
  Dict seen;
  std::vector<Value> unique;
  for (const Value& item : items) {
    AWQ_ASSIGN(Value key, path.Of(machine, item));
    if (!IsTrue(given[0])) {
      AWQ_ASSIGN(key, IgnoreCase(machine, key));
    }
    if (seen.Find(key) != nullptr) continue;
    AWQ_TRY(seen.Set(key, Value()));
    unique.push_back(item);
  }
  return MakeSequence(meter, std::move(unique), Kind::kGenerator);
}

template <int kSign>
Result<Value> ExtremeFilter(Machine& machine, const Value& self, Given given) {
  AWQ_ASSIGN(const AttributePath path, AttributePath::Read(given[1]));
  AWQ_ASSIGN(const std::vector<Value> items, Iterate(machine.meter(), self));
  std::optional<Keyed> best;
  for (const Value& item : items) {
    AWQ_ASSIGN(Value key, path.Of(machine, item));
    if (!IsTrue(given[0])) {
      AWQ_ASSIGN(key, IgnoreCase(machine, key));
    }
    int order = 0;
    if (best) {
      AWQ_ASSIGN(order, Order(machine.meter(), key, best->key));
    }
    if (!best || order * kSign > 0) best = Keyed{std::move(key), item};
  }
  return best ? best->item : Value::MakeUndefined("there is no item");
}

Result<Value> SumFilter(Machine& machine, const Value& self, Given given) {
  AWQ_ASSIGN(const AttributePath path, AttributePath::Read(given[0]));
  AWQ_ASSIGN(const std::vector<Value> items, Iterate(machine.meter(), self));
  Value sum = given[1] != nullptr ? *given[1] : Value(std::int64_t{0});
  for (const Value& item : items) {
    AWQ_ASSIGN(const Value part, path.Of(machine, item));
    if (sum.is_text()) return WrongType("a sum", sum);
    AWQ_ASSIGN(sum, Binary(machine.meter(), BinaryOp::kAdd, sum, part));
  }
  return sum;
}

Result<Value> ItemsFilter(Machine& machine, const Value& self, Given) {
  Meter& meter = machine.meter();
  if (self.is_undefined()) return MakeSequence(meter, {}, Kind::kGenerator);
  if (self.dict() == nullptr) return WrongType("the items of a dict", self);
  std::vector<Value> pairs;
  AWQ_TRY(meter.Spend(self.dict()->items().size()));
  for (const auto& [key, value] : self.dict()->items()) {
    AWQ_ASSIGN(Value pair, MakeSequence(meter, {key, value}, Kind::kTuple));
    pairs.push_back(std::move(pair));
  }
  return MakeSequence(meter, std::move(pairs), Kind::kGenerator);
}

constexpr std::array kFilters = {
    Function{"first", {}, 0, FirstFilter},
    Function{"last", {}, 0, LastFilter},
    Function{"list", {}, 0, ListFilter},
    Function{"reverse", {}, 0, ReverseFilter},
    Function{"join", {"d", "attribute"}, 0, JoinFilter},
    Function{"sort", {"reverse", "case_sensitive", "attribute"}, 0, SortFilter},
    Function{"dictsort", {"case_sensitive", "by", "reverse"}, 0, DictSortFilter},
    Function{"unique", {"case_sensitive", "attribute"}, 0, UniqueFilter},
    Function{"min", {"case_sensitive", "attribute"}, 0, ExtremeFilter<-1>},
    Function{"max", {"case_sensitive", "attribute"}, 0, ExtremeFilter<1>},
    Function{"sum", {"attribute", "start"}, 0, SumFilter},
    Function{"items", {}, 0, ItemsFilter},
};

}  // namespace

std::span<const Function> SequenceFilters() { return kFilters; }

}  // namespace awq::text::jinja
