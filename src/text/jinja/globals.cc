// The functions that every template has.
#include <algorithm>
#include <array>
#include <ctime>

#include "text/jinja/machine.h"
#include "text/jinja/print.h"

namespace awq::text::jinja {
namespace {

using namespace std::string_view_literals;

Result<Value> RaiseException(Machine& machine, const Value&, Given given) {
  AWQ_ASSIGN(const std::string message, Str(machine.meter(), *given[0]));
  return MakeError(ErrorCode::kInvalidArgument, "the template refuses this conversation: {}",
                   message);
}

// Python's time without a zone: %z and %Z are empty, and %f is what a whole second has.
std::string WithoutZone(std::string_view format) {
  std::string out;
  for (std::size_t i = 0; i < format.size(); ++i) {
    if (format[i] != '%' || i + 1 == format.size()) {
      out += format[i];
      continue;
    }
    const char what = format[++i];
    if (what == 'f') {
      out += "000000";
    } else if (what != 'z' && what != 'Z') {
      out += {'%', what};
    }
  }
  return out;
}

Result<Value> StrftimeNow(Machine& machine, const Value&, Given given) {
  constexpr std::size_t kMostBytes = 4096;
  AWQ_ASSIGN(const std::string wanted, TextOr(given[0], ""));
  const std::string format = WithoutZone(wanted) + "!";  // so that nothing is never the answer
  const auto now = static_cast<std::time_t>(machine.now_seconds());
  std::tm parts{};
  char text[kMostBytes];
  if (localtime_r(&now, &parts) == nullptr) {
    return MakeError(ErrorCode::kInternal, "the time {} is no date", machine.now_seconds());
  }
  const std::size_t size = std::strftime(text, sizeof text, format.c_str(), &parts);
  if (size == 0 || wanted.find('\0') != wanted.npos) {
    return MakeError(ErrorCode::kUnsupported,
                     "strftime_now makes at most {} bytes of a format without NUL", kMostBytes);
  }
  return MakeText(machine.meter(), std::string(text, size - 1));
}

Result<Value> Range(Machine& machine, const Value&, Given given) {
  constexpr std::int64_t kMost = 100'000;  // the sandbox's MAX_RANGE
  const bool has_start = given[1] != nullptr;
  AWQ_ASSIGN(const std::int64_t start, IntegerOr(has_start ? given[0] : nullptr, 0));
  AWQ_ASSIGN(const std::int64_t stop, IntegerOr(has_start ? given[1] : given[0], 0));
  AWQ_ASSIGN(const std::int64_t step, IntegerOr(given[2], 1));
  if (step == 0) return MakeError(ErrorCode::kInvalidArgument, "a range with a step of 0");
  std::vector<Value> items;
  for (std::int64_t i = start; step > 0 ? i < stop : i > stop;) {
    if (static_cast<std::int64_t>(items.size()) >= kMost) {
      return MakeError(ErrorCode::kUnsupported, "a range of more than {} numbers", kMost);
    }
    items.emplace_back(i);
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  AWQ_TRY(machine.meter().Spend(items.size()));
  return MakeSequence(machine.meter(), std::move(items), Sequence::Kind::kRange);
}

// dict(other, name=value) or dict(pairs, name=value).
Result<std::vector<std::pair<Value, Value>>> Members(Machine& machine, const Arguments& all) {
  std::vector<std::pair<Value, Value>> members;
  if (all.positional.size() > 1) {
    return MakeError(ErrorCode::kInvalidArgument, "a dict is made of at most one other");
  }
  if (!all.positional.empty() && all.positional[0].dict() != nullptr) {
    members = all.positional[0].dict()->items();
  } else if (!all.positional.empty()) {
    AWQ_ASSIGN(const auto pairs, Iterate(machine.meter(), all.positional[0]));
    for (const Value& pair : pairs) {
      AWQ_ASSIGN(const auto both, Iterate(machine.meter(), pair));
      if (both.size() != 2) return WrongType("a key and a value", pair);
      members.emplace_back(both[0], both[1]);
    }
  }
  for (const auto& [name, value] : all.named) members.emplace_back(Value::Plain(name), value);
  return members;
}

Result<Value> DictOf(Machine& machine, const Value&, const Arguments& all) {
  AWQ_ASSIGN(auto members, Members(machine, all));
  return MakeDict(machine.meter(), std::move(members));
}

Result<Value> NamespaceOf(Machine& machine, const Value&, const Arguments& all) {
  AWQ_ASSIGN(auto members, Members(machine, all));
  for (const auto& [name, value] : members) {
    if (name.is_text() && name.utf8().starts_with('_')) {
      return MakeError(ErrorCode::kInvalidArgument, "a namespace takes no name that begins with _");
    }
  }
  return machine.MakeNamespace(std::move(members));
}

constexpr std::array kGlobals = {
    Function{"raise_exception", {"message"}, 1, RaiseException},
    Function{"strftime_now", {"format"}, 1, StrftimeNow},
    Function{"range", {"start", "stop", "step"}, 1, Range},
    Function{"dict", {}, 0, nullptr, DictOf},
    Function{"namespace", {}, 0, nullptr, NamespaceOf},
};

}  // namespace

const Function* FindGlobal(std::string_view name) {
  const auto row = std::ranges::find(kGlobals, name, &Function::name);
  return row != kGlobals.end() ? &*row : nullptr;
}

}  // namespace awq::text::jinja
