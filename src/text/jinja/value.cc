#include "text/jinja/value.h"

#include <algorithm>

#include "text/utf8.h"

namespace awq::text::jinja {
namespace {

constexpr std::size_t kMaxOtherKeys = 1024;  // keys that are no texts are sought one by one

Status CheckDepth(std::size_t depth) {
  if (depth <= kMaxValueDepth) return {};
  return MakeError(ErrorCode::kUnsupported, "makes a value nested deeper than {} levels",
                   kMaxValueDepth);
}

std::size_t DepthAround(const std::vector<Value>& items) {
  std::size_t depth = 0;
  for (const Value& item : items) depth = std::max(depth, item.depth());
  return depth + 1;
}

}  // namespace

std::optional<std::int64_t> Value::integer() const {
  if (const bool* flag = As<bool>()) return *flag ? 1 : 0;
  if (const std::int64_t* value = As<std::int64_t>()) return *value;
  return std::nullopt;
}

std::optional<double> Value::number() const {
  if (const double* value = As<double>()) return *value;
  if (const auto whole = integer()) return static_cast<double>(*whole);
  return std::nullopt;
}

bool Value::is_true() const {
  if (is_none() || is_undefined()) return false;
  if (const auto value = number()) return *value != 0;
  if (is_text()) return !utf8().empty();
  if (const Sequence* items = sequence()) {
    return items->kind == Sequence::Kind::kGenerator || !items->items.empty();
  }
  if (const Dict* members = dict()) return !members->items().empty();
  return true;
}

std::size_t Value::depth() const {
  if (const Sequence* items = sequence()) return items->depth;
  if (const Dict* members = dict()) return members->depth();
  if (const Loop* state = loop()) return state->depth;
  if (const Callable* function = callable()) return function->depth;
  return 0;
}

std::string_view Value::type_name() const {
  static constexpr std::string_view kSequences[] = {
      "list", "tuple", "range", "dict_keys", "dict_values", "dict_items", "generator"};
  static constexpr std::string_view kOthers[] = {"NoneType",  "Undefined",   "bool",    "int",
                                                 "float",     "str",         "",        "dict",
                                                 "Namespace", "LoopContext", "function"};
  if (const Sequence* items = sequence()) return kSequences[static_cast<int>(items->kind)];
  return kOthers[state_.index()];
}

const void* Value::identity() const {
  if (const Sequence* items = sequence()) return items;
  if (const Dict* members = dict()) return members;
  if (const Namespace* space = name_space()) return space;
  if (const Loop* state = loop()) return state;
  if (const Callable* function = callable()) return function;
  return is_text() ? As<Text>()->utf8.get() : nullptr;
}

const Value* Dict::Find(std::string_view key) const {
  const auto found = by_name_.find(key);
  return found != by_name_.end() ? &items_[found->second].second : nullptr;
}

const Value* Dict::Find(const Value& key) const {
  const auto index = IndexOf(key);
  return index ? &items_[*index].second : nullptr;
}

std::optional<std::size_t> Dict::IndexOf(const Value& key) const {
  if (key.is_text()) {
    const auto found = by_name_.find(key.utf8());
    return found != by_name_.end() ? std::optional(found->second) : std::nullopt;
  }
  const auto number = key.number();
  for (const std::size_t index : others_) {
    const Value& other = items_[index].first;
    const bool same = number ? other.number() == number : key.type_name() == other.type_name();
    if (same) return index;
  }
  return std::nullopt;
}

Status Dict::Set(const Value& key, Value value) {
  const bool can_be = key.is_text() || key.is_none() || key.is_undefined() || key.number();
  if (!can_be) return WrongType("the key of a dict", key);
  AWQ_TRY(CheckDepth(value.depth() + 1));
  depth_ = std::max(depth_, value.depth() + 1);
  if (const auto index = IndexOf(key)) {
    items_[*index].second = std::move(value);
    return {};
  }
  if (!key.is_text()) {
    if (others_.size() >= kMaxOtherKeys) {
      return MakeError(ErrorCode::kUnsupported, "a dict of more than {} keys that are no texts",
                       kMaxOtherKeys);
    }
    others_.push_back(items_.size());
  } else {
    by_name_.emplace(key.utf8(), items_.size());
  }
  items_.emplace_back(key, std::move(value));
  return {};
}

const Value* Arguments::Named(std::string_view name) const {
  for (const auto& [key, value] : named) {
    if (key == name) return &value;
  }
  return nullptr;
}

Result<Value> MakeText(Meter& meter, std::string utf8, bool markup) {
  AWQ_TRY(meter.Fits(utf8.size()));
  AWQ_TRY(meter.Make(utf8.size() + sizeof(Value)));
  return Value(Text{std::make_shared<const std::string>(std::move(utf8)), markup});
}

Result<Value> MakeSequence(Meter& meter, std::vector<Value> items, Sequence::Kind kind) {
  AWQ_TRY(meter.Make((items.size() + 1) * sizeof(Value)));
  auto sequence = std::make_shared<Sequence>();
  sequence->kind = kind;
  sequence->depth = DepthAround(items);
  AWQ_TRY(CheckDepth(sequence->depth));
  sequence->items = std::move(items);
  return Value(std::move(sequence));
}

Result<Value> MakeDict(Meter& meter, std::vector<std::pair<Value, Value>> items) {
  constexpr std::size_t kNodeBytes = 64;  // of the index
  AWQ_TRY(meter.Make((items.size() + 1) * (2 * sizeof(Value) + kNodeBytes)));
  auto dict = std::make_shared<Dict>();
  for (auto& [key, value] : items) AWQ_TRY(dict->Set(key, std::move(value)));
  return Value(std::shared_ptr<const Dict>(std::move(dict)));
}

Result<std::vector<Value>> Iterate(Meter& meter, const Value& value) {
  std::vector<Value> items;
  if (value.is_undefined()) return items;
  if (value.loop() != nullptr) return WrongType("items", value);
  AWQ_ASSIGN(const std::size_t length, value.sequence() != nullptr
                                           ? Result<std::size_t>(value.sequence()->items.size())
                                           : Length(meter, value));
  AWQ_TRY(meter.Spend(length));
  AWQ_TRY(meter.Make(length * sizeof(Value)));
  if (Sequence* sequence = value.sequence()) {
    const auto first = sequence->items.begin() + static_cast<std::ptrdiff_t>(sequence->read);
    items.assign(first, sequence->items.end());
    if (sequence->kind == Sequence::Kind::kGenerator) sequence->read = sequence->items.size();
  } else if (const Dict* dict = value.dict()) {
    for (const auto& [key, ignored] : dict->items()) items.push_back(key);
  } else {
    const std::string& text = value.utf8();
    for (std::size_t i = 0; i < text.size();) {
      const std::size_t bytes = DecodeUtf8(text, i).bytes;
      AWQ_ASSIGN(Value character, MakeText(meter, text.substr(i, bytes), value.is_markup()));
      items.push_back(std::move(character));
      i += bytes;
    }
  }
  return items;
}

Result<std::size_t> Length(Meter& meter, const Value& value) {
  if (value.is_undefined()) return std::size_t{0};
  if (value.is_text()) {
    const std::string& text = value.utf8();
    AWQ_TRY(meter.Scan(text.size()));
    return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) {
      return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
    }));
  }
  if (const Sequence* sequence = value.sequence()) {
    if (sequence->kind != Sequence::Kind::kGenerator) return sequence->items.size();
  }
  if (const Dict* dict = value.dict()) return dict->items().size();
  if (const Loop* loop = value.loop()) return loop->items.size();
  return WrongType("a length or items", value);
}

Error UndefinedError(const Value& value) {
  return MakeError(ErrorCode::kInvalidArgument, "{}", *value.As<Undefined>()->why);
}

Error WrongType(std::string_view what, const Value& value) {
  if (value.is_undefined()) return UndefinedError(value);
  return MakeError(ErrorCode::kInvalidArgument, "{} cannot be had of a {}", what,
                   value.type_name());
}

}  // namespace awq::text::jinja
