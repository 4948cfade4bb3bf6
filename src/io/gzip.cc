#include "io/gzip.h"

#include <zlib.h>

#include <algorithm>

#include "base/error.h"

namespace awq::io {
namespace {

constexpr std::size_t kChunkBytes = std::size_t{1} << 20;
constexpr int kGzipWindowBits = 15 + 16;  // zlib: +16 expects a gzip header

class Inflater {
 public:
  Inflater() { initialised_ = inflateInit2(&stream_, kGzipWindowBits) == Z_OK; }
  ~Inflater() {
    if (initialised_) inflateEnd(&stream_);
  }
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;

  bool initialised() const { return initialised_; }
  z_stream& stream() { return stream_; }

 private:
  z_stream stream_{};
  bool initialised_ = false;
};

bool AllZero(std::string_view bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](char byte) { return byte == 0; });
}

enum class State { kMemberEnds, kLimitReached, kInputEnds };

// Appends one member to `content` and drops what it consumed from `compressed`.
Result<State> InflateMember(std::string_view& compressed, std::string& content,
                            std::size_t limit_bytes, std::string_view name) {
  Inflater inflater;
  if (!inflater.initialised()) {
    return MakeError(ErrorCode::kOutOfMemory, "{}: cannot start zlib: out of memory", name);
  }
  z_stream& stream = inflater.stream();
  std::string chunk(kChunkBytes, '\0');
  int state = Z_OK;
  while (state != Z_STREAM_END) {
    const std::size_t feed = std::min(compressed.size(), kChunkBytes);
    // zlib takes the input as non-const and does not write to it.
    stream.next_in = const_cast<Bytef*>(reinterpret_cast<const Bytef*>(compressed.data()));
    stream.avail_in = static_cast<uInt>(feed);
    stream.next_out = reinterpret_cast<Bytef*>(chunk.data());
    stream.avail_out = static_cast<uInt>(chunk.size());
    state = inflate(&stream, Z_NO_FLUSH);
    const std::size_t consumed = feed - stream.avail_in;
    const std::size_t produced = chunk.size() - stream.avail_out;
    compressed.remove_prefix(consumed);
    const std::size_t room = limit_bytes - content.size();
    content.append(chunk, 0, std::min(produced, room));
    if (produced > room) return State::kLimitReached;
    if (state == Z_STREAM_END) break;
    if (state != Z_OK && state != Z_BUF_ERROR) {
      return MakeError(ErrorCode::kCorrupt, "{}: damaged gzip data: {}", name,
                       stream.msg != nullptr ? stream.msg : "unknown zlib error");
    }
    if (consumed == 0 && produced == 0) return State::kInputEnds;
  }
  return State::kMemberEnds;
}

}  // namespace

bool LooksLikeGzip(std::string_view bytes) { return bytes.starts_with("\x1f\x8b"); }

Result<ContentStart> InflateGzipStart(std::string_view compressed, bool whole,
                                      std::size_t limit_bytes, std::string_view name) {
  ContentStart start;
  while (LooksLikeGzip(compressed)) {
    AWQ_ASSIGN(const State state, InflateMember(compressed, start.content, limit_bytes, name));
    if (state == State::kLimitReached) return start;
    if (state == State::kInputEnds) {
      if (!whole) return start;
      return MakeError(ErrorCode::kCorrupt, "{}: the gzip data ends too early; download it again",
                       name);
    }
  }
  if (whole && !AllZero(compressed)) {
    return MakeError(ErrorCode::kCorrupt, "{}: {} bytes follow the gzip data", name,
                     compressed.size());
  }
  start.whole = whole;
  return start;
}

Result<std::string> InflateGzip(std::string_view compressed, std::size_t limit_bytes,
                                std::string_view name) {
  AWQ_ASSIGN(ContentStart start, InflateGzipStart(compressed, true, limit_bytes, name));
  if (start.whole) return std::move(start.content);
  return MakeError(ErrorCode::kCorrupt, "{}: inflates to more than the {} bytes allowed here", name,
                   limit_bytes);
}

}  // namespace awq::io
