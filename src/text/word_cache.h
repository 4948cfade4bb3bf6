// Words met before, and their ids: bounded, for one thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace awq::text {

std::uint64_t HashBytes(std::string_view bytes, std::uint64_t seed);

class WordCache {
 public:
  // Longer words seldom come back.
  static constexpr std::size_t kMaxWordBytes = 255;

  explicit WordCache(std::uint64_t seed);

  // Valid until the next Insert.
  std::optional<std::span<const std::int32_t>> Find(std::string_view word) const;
  // Ignores words longer than kMaxWordBytes; forgets everything when full.
  void Insert(std::string_view word, std::span<const std::int32_t> ids);

 private:
  struct Slot {
    std::uint64_t hash = 0;
    std::uint32_t word_offset = 0;
    std::uint32_t ids_offset = 0;
    std::uint16_t word_bytes = 0;
    std::uint16_t ids_count = 0;
    bool used = false;
  };
  bool Holds(const Slot& slot, std::uint64_t hash, std::string_view word) const;
  void Clear();

  std::uint64_t seed_;
  std::vector<Slot> slots_;
  std::vector<char> words_;
  std::vector<std::int32_t> ids_;
};

}  // namespace awq::text
