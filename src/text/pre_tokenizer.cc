#include "text/pre_tokenizer.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "base/error.h"
#include "text/byte_alphabet.h"
#include "text/component.h"
#include "text/matches.h"
#include "text/unicode.h"
#include "text/utf8.h"

namespace awq::text {
namespace {

using Made = Result<std::unique_ptr<const PreTokenizerStage>>;

constexpr std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

// A splitter whose stretches go on as parts of `piece`.
auto MakeSplitter(SplitBehavior behavior, const Piece& piece, const PieceEmitter& emit) {
  return Splitter(behavior, [&piece, &emit](std::size_t start, std::size_t end) {
    return emit(piece.Sub(start, end));
  });
}

Status SplitByPattern(const Pattern& pattern, bool invert, SplitBehavior behavior,
                      const Piece& piece, const PieceEmitter& emit) {
  auto splitter = MakeSplitter(behavior, piece, emit);
  AWQ_TRY(VisitMatches(pattern, piece.text, emit.regex(),
                       [&](std::size_t start, std::size_t end, bool is_match) {
                         return splitter(start, end, is_match != invert);
                       }));
  return splitter.Finish();
}

// Behaviours of single characters: each that satisfies kIsMatch is a match.
template <bool (*kIsMatch)(char32_t)>
class CharacterSplit final : public PreTokenizerStage {
 public:
  explicit CharacterSplit(SplitBehavior behavior) : behavior_(behavior) {}

  Status Split(const Piece& piece, const PieceEmitter& emit) const override {
    auto splitter = MakeSplitter(behavior_, piece, emit);
    AWQ_TRY(VisitCharacters(piece.text, kIsMatch, splitter));
    return splitter.Finish();
  }

 private:
  SplitBehavior behavior_;
};

// Runs of word characters, and runs of what is neither word nor whitespace.
class WhitespaceStage final : public PreTokenizerStage {
 public:
  Status Split(const Piece& piece, const PieceEmitter& emit) const override {
    enum class Kind { kSpace, kWord, kOther };
    Kind run = Kind::kSpace;
    std::size_t start = 0;
    for (std::size_t i = 0; i < piece.text.size();) {
      const Utf8Char c = DecodeUtf8(piece.text, i);
      const Kind kind = IsWhitespace(c.code) ? Kind::kSpace
                        : IsWord(c.code)     ? Kind::kWord
                                             : Kind::kOther;
      if (kind != run) {
        if (run != Kind::kSpace) AWQ_TRY(emit(piece.Sub(start, i)));
        run = kind;
        start = i;
      }
      i += c.bytes;
    }
    return run == Kind::kSpace ? Status() : emit(piece.Sub(start, piece.text.size()));
  }
};

class SplitStage final : public PreTokenizerStage {
 public:
  SplitStage(Pattern pattern, SplitBehavior behavior, bool invert)
      : pattern_(std::move(pattern)), behavior_(behavior), invert_(invert) {}

  Status Split(const Piece& piece, const PieceEmitter& emit) const override {
    return SplitByPattern(pattern_, invert_, behavior_, piece, emit);
  }

 private:
  Pattern pattern_;
  SplitBehavior behavior_;
  bool invert_;
};

class MetaspaceStage final : public PreTokenizerStage {
 public:
  enum class Prepend { kFirst, kNever, kAlways };

  MetaspaceStage(char32_t replacement, Prepend prepend, bool split)
      : prepend_(prepend), split_(split) {
    AppendUtf8(replacement, replacement_);
  }

