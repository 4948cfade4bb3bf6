// GPT-2's alphabet: one printable letter for each of the 256 bytes, so that a vocabulary of strings
// can hold any bytes. Printable ASCII and Latin-1 stand for themselves, the others are U+0100 on.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>

namespace awq::text {

char32_t ByteLetter(unsigned char byte);
std::optional<unsigned char> LetterByte(char32_t letter);

void AppendByteLetters(std::string_view bytes, std::string& out);
// The bytes that `letters` (valid UTF-8) stand for, unless one of them stands for none.
std::optional<std::string> BytesOfLetters(std::string_view letters);

}  // namespace awq::text
