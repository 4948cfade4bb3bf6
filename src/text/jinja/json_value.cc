#include "text/jinja/json_value.h"

#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

namespace awq::text::jinja {
namespace {

constexpr std::size_t kMostDepth = 128;
constexpr std::size_t kMostValues = std::size_t{1} << 20;

class Builder final : public nlohmann::json_sax<nlohmann::json> {
 public:
  bool null() override { return Add(Value()); }
  bool boolean(bool value) override { return Add(Value(value)); }
  bool number_integer(number_integer_t value) override { return Add(Value(std::int64_t{value})); }
  bool number_unsigned(number_unsigned_t value) override {
    if (value > static_cast<number_unsigned_t>(INT64_MAX)) return Fail("an integer beyond 64 bits");
    return Add(Value(static_cast<std::int64_t>(value)));
  }
  bool number_float(number_float_t value, const string_t& text) override {
    if (text.find_first_of(".eE") == text.npos) return Fail("an integer beyond 64 bits");
    return Add(Value(value));
  }
  bool string(string_t& value) override { return Add(Value::Plain(value)); }
  bool binary(binary_t& /*value*/) override { return Fail("binary values are not JSON"); }

  bool start_object(std::size_t /*elements*/) override { return Open(true); }
  bool start_array(std::size_t /*elements*/) override { return Open(false); }
  bool end_object() override { return Close(); }
  bool end_array() override { return Close(); }
  bool key(string_t& name) override {
    open_.back().key = Value::Plain(name);
    return true;
  }
  bool parse_error(std::size_t position, const std::string& /*token*/,
                   const nlohmann::json::exception& /*exception*/) override {
    return Fail(fmt::format("not valid at byte {}", position));
  }

  Value Take() { return std::move(root_); }
  const std::string& failure() const { return failure_; }

 private:
  struct Container {
    bool is_object = false;
    Value key;
    std::vector<Value> items;
    std::vector<std::pair<Value, Value>> members;
  };

  bool Fail(std::string what) {
    if (failure_.empty()) failure_ = std::move(what);
    return false;
  }

  bool Add(Value value) {
    if (++values_ > kMostValues) return Fail(fmt::format("more than {} values", kMostValues));
    if (open_.empty()) {
      root_ = std::move(value);
    } else if (open_.back().is_object) {
      open_.back().members.emplace_back(std::move(open_.back().key), std::move(value));
    } else {
      open_.back().items.push_back(std::move(value));
    }
    return true;
  }

  bool Open(bool is_object) {
    if (open_.size() >= kMostDepth) {
      return Fail(fmt::format("nested deeper than {} levels", kMostDepth));
    }
    open_.emplace_back().is_object = is_object;
    return true;
  }

  bool Close() {
    Container done = std::move(open_.back());
    open_.pop_back();
    const auto made = done.is_object ? MakeDict(meter_, std::move(done.members))
                                     : MakeSequence(meter_, std::move(done.items));
    return made ? Add(*made) : Fail(made.error().message);
  }

  Meter meter_{Limits()};
  Value root_;
  std::vector<Container> open_;
  std::size_t values_ = 0;
  std::string failure_;
};

}  // namespace

Result<Value> ValueFromJson(std::string_view json, std::string_view name) {
  Builder builder;
  try {
    if (nlohmann::json::sax_parse(json.begin(), json.end(), &builder)) return builder.Take();
  } catch (const nlohmann::json::exception&) {
    return MakeError(ErrorCode::kCorrupt, "{}: not valid JSON", name);
  }
  return MakeError(ErrorCode::kCorrupt, "{}: not valid JSON: {}", name, builder.failure());
}

}  // namespace awq::text::jinja
