// Oniguruma patterns, as tokenizer files hold them, rewritten for PCRE2.
#pragma once

#include <awq/result.h>

#include <string>
#include <string_view>

namespace awq::text {

// The PCRE2 pattern (for PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE, newline LF) that matches what
// Oniguruma's own syntax matches with `pattern`: Unicode White_Space for \s, set operations and
// nesting in classes, scripts without their extensions, `(?m)` for a dot that matches newlines,
// `(?i)` to the end of its group, `{n,m}+` as a repeat of a repeat, categories of Unicode 16.
// Constructs that no tokenizer needs (back-references, \K, \G, absent groups, raw bytes) are
// refused with kUnsupported. `where` opens the error message.
Result<std::string> TranslateOniguruma(std::string_view pattern, const std::string& where);

}  // namespace awq::text
