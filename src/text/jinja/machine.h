// What functions of a template are given: the meter, and the way to call others.
#pragma once

#include <awq/result.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/jinja/meter.h"
#include "text/jinja/value.h"

namespace awq::text::jinja {

class Machine {
 public:
  Machine(const Limits& limits, std::int64_t now_seconds) : meter_(limits), now_(now_seconds) {}
  ~Machine();
  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;

  Meter& meter() { return meter_; }
  std::int64_t now_seconds() const { return now_; }  // since 1970, for strftime_now

  Result<Value> Call(const Value& function, const Arguments& arguments);
  Result<Value> CallFilter(std::string_view name, const Value& value, const Arguments& arguments);
  Result<bool> CallTest(std::string_view name, const Value& value, const Arguments& arguments);

  Result<Value> MakeNamespace(std::vector<std::pair<Value, Value>> members);
  // Of a loop that remembers values: it forgets them at the end.
  void Keep(std::shared_ptr<Loop> loop) { loops_.push_back(std::move(loop)); }

  // As long as it lives, something is evaluated inside of something else.
  class Nesting {
   public:
    explicit Nesting(Machine& machine) : machine_(machine) { ++machine.depth_; }
    ~Nesting() { --machine_.depth_; }
    Nesting(const Nesting&) = delete;
    Nesting& operator=(const Nesting&) = delete;
    Status Check() const;

   private:
    Machine& machine_;
  };

 private:
  Meter meter_;
  std::int64_t now_;
  std::size_t depth_ = 0;
  // These may hold themselves: all are emptied at the end.
  std::vector<std::shared_ptr<Namespace>> namespaces_;
  std::vector<std::shared_ptr<Loop>> loops_;
};

// The arguments of a function, each at the place of its parameter; nullptr where not given.
using Given = std::span<const Value* const>;

// A filter, test, method or global function. `self` is what it is applied to.
struct Function {
  static constexpr std::size_t kMostParameters = 4;
  std::string_view name;
  std::array<std::string_view, kMostParameters> parameters = {};
  std::size_t required = 0;
  Result<Value> (*run)(Machine& machine, const Value& self, Given given) = nullptr;
  // Instead, where arguments are no fixed set.
  Result<Value> (*run_any)(Machine& machine, const Value& self, const Arguments& all) = nullptr;
};

Result<Value> Apply(Machine& machine, const Function& function, const Value& self,
                    const Arguments& arguments);

// nullptr where there is none of that name.
const Function* FindFilter(std::string_view name);
const Function* FindTest(std::string_view name);
const Function* FindGlobal(std::string_view name);
const Function* FindTextMethod(std::string_view name);
// Of those that jinja2 has and no chat template needs.
bool IsKnownFilter(std::string_view name);

// object.name and object[key]: undefined where there is no such thing. Error: an undefined object.
Result<Value> Attribute(Machine& machine, const Value& object, std::string_view name);
Result<Value> Subscript(Machine& machine, const Value& object, const Value& key);

// Of arguments: the fallback where it was not given. Error: another type.
Result<std::int64_t> IntegerOr(const Value* value, std::int64_t fallback);
Result<std::string> TextOr(const Value* value, std::string_view fallback);

}  // namespace awq::text::jinja
