#include "io/json.h"

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"
#include "io/file.h"

namespace awq::io {
namespace {

constexpr std::size_t kMaxDepth = 256;
// A value costs up to about 80 bytes in memory and as little as two in the text.
constexpr std::size_t kMaxValues = std::size_t{1} << 23;

// The parser quotes what it read last, which may be anything and of any length.
std::string Readable(std::string_view what) {
  constexpr std::size_t kMostBytes = 300;
  std::string text(what.substr(0, kMostBytes));
  for (char& c : text) {
    if (c < ' ' || c > '~') c = '?';
  }
  return text;
}

// Builds the tree from parse events, so that depth and size are refused before they cost anything
// and a repeated key is seen (the library's own builder keeps the last one silently).
class TreeBuilder final : public nlohmann::json_sax<nlohmann::json> {
 public:
  bool null() override { return Add(nullptr) != nullptr; }
  bool boolean(bool value) override { return Add(value) != nullptr; }
  bool number_integer(number_integer_t value) override { return Add(value) != nullptr; }
  bool number_unsigned(number_unsigned_t value) override { return Add(value) != nullptr; }
  bool number_float(number_float_t value, const string_t& /*text*/) override {
    return Add(value) != nullptr;
  }
  bool string(string_t& value) override { return Add(std::move(value)) != nullptr; }
  bool binary(binary_t& /*value*/) override { return Fail("binary values are not JSON"); }

  bool start_object(std::size_t /*elements*/) override { return Open(nlohmann::json::object()); }
  bool start_array(std::size_t /*elements*/) override { return Open(nlohmann::json::array()); }
  bool end_object() override { return Close(); }
  bool end_array() override { return Close(); }

  bool key(string_t& name) override {
    const auto [slot, is_new] =
        open_.back()->get_ref<nlohmann::json::object_t&>().emplace(name, nlohmann::json());
    if (!is_new) return Fail(fmt::format("the key \"{}\" stands twice in one object", name));
    slot_ = &slot->second;
    return true;
  }

  bool parse_error(std::size_t /*position*/, const std::string& /*token*/,
                   const nlohmann::json::exception& exception) override {
    const std::string_view what = exception.what();
    const std::size_t prefix_end = what.find("] ");  // "[json.exception.parse_error.101] "
    return Fail(
        Readable(prefix_end == std::string_view::npos ? what : what.substr(prefix_end + 2)));
  }

  nlohmann::json& root() { return root_; }
  const std::string& failure() const { return failure_; }

 private:
  bool Fail(std::string message) {
    if (failure_.empty()) failure_ = std::move(message);
    return false;
  }

  nlohmann::json* Add(nlohmann::json value) {
    if (++values_ > kMaxValues) {
      Fail(fmt::format("more than {} values", kMaxValues));
      return nullptr;
    }
    nlohmann::json* place = &root_;
    if (!open_.empty()) {
      if (open_.back()->is_array()) {
        open_.back()->push_back(nullptr);
        place = &open_.back()->back();
      } else {
        place = slot_;
      }
    }
    *place = std::move(value);
    return place;
  }

  bool Open(nlohmann::json container) {
    if (open_.size() >= kMaxDepth) {
      return Fail(fmt::format("nested deeper than {} levels", kMaxDepth));
    }
    nlohmann::json* place = Add(std::move(container));
    if (place == nullptr) return false;
    open_.push_back(place);  // stays valid: its parent does not grow while it is open
    return true;
  }

  bool Close() {
    open_.pop_back();
    return true;
  }

  nlohmann::json root_;
  std::vector<nlohmann::json*> open_;
  nlohmann::json* slot_ = nullptr;  // where the value of the last key goes
  std::size_t values_ = 0;
  std::string failure_;
};

}  // namespace

Result<nlohmann::json> ParseJson(std::string_view text, std::string_view name) {
  TreeBuilder builder;
  try {
    if (!nlohmann::json::sax_parse(text.begin(), text.end(), &builder)) {
      return MakeError(ErrorCode::kCorrupt, "{}: not valid JSON: {}", name, builder.failure());
    }
  } catch (const nlohmann::json::exception& exception) {
    return MakeError(ErrorCode::kCorrupt, "{}: not valid JSON: {}", name,
                     Readable(exception.what()));
  }
  return std::move(builder.root());
}

Result<nlohmann::json> ReadJson(const std::filesystem::path& path, std::size_t limit_bytes) {
  AWQ_ASSIGN(const std::string text, ReadFile(path, limit_bytes));
  return ParseJson(text, path.string());
}

}  // namespace awq::io
