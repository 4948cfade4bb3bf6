#include "hub/hash.h"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <array>

#include "base/check.h"

namespace awq::hub {

struct BlobHasher::State {
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  State() = default;
  ~State() { EVP_MD_CTX_free(context); }
  State(const State&) = delete;
  State& operator=(const State&) = delete;
};

BlobHasher::BlobHasher(std::size_t hash_digits, std::size_t size_bytes)
    : state_(std::make_unique<State>()) {
  AWQ_CHECK(hash_digits == 64 || hash_digits == 40);
  const bool git = hash_digits == 40;
  AWQ_CHECK(EVP_DigestInit_ex(state_->context, git ? EVP_sha1() : EVP_sha256(), nullptr) == 1);
  if (!git) return;
  const std::string start = fmt::format("blob {}", size_bytes);
  Update(std::as_bytes(std::span(start.c_str(), start.size() + 1)));
}

BlobHasher::~BlobHasher() = default;
BlobHasher::BlobHasher(BlobHasher&&) noexcept = default;
BlobHasher& BlobHasher::operator=(BlobHasher&&) noexcept = default;

void BlobHasher::Update(std::span<const std::byte> bytes) {
  AWQ_CHECK(EVP_DigestUpdate(state_->context, bytes.data(), bytes.size()) == 1);
}

std::string BlobHasher::Finish() {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned size = 0;
  AWQ_CHECK(EVP_DigestFinal_ex(state_->context, digest.data(), &size) == 1);
  std::string text;
  for (unsigned i = 0; i < size; ++i) text += fmt::format("{:02x}", digest[i]);
  return text;
}

}  // namespace awq::hub
