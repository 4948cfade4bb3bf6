#include "text/tokenizer.h"

#include <utility>

#include "base/error.h"
#include "text/tokenizer_parts.h"
#include "text/utf8.h"

namespace awq::text {
namespace {

constexpr std::size_t kMaxTextBytes = (std::size_t{1} << 31) - 1;

// Returns what it borrowed when the call ends, however it ends.
class BorrowedScratch {
 public:
  explicit BorrowedScratch(ScratchPool& pool) : pool_(pool), scratch_(pool.Take()) {}
  ~BorrowedScratch() { pool_.Give(std::move(scratch_)); }
  BorrowedScratch(const BorrowedScratch&) = delete;
  BorrowedScratch& operator=(const BorrowedScratch&) = delete;
  EncodeScratch& operator*() { return *scratch_; }

 private:
  ScratchPool& pool_;
  std::unique_ptr<EncodeScratch> scratch_;
};

// Gives words to the model.
class ModelSink final : public PieceSink {
 public:
  ModelSink(const BpeModel& model, bool bytes, BpeScratch& scratch, std::vector<std::int32_t>& ids)
      : model_(model), bytes_(bytes), scratch_(scratch), ids_(ids) {}

  Status Accept(const Piece& piece) override {
    return bytes_ ? model_.EncodeBytes(piece.text, scratch_, ids_)
                  : model_.Encode(piece.text, scratch_, ids_);
  }

 private:
  const BpeModel& model_;
  bool bytes_;
  BpeScratch& scratch_;
  std::vector<std::int32_t>& ids_;
};

}  // namespace

Tokenizer::Tokenizer(std::unique_ptr<const Parts> parts) : parts_(std::move(parts)) {}
Tokenizer::~Tokenizer() = default;

Result<std::vector<std::int32_t>> Tokenizer::Encode(std::string_view utf8,
                                                    bool add_special_tokens) const {
  if (utf8.size() > kMaxTextBytes) {
    return MakeError(ErrorCode::kInvalidArgument, "a text of {} bytes; at most {} are accepted",
                     utf8.size(), kMaxTextBytes);
  }
  std::string replaced;
  if (!IsValidUtf8(utf8)) {
    replaced = ReplaceInvalidUtf8(utf8);
    utf8 = replaced;
  }
  BorrowedScratch borrowed(parts_->pool);
  EncodeScratch& scratch = *borrowed;
  scratch.pre_tokenizer.regex.ResetBudget(utf8.size());

  const PostProcessor& post = parts_->post_processor;
  std::vector<std::int32_t> ids;
  if (add_special_tokens) ids = post.prefix;
  ModelSink sink(parts_->model, parts_->pre_tokenizer.emits_bytes(), scratch.bpe, ids);
  const auto encode_normalized = [&](const Piece& text) {
    return parts_->normalized_tokens.VisitPieces(
        text.text, [&](const AddedTokenMatcher::Piece& piece) -> Status {
          if (!piece.id) {
            return parts_->pre_tokenizer.Run(text.Sub(piece.start, piece.end),
                                             scratch.pre_tokenizer, sink);
          }
          ids.push_back(*piece.id);
          return {};
        });
  };
  const auto encode_raw = [&](const AddedTokenMatcher::Piece& piece) -> Status {
    if (piece.id) {
      ids.push_back(*piece.id);
      return {};
    }
    const std::string_view text = utf8.substr(piece.start, piece.end - piece.start);
    const std::size_t first_bytes = piece.start == 0 ? DecodeUtf8(text, 0).bytes : 0;
    if (parts_->normalizer.empty()) return encode_normalized(Piece{text, first_bytes});
    NormalizedText normalized{std::string(text), first_bytes};
    AWQ_TRY(parts_->normalizer.Apply(normalized, scratch.pre_tokenizer.regex));
    return encode_normalized(Piece{normalized.text, normalized.first_bytes});
  };
  AWQ_TRY(parts_->raw_tokens.VisitPieces(utf8, encode_raw));
  if (add_special_tokens) ids.insert(ids.end(), post.suffix.begin(), post.suffix.end());
  return ids;
}

std::size_t Tokenizer::vocab_size() const { return parts_->vocab_size; }
std::int32_t Tokenizer::max_id() const {
  return static_cast<std::int32_t>(parts_->tokens.size()) - 1;
}
std::span<const std::int32_t> Tokenizer::prefix_ids() const {
  return parts_->post_processor.prefix;
}
std::optional<std::int32_t> Tokenizer::bos_id() const { return parts_->bos_id; }
std::optional<std::int32_t> Tokenizer::eos_id() const { return parts_->eos_id; }
std::optional<bool> Tokenizer::add_bos_token() const { return parts_->add_bos_token; }

std::optional<std::int32_t> Tokenizer::TokenToId(std::string_view token) const {
  const auto added = parts_->added_ids.find(std::string(token));
  if (added != parts_->added_ids.end()) return added->second;
  return parts_->model.TokenToId(token);
}

std::optional<std::string> Tokenizer::IdToToken(std::int32_t id) const {
  if (id < 0 || id > max_id()) return std::nullopt;
  const auto& token = parts_->tokens[static_cast<std::size_t>(id)];
  if (!token.exists) return std::nullopt;
  return token.text;
}

bool Tokenizer::IsSpecial(std::int32_t id) const {
  return id >= 0 && id <= max_id() && parts_->tokens[static_cast<std::size_t>(id)].special;
}

std::string Tokenizer::Decode(std::span<const std::int32_t> ids, bool skip_special_tokens) const {
  const auto stream = parts_->decoder.Open();
  for (std::int32_t id : ids) {
    if (id < 0 || id > max_id()) continue;
    const auto& token = parts_->tokens[static_cast<std::size_t>(id)];
    if (!token.exists || (skip_special_tokens && token.special)) continue;
    stream->Write(token.text, true);
  }
  stream->Finish();
  return std::move(stream->text);
}

struct StreamingDecoder::State {
  std::shared_ptr<const Tokenizer> tokenizer;
  bool skip_special_tokens = false;
  std::unique_ptr<DecoderStream> stream;
};

StreamingDecoder::StreamingDecoder(std::shared_ptr<const Tokenizer> tokenizer,
                                   bool skip_special_tokens)
    : state_(std::make_unique<State>()) {
  state_->stream = tokenizer->parts_->decoder.Open();
  state_->tokenizer = std::move(tokenizer);
  state_->skip_special_tokens = skip_special_tokens;
}
StreamingDecoder::~StreamingDecoder() = default;
StreamingDecoder::StreamingDecoder(StreamingDecoder&&) noexcept = default;
StreamingDecoder& StreamingDecoder::operator=(StreamingDecoder&&) noexcept = default;

std::string StreamingDecoder::Feed(std::int32_t id) {
  const Tokenizer& tokenizer = *state_->tokenizer;
  if (id < 0 || id > tokenizer.max_id()) return {};
  const auto& token = tokenizer.parts_->tokens[static_cast<std::size_t>(id)];
  if (!token.exists || (state_->skip_special_tokens && token.special)) return {};
  state_->stream->Write(token.text, true);
  return std::exchange(state_->stream->text, {});
}

std::string StreamingDecoder::Flush() {
  state_->stream->Finish();
  std::string rest = std::move(state_->stream->text);
  state_->stream = state_->tokenizer->parts_->decoder.Open();
  return rest;
}

}  // namespace awq::text
