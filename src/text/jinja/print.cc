#include "text/jinja/print.h"

#include <utf8proc.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <iterator>

#include "text/utf8.h"

namespace awq::text::jinja {
namespace {

bool IsPrintable(char32_t code) {
  if (code < 0x7F) return code >= 0x20;
  const auto category = utf8proc_category(static_cast<utf8proc_int32_t>(code));
  return category != UTF8PROC_CATEGORY_CN && category < UTF8PROC_CATEGORY_ZS;
}

void AppendTextRepr(std::string_view text, std::string& out) {
  const bool has_single = text.find('\'') != text.npos;
  const char quote = has_single && text.find('"') == text.npos ? '"' : '\'';
  out += quote;
  for (std::size_t i = 0; i < text.size();) {
    const Utf8Char next = DecodeUtf8(text, i);
    const auto code = static_cast<std::uint32_t>(next.code);
    if (code == '\n' || code == '\r' || code == '\t') {
      out += code == '\n' ? "\\n" : code == '\r' ? "\\r" : "\\t";
    } else if (code == '\\' || code == static_cast<std::uint32_t>(quote)) {
      out += '\\';
      out += static_cast<char>(code);
    } else if (IsPrintable(next.code)) {
      out += text.substr(i, next.bytes);
    } else {
      out += code < 0x100     ? fmt::format("\\x{:02x}", code)
             : code < 0x10000 ? fmt::format("\\u{:04x}", code)
                              : fmt::format("\\U{:08x}", code);
    }
    i += next.bytes;
  }
  out += quote;
}

class Printer {
 public:
  explicit Printer(Meter& meter) : meter_(meter) {}

  Status Append(const Value& value) {
    AWQ_TRY(meter_.Spend(1));
    AWQ_TRY(meter_.Fits(out_.size()));
    if (value.is_text()) {
      AWQ_TRY(meter_.Scan(value.utf8().size()));
      if (value.is_markup()) out_ += "Markup(";
      AppendTextRepr(value.utf8(), out_);
      if (value.is_markup()) out_ += ')';
      return {};
    }
    if (const Sequence* items = value.sequence()) return AppendSequence(value, *items);
    if (const Dict* members = value.dict()) return AppendMembers(*members);
    if (const Namespace* space = value.name_space()) return AppendNamespace(*space);
    return AppendScalar(value);
  }

  std::string Take() { return std::move(out_); }

 private:
  Status AppendScalar(const Value& value) {
    if (value.is_none()) {
      out_ += "None";
    } else if (value.is_undefined()) {
      out_ += "Undefined";
    } else if (const bool* flag = value.As<bool>()) {
      out_ += *flag ? "True" : "False";
    } else if (const double* number = value.As<double>()) {
      out_ += FloatText(*number);
    } else if (const std::int64_t* whole = value.As<std::int64_t>()) {
      out_ += fmt::format("{}", *whole);
    } else if (const Callable* macro = value.callable(); macro != nullptr && macro->is_macro) {
      out_ += fmt::format("<Macro '{}'>", macro->name);
    } else {
      return WrongType("a text", value);
    }
    return {};
  }

  Status AppendSequence(const Value& value, const Sequence& sequence) {
    using Kind = Sequence::Kind;
    if (sequence.kind == Kind::kGenerator || sequence.kind == Kind::kRange) {
      return WrongType("a text", value);
    }
    const bool is_view = sequence.kind > Kind::kRange;
    const bool is_tuple = sequence.kind == Kind::kTuple;
    if (is_view) out_ += fmt::format("{}(", value.type_name());
    out_ += is_tuple ? '(' : '[';
    const char* between = "";
    for (const Value& item : sequence.items) {
      out_ += between;
      between = ", ";
      AWQ_TRY(Append(item));
    }
    if (is_tuple && sequence.items.size() == 1) out_ += ',';
    out_ += is_tuple ? ')' : ']';
    if (is_view) out_ += ')';
    return {};
  }

  Status AppendMembers(const Dict& dict) {
    out_ += '{';
    const char* between = "";
    for (const auto& [key, member] : dict.items()) {
      out_ += between;
      between = ", ";
      AWQ_TRY(Append(key));
      out_ += ": ";
      AWQ_TRY(Append(member));
    }
    out_ += '}';
    return {};
  }

  // The one value that can hold itself.
  Status AppendNamespace(const Namespace& space) {
    if (namespaces_ >= kMaxNamespaces) {
      return MakeError(ErrorCode::kUnsupported, "prints a namespace that holds itself");
    }
    ++namespaces_;
    out_ += "<Namespace ";
    AWQ_TRY(AppendMembers(space.members));
    out_ += '>';
    --namespaces_;
    return {};
  }

  static constexpr std::size_t kMaxNamespaces = 2;
  Meter& meter_;
  std::string out_;
  std::size_t namespaces_ = 0;
};

class JsonWriter {
 public:
  JsonWriter(Meter& meter, const JsonStyle& style) : meter_(meter), style_(style) {}

  Status Append(const Value& value) {
    AWQ_TRY(meter_.Spend(1));
    AWQ_TRY(meter_.Fits(out_.size()));
    if (value.is_text()) return AppendText(value.utf8());
    if (const Dict* members = value.dict()) return AppendMembers(*members);
    if (const Sequence* items = value.sequence()) {
      if (items->kind <= Sequence::Kind::kTuple) return AppendItems(items->items);
    }
    if (value.is_none() || value.number()) {
      out_ += ScalarText(value);
      return {};
    }
    return WrongType("JSON", value);
  }

