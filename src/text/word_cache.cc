#include "text/word_cache.h"

#include <algorithm>
#include <cstring>

namespace awq::text {
namespace {

constexpr std::size_t kSlots = std::size_t{1} << 16;
// A search ends after so many slots, so that words made to collide cost no more than a miss.
constexpr std::size_t kProbes = 8;
constexpr std::size_t kArenaBytes = std::size_t{1} << 20;
constexpr std::size_t kArenaIds = std::size_t{1} << 18;

std::uint64_t Mix(std::uint64_t a, std::uint64_t b) {
  __extension__ using Wide = unsigned __int128;
  const Wide product = static_cast<Wide>(a) * b;
  return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
}

}  // namespace

std::uint64_t HashBytes(std::string_view bytes, std::uint64_t seed) {
  constexpr std::uint64_t kFirst = 0x9E3779B97F4A7C15ULL;
  constexpr std::uint64_t kSecond = 0xD6E8FEB86659FD93ULL;
  std::uint64_t hash = seed ^ Mix(bytes.size() + 1, kFirst);
  const char* data = bytes.data();
  std::size_t left = bytes.size();
  while (left >= 8) {
    std::uint64_t eight = 0;
    std::memcpy(&eight, data, 8);
    hash = Mix(hash ^ eight, kSecond);
    data += 8;
    left -= 8;
  }
  std::uint64_t tail = 0;
  if (left > 0) std::memcpy(&tail, data, left);
  return Mix(hash ^ tail, kFirst);
}

WordCache::WordCache(std::uint64_t seed) : seed_(seed), slots_(kSlots) {
  words_.reserve(kArenaBytes);
  ids_.reserve(kArenaIds);
}

bool WordCache::Holds(const Slot& slot, std::uint64_t hash, std::string_view word) const {
  return slot.used && slot.hash == hash && slot.word_bytes == word.size() &&
         std::memcmp(words_.data() + slot.word_offset, word.data(), word.size()) == 0;
}

std::optional<std::span<const std::int32_t>> WordCache::Find(std::string_view word) const {
  const std::uint64_t hash = HashBytes(word, seed_);
  for (std::size_t probe = 0; probe < kProbes; ++probe) {
    const Slot& slot = slots_[(hash + probe) % kSlots];
    if (!slot.used) return std::nullopt;
    if (Holds(slot, hash, word)) return std::span(ids_.data() + slot.ids_offset, slot.ids_count);
  }
  return std::nullopt;
}

void WordCache::Insert(std::string_view word, std::span<const std::int32_t> ids) {
  if (word.empty() || word.size() > kMaxWordBytes || ids.size() > UINT16_MAX) return;
  if (words_.size() + word.size() > kArenaBytes || ids_.size() + ids.size() > kArenaIds) Clear();
  const std::uint64_t hash = HashBytes(word, seed_);
  std::size_t place = hash % kSlots;
  for (std::size_t probe = 0; probe < kProbes; ++probe) {
    const std::size_t at = (hash + probe) % kSlots;
    if (slots_[at].used) continue;
    place = at;
    break;
  }
  slots_[place] = Slot{hash,
                       static_cast<std::uint32_t>(words_.size()),
                       static_cast<std::uint32_t>(ids_.size()),
                       static_cast<std::uint16_t>(word.size()),
                       static_cast<std::uint16_t>(ids.size()),
                       true};
  words_.insert(words_.end(), word.begin(), word.end());
  ids_.insert(ids_.end(), ids.begin(), ids.end());
}

void WordCache::Clear() {
  std::fill(slots_.begin(), slots_.end(), Slot());
  words_.clear();
  ids_.clear();
}

}  // namespace awq::text
