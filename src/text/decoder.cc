#include "text/decoder.h"

#include <tuple>
#include <utility>

#include "base/error.h"
#include "text/component.h"
#include "text/decoder_streams.h"
#include "text/utf8.h"

namespace awq::text {
namespace {

// A file must not make a gigabyte of a token.
constexpr std::size_t kMaxGrowth = 4096;

using Made = Result<std::unique_ptr<const DecoderStage>>;

// Opens a stream of one type with the arguments that the file gave.
template <class Stream, class... Arguments>
class StreamStage final : public DecoderStage {
 public:
  StreamStage(std::size_t growth, Arguments... arguments)
      : growth_(growth), arguments_(std::move(arguments)...) {}

  std::unique_ptr<TokenSink> Open(TokenSink& next) const override {
    return std::apply(
        [&](const Arguments&... arguments) -> std::unique_ptr<TokenSink> {
          return std::make_unique<Stream>(next, arguments...);
        },
        arguments_);
  }
  std::size_t growth() const override { return growth_; }

 private:
  std::size_t growth_;
  std::tuple<Arguments...> arguments_;
};

template <class Stream>
Made MakeSimple(const JsonNode& /*node*/) {
  return Made(std::make_unique<const StreamStage<Stream>>(1));
}

Result<std::string> NonEmpty(const JsonNode& node, std::string_view key) {
  AWQ_ASSIGN(const JsonNode field, node.Get(key));
  AWQ_ASSIGN(std::string text, field.String());
  if (text.empty()) return field.Wrong("a string that is not empty");
  return text;
}

Made MakeStrip(const JsonNode& node) {
  AWQ_ASSIGN(const JsonNode content_node, node.Get("content"));
  AWQ_ASSIGN(const char32_t content, content_node.Character());
  AWQ_ASSIGN(const JsonNode start_node, node.Get("start"));
  AWQ_ASSIGN(const JsonNode stop_node, node.Get("stop"));
  AWQ_ASSIGN(const auto start, start_node.Integer(0, INT32_MAX));
  AWQ_ASSIGN(const auto stop, stop_node.Integer(0, INT32_MAX));
  std::string character;
  AppendUtf8(content, character);
  return Made(
      std::make_unique<const StreamStage<StripStream, std::string, std::size_t, std::size_t>>(
          1, std::move(character), static_cast<std::size_t>(start),
          static_cast<std::size_t>(stop)));
}

Made MakeReplace(const JsonNode& node) {
  AWQ_ASSIGN(const JsonNode pattern_node, node.Get("pattern"));
  if (pattern_node.Find("Regex")) {
    return MakeError(ErrorCode::kUnsupported,
                     "{}.Regex: a decoder that replaces by a regular expression is not supported; "
                     "supported is \"String\"",
                     pattern_node.path());
  }
  AWQ_ASSIGN(std::string pattern, NonEmpty(pattern_node, "String"));
  AWQ_ASSIGN(const JsonNode content_node, node.Get("content"));
  AWQ_ASSIGN(std::string content, content_node.String());
  const std::size_t growth = content.size() / pattern.size() + 1;
  return Made(std::make_unique<const StreamStage<ReplaceStream, std::string, std::string>>(
      growth, std::move(pattern), std::move(content)));
}

Made MakeMetaspace(const JsonNode& node) {
  AWQ_ASSIGN(const JsonNode replacement_node, node.Get("replacement"));
  AWQ_ASSIGN(const char32_t replacement, replacement_node.Character());
  AWQ_ASSIGN(const std::string scheme, node.StringOr("prepend_scheme", "always"));
  AWQ_ASSIGN(const bool add_prefix_space, node.BoolOr("add_prefix_space", true));
  std::string character;
  AppendUtf8(replacement, character);
  return Made(std::make_unique<const StreamStage<MetaspaceStream, std::string, bool>>(
      1, std::move(character), scheme != "never" && add_prefix_space));
}

Made MakeBpeDecoder(const JsonNode& node) {
  AWQ_ASSIGN(std::string suffix, NonEmpty(node, "suffix"));
  return Made(
      std::make_unique<const StreamStage<BpeDecoderStream, std::string>>(1, std::move(suffix)));
}

constexpr ComponentRow<DecoderStage> kRows[] = {
    {"ByteLevel", &MakeSimple<ByteLevelStream>},
    {"ByteFallback", &MakeSimple<ByteFallbackStream>},
    {"Fuse", &MakeSimple<FuseStream>},
    {"Strip", &MakeStrip},
    {"Replace", &MakeReplace},
    {"Metaspace", &MakeMetaspace},
    {"BPEDecoder", &MakeBpeDecoder},
};

}  // namespace

Result<DecoderChain> DecoderChain::FromJson(const JsonNode* node) {
  DecoderChain chain;
  if (node == nullptr) {
    chain.stages_.push_back(std::make_unique<const StreamStage<JoinStream>>(1));
    return chain;
  }
  AWQ_TRY(AppendComponents(*node, "decoders", kRows, chain.stages_));
  std::size_t growth = 1;
  for (const auto& stage : chain.stages_) {
    if (stage->growth() > kMaxGrowth / growth) {
      return MakeError(ErrorCode::kUnsupported,
                       "{}: the decoders could lengthen a text more than {} times", node->path(),
                       kMaxGrowth);
    }
    growth *= stage->growth();
  }
  return chain;
}

std::unique_ptr<DecoderStream> DecoderChain::Open() const {
  auto stream = std::make_unique<DecoderStream>();
  stream->streams_.push_back(std::make_unique<StringSink>(stream->text));
  for (auto stage = stages_.rbegin(); stage != stages_.rend(); ++stage) {
    stream->streams_.push_back((*stage)->Open(*stream->streams_.back()));
  }
  return stream;
}

}  // namespace awq::text