  std::string Take() { return std::move(out_); }

 private:
  static std::string ScalarText(const Value& value) {
    if (value.is_none()) return "null";
    if (const bool* flag = value.As<bool>()) return *flag ? "true" : "false";
    const double* number = value.As<double>();
    if (number == nullptr) return fmt::format("{}", *value.integer());
    if (std::isnan(*number)) return "NaN";
    if (std::isinf(*number)) return *number > 0 ? "Infinity" : "-Infinity";
    return FloatText(*number);
  }

  Status AppendText(std::string_view text) {
    AWQ_TRY(meter_.Scan(text.size()));
    out_ += '"';
    for (std::size_t i = 0; i < text.size();) {
      const Utf8Char next = DecodeUtf8(text, i);
      const auto code = static_cast<std::uint32_t>(next.code);
      static constexpr std::string_view kEscaped = "\"\\\n\r\t\b\f";
      const std::size_t escape =
          code < 0x80 ? kEscaped.find(static_cast<char>(code)) : kEscaped.npos;
      if (escape != kEscaped.npos) {
        out_ += '\\';
        out_ += "\"\\nrtbf"[escape];
      } else if (code < 0x20 || (style_.ascii_only && code > 0x7E)) {
        AppendEscape(code);
      } else {
        out_ += text.substr(i, next.bytes);
      }
      i += next.bytes;
    }
    out_ += '"';
    return {};
  }

  void AppendEscape(std::uint32_t code) {
    if (code >= 0x10000) {
      out_ += fmt::format("\\u{:04x}", 0xD800 + ((code - 0x10000) >> 10));
      code = 0xDC00 + (code & 0x3FF);
    }
    out_ += fmt::format("\\u{:04x}", code);
  }

  Status NewLine() {
    if (!style_.indent) return {};
    AWQ_TRY(meter_.Fits(out_.size() + level_ * style_.indent->size()));
    out_ += '\n';
    for (std::size_t i = 0; i < level_; ++i) out_ += *style_.indent;
    return {};
  }

  Status AppendItems(const std::vector<Value>& items) {
    if (items.empty()) {
      out_ += "[]";
      return {};
    }
    out_ += '[';
    ++level_;
    for (std::size_t i = 0; i < items.size(); ++i) {
      if (i > 0) out_ += style_.item_separator;
      AWQ_TRY(NewLine());
      AWQ_TRY(Append(items[i]));
    }
    --level_;
    AWQ_TRY(NewLine());
    out_ += ']';
    return {};
  }

  Status AppendMembers(const Dict& dict) {
    if (dict.items().empty()) {
      out_ += "{}";
      return {};
    }
    std::vector<const std::pair<Value, Value>*> members;
    for (const auto& member : dict.items()) members.push_back(&member);
    if (style_.sorted) AWQ_TRY(Sort(members));
    out_ += '{';
    ++level_;
    for (std::size_t i = 0; i < members.size(); ++i) {
      if (i > 0) out_ += style_.item_separator;
      AWQ_TRY(NewLine());
      const Value& key = members[i]->first;
      if (key.is_undefined()) return WrongType("a key of JSON", key);
      AWQ_TRY(AppendText(key.is_text() ? key.utf8() : ScalarText(key)));
      out_ += style_.key_separator;
      AWQ_TRY(Append(members[i]->second));
    }
    --level_;
    AWQ_TRY(NewLine());
    out_ += '}';
    return {};
  }

  Status Sort(std::vector<const std::pair<Value, Value>*>& members) {
    for (const auto* member : members) {
      if (!member->first.is_text()) return WrongType("an order of keys", member->first);
    }
    AWQ_TRY(meter_.Spend(members.size() * 16));
    std::stable_sort(members.begin(), members.end(), [](const auto* a, const auto* b) {
      return a->first.utf8() < b->first.utf8();
    });
    return {};
  }

  Meter& meter_;
  const JsonStyle& style_;
  std::string out_;
  std::size_t level_ = 0;
};

}  // namespace

std::string FloatText(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  char buffer[64] = {};
  std::to_chars(buffer, std::end(buffer) - 1, value, std::chars_format::scientific);
  const std::string_view text = buffer;
  const std::size_t e = text.find('e');
  const int exponent = std::atoi(buffer + e + 1);
  if (exponent < -4 || exponent >= 16) return std::string(text);
  std::string digits;
  for (const char c : text.substr(0, e)) {
    if (c >= '0' && c <= '9') digits += c;
  }
  const std::string sign = text[0] == '-' ? "-" : "";
  if (exponent < 0) {
    return sign + "0." + std::string(static_cast<std::size_t>(-exponent - 1), '0') + digits;
  }
  const auto whole = static_cast<std::size_t>(exponent) + 1;
  if (digits.size() <= whole) {
    return sign + digits + std::string(whole - digits.size(), '0') + ".0";
  }
  return sign + digits.substr(0, whole) + "." + digits.substr(whole);
}

Result<std::string> Repr(Meter& meter, const Value& value) {
  Printer printer(meter);
  AWQ_TRY(printer.Append(value));
  return printer.Take();
}

Result<std::string> Str(Meter& meter, const Value& value) {
  if (value.is_text()) return value.utf8();
  if (value.is_undefined()) return std::string();
  return Repr(meter, value);
}

Result<std::string> ToJson(Meter& meter, const Value& value, const JsonStyle& style) {
  JsonWriter writer(meter, style);
  AWQ_TRY(writer.Append(value));
  return writer.Take();
}

}  // namespace awq::text::jinja