  Status Split(const Piece& piece, const PieceEmitter& emit) const override {
    std::string& text = emit.buffer();
    text.clear();
    Piece out;
    for (std::size_t i = 0; i < piece.text.size(); ++i) {
      if (piece.text[i] == ' ') {
        text += replacement_;
      } else {
        text += piece.text[i];
      }
      if (i < piece.first_bytes) out.first_bytes = text.size();
    }
    const bool wanted =
        prepend_ == Prepend::kAlways || (prepend_ == Prepend::kFirst && out.first_bytes > 0);
    if (wanted && !text.starts_with(replacement_)) {
      text.insert(0, replacement_);
      if (out.first_bytes > 0) out.first_bytes += replacement_.size();
    }
    out.text = text;
    if (!split_) return emit(out);
    auto splitter = MakeSplitter(SplitBehavior::kMergedWithNext, out, emit);
    const char32_t replacement = DecodeUtf8(replacement_, 0).code;
    AWQ_TRY(VisitCharacters(
        out.text, [&](char32_t c) { return c == replacement; }, splitter));
    return splitter.Finish();
  }

 private:
  std::string replacement_;
  Prepend prepend_;
  bool split_;
};

class ByteLevelStage final : public PreTokenizerStage {
 public:
  ByteLevelStage(bool add_prefix_space, std::optional<Pattern> pattern)
      : add_prefix_space_(add_prefix_space), pattern_(std::move(pattern)) {}

  bool is_byte_level() const override { return true; }

  Status Split(const Piece& piece, const PieceEmitter& emit) const override {
    Piece whole = piece;
    std::string prefixed;
    if (add_prefix_space_ && !piece.text.starts_with(' ')) {
      prefixed.reserve(piece.text.size() + 1);
      prefixed.append(" ").append(piece.text);
      whole = {prefixed, piece.first_bytes > 0 ? piece.first_bytes + 1 : 0};
    }
    const auto pass_on = [&](std::size_t start, std::size_t end, bool /*is_match*/) -> Status {
      const Piece word = whole.Sub(start, end);
      if (emit.emits_bytes()) return emit(word);
      std::string& letters = emit.buffer();
      letters.clear();
      AppendByteLetters(word.text.substr(0, word.first_bytes), letters);
      const std::size_t first_bytes = letters.size();
      AppendByteLetters(word.text.substr(word.first_bytes), letters);
      return emit({letters, first_bytes});
    };
    if (!pattern_) return pass_on(0, whole.text.size(), true);
    return VisitMatches(*pattern_, whole.text, emit.regex(), pass_on);
  }

