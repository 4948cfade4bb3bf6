#include "text/byte_alphabet.h"

#include <cstddef>
#include <cstdint>

#include "text/utf8.h"

namespace awq::text {
namespace {

constexpr std::size_t kLetters = 256 + 68;  // 68 bytes are not printable

struct Alphabet {
  std::array<char32_t, 256> letter_of{};
  std::array<std::int16_t, kLetters> byte_of{};
};

constexpr Alphabet MakeAlphabet() {
  Alphabet alphabet;
  for (auto& byte : alphabet.byte_of) byte = -1;
  char32_t next = 256;
  for (char32_t byte = 0; byte < 256; ++byte) {
    const bool printable = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte != 0xAD);
    const char32_t letter = printable ? byte : next++;
    alphabet.letter_of[byte] = letter;
    alphabet.byte_of[letter] = static_cast<std::int16_t>(byte);
  }
  return alphabet;
}

constexpr Alphabet kAlphabet = MakeAlphabet();

}  // namespace

char32_t ByteLetter(unsigned char byte) { return kAlphabet.letter_of[byte]; }

std::optional<unsigned char> LetterByte(char32_t letter) {
  if (letter >= kLetters || kAlphabet.byte_of[letter] < 0) return std::nullopt;
  return static_cast<unsigned char>(kAlphabet.byte_of[letter]);
}

void AppendByteLetters(std::string_view bytes, std::string& out) {
  for (char byte : bytes) AppendUtf8(ByteLetter(static_cast<unsigned char>(byte)), out);
}

std::optional<std::string> BytesOfLetters(std::string_view letters) {
  std::string bytes;
  bytes.reserve(letters.size());
  for (std::size_t i = 0; i < letters.size();) {
    const Utf8Char c = DecodeUtf8(letters, i);
    const auto byte = LetterByte(c.code);
    if (!byte) return std::nullopt;
    bytes.push_back(static_cast<char>(*byte));
    i += c.bytes;
  }
  return bytes;
}

}  // namespace awq::text
