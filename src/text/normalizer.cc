#include "text/normalizer.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "text/byte_alphabet.h"
#include "text/component.h"
#include "text/matches.h"
#include "text/unicode.h"
#include "text/unicode_normalization.h"
#include "text/utf8.h"

namespace awq::text {
namespace {

constexpr std::size_t kMaxContentBytes = 256;
// What one text may grow to; a chain of replacements could multiply without end.
constexpr std::size_t kMaxGrowth = 64;
constexpr std::size_t kMaxGrowthBytes = 1 << 20;

using Made = Result<std::unique_ptr<const Normalizer>>;

Result<std::string> Content(const JsonNode& node, std::string_view key) {
  AWQ_ASSIGN(const JsonNode field, node.Get(key));
  AWQ_ASSIGN(std::string content, field.String());
  if (content.size() > kMaxContentBytes) {
    return MakeError(ErrorCode::kUnsupported, "{}: {} bytes; at most {} are accepted", field.path(),
                     content.size(), kMaxContentBytes);
  }
  return content;
}

// A rule from character to characters.
template <class Rule>
class CharacterNormalizer final : public Normalizer {
 public:
  Status Apply(NormalizedText& text, RegexScratch& /*scratch*/) const override {
    NormalizedText out;
    out.text.reserve(text.text.size());
    for (std::size_t i = 0; i < text.text.size();) {
      const Utf8Char c = DecodeUtf8(text.text, i);
      i += c.bytes;
      Rule::Append(c.code, out.text);
      if (i <= text.first_bytes) out.first_bytes = out.text.size();
    }
    text = std::move(out);
    return {};
  }
};

struct LowercaseRule {
  static void Append(char32_t code, std::string& out) { AppendLowercase(code, out); }
};

struct StripAccentsRule {
  static void Append(char32_t code, std::string& out) {
    if (!IsStrippedAccent(code)) AppendUtf8(code, out);
  }
};

struct NmtRule {
  static void Append(char32_t code, std::string& out) {
    const bool removed = (code >= 0x1 && code <= 0x8) || code == 0xB ||
                         (code >= 0xE && code <= 0x1F) || code == 0x7F || code == 0x8F ||
                         code == 0x9F;
    if (removed) return;
    const bool space = code == 0x9 || code == 0xA || code == 0xC || code == 0xD || code == 0x1680 ||
                       (code >= 0x200B && code <= 0x200F) || code == 0x2028 || code == 0x2029 ||
                       code == 0x2581 || code == 0xFEFF || code == 0xFFFD;
    AppendUtf8(space ? U' ' : code, out);
  }
};

struct ByteLevelRule {
  static void Append(char32_t code, std::string& out) {
    std::string bytes;
    AppendUtf8(code, bytes);
    AppendByteLetters(bytes, out);
  }
};

std::size_t CountCharacters(std::string_view text, std::size_t end) {
  std::size_t count = 0;
  for (std::size_t i = 0; i < end; i += DecodeUtf8(text, i).bytes) ++count;
  return count;
}

class UnicodeNormalizer final : public Normalizer {
 public:
  explicit UnicodeNormalizer(NormalizationForm form) : form_(form) {}

  Status Apply(NormalizedText& text, RegexScratch& /*scratch*/) const override {
    const std::size_t first_characters = CountCharacters(text.text, text.first_bytes);
    if (!NormalizeUnicode(form_, text.text)) return {};
    // Character for character: where a character became several, the rest of it is not counted.
    text.first_bytes = 0;
    for (std::size_t i = 0; i < first_characters && text.first_bytes < text.text.size(); ++i) {
      text.first_bytes += DecodeUtf8(text.text, text.first_bytes).bytes;
    }
    return {};
  }

 private:
  NormalizationForm form_;
};

class StripNormalizer final : public Normalizer {
 public:
  StripNormalizer(bool left, bool right) : left_(left), right_(right) {}

  Status Apply(NormalizedText& text, RegexScratch& /*scratch*/) const override {
    std::size_t start = 0;
    std::size_t kept_end = 0;
    bool leading = left_;
    for (std::size_t i = 0; i < text.text.size();) {
      const Utf8Char c = DecodeUtf8(text.text, i);
      i += c.bytes;
      const bool space = IsWhitespace(c.code);
      leading = leading && space;
      if (leading) start = i;
      if (!space) kept_end = i;
    }
    const std::size_t end = right_ ? std::max(start, kept_end) : text.text.size();
    text.text = text.text.substr(start, end - start);
    text.first_bytes -= std::min(text.first_bytes, start);
    return {};
  }

 private:
  bool left_;
  bool right_;
};

class PrependNormalizer final : public Normalizer {
 public:
  explicit PrependNormalizer(std::string content) : content_(std::move(content)) {}

