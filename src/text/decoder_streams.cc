#include "text/decoder_streams.h"

#include <algorithm>
#include <cctype>
#include <optional>
#include <utility>

#include "text/byte_alphabet.h"
#include "text/utf8.h"

namespace awq::text {
namespace {

std::optional<char> ByteOfToken(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return std::nullopt;
  int value = 0;
  for (char c : token.substr(3, 2)) {
    if (std::isxdigit(static_cast<unsigned char>(c)) == 0) return std::nullopt;
    value = value * 16 + (c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
  }
  return static_cast<char>(value);
}

std::string ReplaceAll(std::string_view text, std::string_view pattern, std::string_view content) {
  std::string out;
  std::size_t copied = 0;
  for (std::size_t found; (found = text.find(pattern, copied)) != std::string_view::npos;) {
    out.append(text, copied, found - copied).append(content);
    copied = found + pattern.size();
  }
  return out.append(text, copied);
}

}  // namespace

void JoinStream::Write(std::string_view fragment, bool ends_token) {
  if (std::exchange(owes_blank_, ends_token)) next().Write(" ", false);
  next().Write(fragment, ends_token);
}

void FuseStream::Write(std::string_view fragment, bool /*ends_token*/) {
  next().Write(fragment, false);
}

void FuseStream::Finish() {
  next().Write("", true);
  next().Finish();
}

void ByteLevelStream::Write(std::string_view fragment, bool ends_token) {
  token_ += fragment;
  if (!ends_token) return;
  // A token with other letters, an added one, stands for itself.
  bytes_ += BytesOfLetters(token_).value_or(token_);
  token_.clear();
  std::string text;
  std::size_t i = 0;
  while (i < bytes_.size()) {
    const Utf8Step step = StepUtf8(bytes_, i);
    if (step.kind == Utf8Kind::kTruncated) break;
    text += step.kind == Utf8Kind::kValid ? std::string_view(bytes_).substr(i, step.bytes)
                                          : kReplacementUtf8;
    i += step.bytes;
  }
  bytes_.erase(0, i);
  next().Write(text, false);
}

void ByteLevelStream::Finish() {
  next().Write(bytes_.empty() ? "" : kReplacementUtf8, true);
  next().Finish();
}

void ByteFallbackStream::Write(std::string_view fragment, bool ends_token) {
  if (passing_) {
    next().Write(fragment, ends_token);
    passing_ = !ends_token;
    return;
  }
  token_ += fragment;
  constexpr std::size_t kByteTokenBytes = 6;
  if (!ends_token && token_.size() <= kByteTokenBytes) return;
  const auto byte = ends_token ? ByteOfToken(token_) : std::nullopt;
  if (byte) {
    bytes_.push_back(*byte);
  } else {
    FlushBytes();
    next().Write(token_, ends_token);
    passing_ = !ends_token;
  }
  token_.clear();
}

void ByteFallbackStream::FlushBytes() {
  if (bytes_.empty()) return;
  if (IsValidUtf8(bytes_)) {
    next().Write(bytes_, true);
  } else {
    for (std::size_t i = 0; i < bytes_.size(); ++i) next().Write(kReplacementUtf8, true);
  }
  bytes_.clear();
}

void ByteFallbackStream::Finish() {
  FlushBytes();
  next().Finish();
}

void StripStream::Write(std::string_view fragment, bool ends_token) {
  std::string out;
  for (std::size_t i = 0; i < fragment.size();) {
    const std::string_view c = fragment.substr(i, DecodeUtf8(fragment, i).bytes);
    i += c.size();
    at_start_ = at_start_ && stripped_ < start_ && c == content_;
    if (at_start_) {
      ++stripped_;
    } else if (c == content_ && held_ < stop_) {
      ++held_;
    } else if (c == content_) {
      out += c;  // the ones held back move on by one
    } else {
      for (; held_ > 0; --held_) out += content_;
      out += c;
    }
  }
  next().Write(out, ends_token);
  if (!ends_token) return;
  at_start_ = true;
  stripped_ = 0;
  held_ = 0;
}

void ReplaceStream::Write(std::string_view fragment, bool ends_token) {
  held_ += fragment;
  std::string out;
  std::size_t copied = 0;
  for (std::size_t found; (found = held_.find(pattern_, copied)) != std::string::npos;) {
    out.append(held_, copied, found - copied).append(content_);
    copied = found + pattern_.size();
  }
  const std::string_view rest = std::string_view(held_).substr(copied);
  std::size_t keep = ends_token ? 0 : std::min(pattern_.size() - 1, rest.size());
  while (keep > 0 && !rest.ends_with(std::string_view(pattern_).substr(0, keep))) --keep;
  out += rest.substr(0, rest.size() - keep);
  held_.erase(0, held_.size() - keep);
  next().Write(out, ends_token);
}

void MetaspaceStream::Write(std::string_view fragment, bool ends_token) {
  next().Write(ReplaceAll(fragment, replacement_, drops_ ? "" : " "), ends_token);
  if (ends_token) drops_ = false;
}

void BpeDecoderStream::Write(std::string_view fragment, bool ends_token) {
  if (complete_) {
    next().Write(ReplaceAll(token_, suffix_, " "), true);
    token_.clear();
  }
  token_ += fragment;
  complete_ = ends_token;
}

void BpeDecoderStream::Finish() {
  if (complete_) next().Write(ReplaceAll(token_, suffix_, ""), true);
  next().Finish();
}

}  // namespace awq::text