 private:
  bool add_prefix_space_;
  std::optional<Pattern> pattern_;
};

Made MakeByteLevel(const JsonNode& node) {
  AWQ_ASSIGN(const bool add_prefix_space, node.BoolOr("add_prefix_space", true));
  AWQ_ASSIGN(const bool use_regex, node.BoolOr("use_regex", true));
  std::optional<Pattern> pattern;
  if (use_regex) {
    const nlohmann::json regex = {{"Regex", kGpt2Pattern}};
    AWQ_ASSIGN(pattern, Pattern::FromJson(JsonNode(regex, node.path())));
  }
  return Made(std::make_unique<const ByteLevelStage>(add_prefix_space, std::move(pattern)));
}

Made MakeSplit(const JsonNode& node) {
  AWQ_ASSIGN(const JsonNode pattern_node, node.Get("pattern"));
  AWQ_ASSIGN(Pattern pattern, Pattern::FromJson(pattern_node));
  AWQ_ASSIGN(const JsonNode behavior_node, node.Get("behavior"));
  AWQ_ASSIGN(const SplitBehavior behavior, SplitBehaviorFromJson(behavior_node));
  AWQ_ASSIGN(const bool invert, node.BoolOr("invert", false));
  return Made(std::make_unique<const SplitStage>(std::move(pattern), behavior, invert));
}

Made MakeDigits(const JsonNode& node) {
  AWQ_ASSIGN(const bool individual, node.BoolOr("individual_digits", false));
  return Made(std::make_unique<const CharacterSplit<&IsNumeric>>(
      individual ? SplitBehavior::kIsolated : SplitBehavior::kContiguous));
}

Made MakePunctuation(const JsonNode& node) {
  SplitBehavior behavior = SplitBehavior::kIsolated;
  if (const auto field = node.Find("behavior")) {
    AWQ_ASSIGN(behavior, SplitBehaviorFromJson(*field));
  }
  return Made(std::make_unique<const CharacterSplit<&IsPunctuation>>(behavior));
}

Made MakeWhitespaceSplit(const JsonNode& /*node*/) {
  return Made(std::make_unique<const CharacterSplit<&IsWhitespace>>(SplitBehavior::kRemoved));
}

Made MakeWhitespace(const JsonNode& /*node*/) {
  return Made(std::make_unique<const WhitespaceStage>());
}

Made MakeMetaspace(const JsonNode& node) {
  AWQ_ASSIGN(const JsonNode replacement_node, node.Get("replacement"));
  AWQ_ASSIGN(const char32_t replacement, replacement_node.Character());
  AWQ_ASSIGN(const std::string scheme, node.StringOr("prepend_scheme", "always"));
  AWQ_ASSIGN(const bool add_prefix_space, node.BoolOr("add_prefix_space", true));
  AWQ_ASSIGN(const bool split, node.BoolOr("split", true));
  auto prepend = MetaspaceStage::Prepend::kAlways;
  if (scheme == "first") {
    prepend = MetaspaceStage::Prepend::kFirst;
  } else if (scheme == "never") {
    prepend = MetaspaceStage::Prepend::kNever;
  } else if (scheme != "always") {
    return node.Find("prepend_scheme")->Wrong("first, never or always");
  }
  // The older spelling of "never".
  if (!add_prefix_space) prepend = MetaspaceStage::Prepend::kNever;
  return Made(std::make_unique<const MetaspaceStage>(replacement, prepend, split));
}

constexpr ComponentRow<PreTokenizerStage> kRows[] = {
    {"ByteLevel", &MakeByteLevel},     {"Split", &MakeSplit},
    {"Digits", &MakeDigits},           {"Metaspace", &MakeMetaspace},
    {"Whitespace", &MakeWhitespace},   {"WhitespaceSplit", &MakeWhitespaceSplit},
    {"Punctuation", &MakePunctuation},
};

}  // namespace

PreTokenizerChain::PreTokenizerChain() = default;
PreTokenizerChain::~PreTokenizerChain() = default;
PreTokenizerChain::PreTokenizerChain(PreTokenizerChain&&) noexcept = default;
PreTokenizerChain& PreTokenizerChain::operator=(PreTokenizerChain&&) noexcept = default;

Result<PreTokenizerChain> PreTokenizerChain::FromJson(const JsonNode& node, bool may_emit_bytes) {
  PreTokenizerChain chain;
  AWQ_TRY(AppendComponents(node, "pretokenizers", kRows, chain.stages_));
  const auto byte_levels = std::count_if(chain.stages_.begin(), chain.stages_.end(),
                                         [](const auto& stage) { return stage->is_byte_level(); });
  if (byte_levels > 2) {  // each doubles the text
    return MakeError(ErrorCode::kUnsupported, "{}: {} ByteLevel components; at most 2 are accepted",
                     node.path(), byte_levels);
  }
  chain.emits_bytes_ =
      may_emit_bytes && !chain.stages_.empty() && chain.stages_.back()->is_byte_level();
  return chain;
}

Status PreTokenizerChain::Run(const Piece& piece, PreTokenizerScratch& scratch,
                              PieceSink& sink) const {
  if (scratch.buffers.size() < stages_.size()) scratch.buffers.resize(stages_.size());
  return piece.text.empty() ? Status() : RunFrom(0, piece, scratch, sink);
}

Status PreTokenizerChain::RunFrom(std::size_t stage, const Piece& piece,
                                  PreTokenizerScratch& scratch, PieceSink& sink) const {
  if (stage == stages_.size()) return sink.Accept(piece);
  return stages_[stage]->Split(piece, PieceEmitter(*this, stage, scratch, sink));
}

}  // namespace awq::text
