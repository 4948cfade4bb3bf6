// The values of a template, with Python's meaning. Texts are valid UTF-8, their characters code
// points. Values do not change, but for namespaces, loops, and generators that are read once.
#pragma once

#include <awq/result.h>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "text/jinja/meter.h"

namespace awq::text::jinja {

struct Sequence;
class Dict;
struct Namespace;
struct Loop;
struct Callable;

struct None {};
// May be printed, iterated and asked for its truth; all else is an error that says `why`.
struct Undefined {
  std::shared_ptr<const std::string> why;
};
struct Text {
  std::shared_ptr<const std::string> utf8;
  bool markup = false;  // made by |safe or |escape: what is added to it gets escaped
};

class Value {
 public:
  Value() = default;  // none
  template <std::same_as<bool> Bool>
  Value(Bool value) : state_(value) {}
  Value(std::int64_t value) : state_(value) {}
  Value(double value) : state_(value) {}
  Value(Undefined value) : state_(std::move(value)) {}
  Value(Text value) : state_(std::move(value)) {}
  Value(std::shared_ptr<Sequence> value) : state_(std::move(value)) {}
  Value(std::shared_ptr<const Dict> value) : state_(std::move(value)) {}
  Value(std::shared_ptr<Namespace> value) : state_(std::move(value)) {}
  Value(std::shared_ptr<Loop> value) : state_(std::move(value)) {}
  Value(std::shared_ptr<const Callable> value) : state_(std::move(value)) {}

  static Value MakeUndefined(std::string why) {
    return Undefined{std::make_shared<const std::string>(std::move(why))};
  }
  // A text that counts for nothing: short, or the template's own.
  static Value Plain(std::string_view utf8) {
    return Text{std::make_shared<const std::string>(utf8)};
  }

  template <class T>
  const T* As() const {
    return std::get_if<T>(&state_);
  }
  // nullptr where it is no such thing.
  Sequence* sequence() const { return Pointer<std::shared_ptr<Sequence>>(); }
  const Dict* dict() const { return Pointer<std::shared_ptr<const Dict>>(); }
  Namespace* name_space() const { return Pointer<std::shared_ptr<Namespace>>(); }
  Loop* loop() const { return Pointer<std::shared_ptr<Loop>>(); }
  const Callable* callable() const { return Pointer<std::shared_ptr<const Callable>>(); }

  bool is_none() const { return As<None>() != nullptr; }
  bool is_undefined() const { return As<Undefined>() != nullptr; }
  bool is_text() const { return As<Text>() != nullptr; }
  bool is_markup() const { return is_text() && As<Text>()->markup; }
  const std::string& utf8() const { return *As<Text>()->utf8; }  // precondition: is_text()
  // Of an integer or a truth value, which counts as 0 or 1.
  std::optional<std::int64_t> integer() const;
  std::optional<double> number() const;  // of those and of a float
  bool is_true() const;
  // How deep lists and the like stand in each other; 0 for what holds nothing.
  std::size_t depth() const;
  std::string_view type_name() const;  // Python's
  const void* identity() const;        // nullptr for what lives in the value itself

 private:
  template <class P>
  auto Pointer() const -> decltype(std::declval<P>().get()) {
    const P* pointer = As<P>();
    return pointer != nullptr ? pointer->get() : nullptr;
  }

  std::variant<None, Undefined, bool, std::int64_t, double, Text, std::shared_ptr<Sequence>,
               std::shared_ptr<const Dict>, std::shared_ptr<Namespace>, std::shared_ptr<Loop>,
               std::shared_ptr<const Callable>>
      state_;
};

inline constexpr std::size_t kMaxValueDepth = 300;

struct Sequence {
  enum class Kind : std::uint8_t { kList, kTuple, kRange, kKeys, kValues, kItems, kGenerator };
  Kind kind = Kind::kList;
  std::vector<Value> items;
  std::size_t depth = 1;
  std::size_t read = 0;  // of a generator: how many are gone
};

// In the order in which keys came; a key that comes again keeps its place.
class Dict {
 public:
  const std::vector<std::pair<Value, Value>>& items() const { return items_; }
  const Value* Find(std::string_view key) const;
  const Value* Find(const Value& key) const;
  // Error: a key that Python could not hash, or that is a tuple or a function; nesting; too many
  // keys of numbers.
  Status Set(const Value& key, Value value);
  std::size_t depth() const { return depth_; }

 private:
  std::optional<std::size_t> IndexOf(const Value& key) const;

  std::vector<std::pair<Value, Value>> items_;
  std::map<std::string_view, std::size_t> by_name_;  // into the texts of items_
  std::vector<std::size_t> others_;                  // keys that are no texts
  std::size_t depth_ = 1;
};

struct Namespace {
  Dict members;
};

struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;

  const Value* Named(std::string_view name) const;
};

class Machine;

struct Callable {
  std::string name;
  std::function<Result<Value>(Machine&, const Arguments&)> call;
  std::size_t depth = 1;
  bool is_macro = false;
};

// The variable `loop` inside a {% for %}.
struct Loop {
  std::vector<Value> items;
  std::size_t index = 0;  // from 0
  std::size_t level = 0;  // of a recursive loop, from 0
  std::size_t depth = 1;
  std::optional<std::vector<Value>> last_changed;  // what loop.changed() saw
  std::function<Result<Value>(const Value& items)> recurse;
};

Result<Value> MakeText(Meter& meter, std::string utf8, bool markup = false);
Result<Value> MakeSequence(Meter& meter, std::vector<Value> items,
                           Sequence::Kind kind = Sequence::Kind::kList);
Result<Value> MakeDict(Meter& meter, std::vector<std::pair<Value, Value>> items);

// What Python's iter() gives; a generator is then empty. Error: what cannot be iterated.
Result<std::vector<Value>> Iterate(Meter& meter, const Value& value);
// Python's len().
Result<std::size_t> Length(Meter& meter, const Value& value);

// The error of an undefined value that is used.
Error UndefinedError(const Value& value);
// "expected a text, found a dict": `what` was asked of it.
Error WrongType(std::string_view what, const Value& value);

}  // namespace awq::text::jinja