  Status Apply(NormalizedText& text, RegexScratch& /*scratch*/) const override {
    text.text.insert(0, content_);
    if (text.first_bytes > 0) text.first_bytes += content_.size();
    return {};
  }

 private:
  std::string content_;
};

class ReplaceNormalizer final : public Normalizer {
 public:
  ReplaceNormalizer(Pattern pattern, std::string content)
      : pattern_(std::move(pattern)), content_(std::move(content)) {}

  Status Apply(NormalizedText& text, RegexScratch& scratch) const override {
    NormalizedText out;
    const std::size_t limit = kMaxGrowth * text.text.size() + kMaxGrowthBytes;
    out.text.reserve(text.text.size() + text.text.size() / 2);
    AWQ_TRY(VisitMatches(
        pattern_, text.text, scratch,
        [&](std::size_t start, std::size_t end, bool is_match) -> Status {
          if (is_match) {
            out.text += content_;
            if (end <= text.first_bytes) out.first_bytes = out.text.size();
          } else {
            out.text.append(text.text, start, end - start);
            if (start < text.first_bytes) {
              out.first_bytes = out.text.size() - (end - std::min(end, text.first_bytes));
            }
          }
          if (out.text.size() <= limit) return {};
          return MakeError(ErrorCode::kUnsupported,
                           "the tokenizer's Replace makes more than {} bytes of {}", limit,
                           text.text.size());
        }));
    text = std::move(out);
    return {};
  }

 private:
  Pattern pattern_;
  std::string content_;
};

template <NormalizationForm kForm>
Made MakeUnicode(const JsonNode& /*node*/) {
  return Made(std::make_unique<const UnicodeNormalizer>(kForm));
}

template <class Rule>
Made MakeCharacter(const JsonNode& /*node*/) {
  return Made(std::make_unique<const CharacterNormalizer<Rule>>());
}

Made MakeStrip(const JsonNode& node) {
  AWQ_ASSIGN(const JsonNode left, node.Get("strip_left"));
  AWQ_ASSIGN(const JsonNode right, node.Get("strip_right"));
  AWQ_ASSIGN(const bool strip_left, left.Bool());
  AWQ_ASSIGN(const bool strip_right, right.Bool());
  return Made(std::make_unique<const StripNormalizer>(strip_left, strip_right));
}

Made MakePrepend(const JsonNode& node) {
  AWQ_ASSIGN(std::string content, Content(node, "prepend"));
  return Made(std::make_unique<const PrependNormalizer>(std::move(content)));
}

Made MakeReplace(const JsonNode& node) {
  AWQ_ASSIGN(const JsonNode pattern_node, node.Get("pattern"));
  AWQ_ASSIGN(Pattern pattern, Pattern::FromJson(pattern_node));
  AWQ_ASSIGN(std::string content, Content(node, "content"));
  return Made(std::make_unique<const ReplaceNormalizer>(std::move(pattern), std::move(content)));
}

constexpr ComponentRow<Normalizer> kRows[] = {
    {"NFC", &MakeUnicode<NormalizationForm::kNfc>},
    {"NFD", &MakeUnicode<NormalizationForm::kNfd>},
    {"NFKC", &MakeUnicode<NormalizationForm::kNfkc>},
    {"NFKD", &MakeUnicode<NormalizationForm::kNfkd>},
    {"Lowercase", &MakeCharacter<LowercaseRule>},
    {"StripAccents", &MakeCharacter<StripAccentsRule>},
    {"Nmt", &MakeCharacter<NmtRule>},
    {"ByteLevel", &MakeCharacter<ByteLevelRule>},
    {"Strip", &MakeStrip},
    {"Prepend", &MakePrepend},
    {"Replace", &MakeReplace},
};

}  // namespace

Result<NormalizerChain> NormalizerChain::FromJson(const JsonNode& node) {
  NormalizerChain chain;
  AWQ_TRY(AppendComponents(node, "normalizers", kRows, chain.stages_));
  return chain;
}

Status NormalizerChain::Apply(NormalizedText& text, RegexScratch& scratch) const {
  const std::size_t limit = kMaxGrowth * text.text.size() + kMaxGrowthBytes;
  for (const auto& stage : stages_) {
    if (text.text.empty()) return {};
    AWQ_TRY(stage->Apply(text, scratch));
    if (text.text.size() > limit) {
      return MakeError(ErrorCode::kUnsupported,
                       "the tokenizer's normalizer makes {} bytes of a "
                       "text; more than {} are refused",
                       text.text.size(), limit);
    }
  }
  return {};
}

}  // namespace awq::text
