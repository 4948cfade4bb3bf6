// The content hashes that name blobs.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>

namespace awq::hub {

// SHA-256 of the content where the expected hash has 64 digits; where it has 40, git's SHA-1 of a
// blob: of "blob SIZE", a zero byte and the content.
class BlobHasher {
 public:
  BlobHasher(std::size_t hash_digits, std::size_t size_bytes);
  ~BlobHasher();
  BlobHasher(BlobHasher&&) noexcept;
  BlobHasher& operator=(BlobHasher&&) noexcept;

  void Update(std::span<const std::byte> bytes);
  // In lowercase hexadecimal; afterwards the hasher is spent.
  std::string Finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace awq::hub
