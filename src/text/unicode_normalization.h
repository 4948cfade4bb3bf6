// NFC, NFD, NFKC, NFKD, in time n log n.
#pragma once

#include <string>
#include <string_view>

namespace awq::text {

enum class NormalizationForm { kNfc, kNfd, kNfkc, kNfkd };

// Replaces `text` (valid UTF-8) by its normal form; false if it already was in it.
bool NormalizeUnicode(NormalizationForm form, std::string& text);

// True for characters that NFC never changes, reorders or joins to what stands before them.
bool IsNfcBoundary(char32_t code);

}  // namespace awq::text
