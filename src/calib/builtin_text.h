// The calibration text that comes with the program: prose, conversations, code, mathematics and
// other languages, written for this project.
#pragma once

#include <string_view>

namespace awq::calib {

std::string_view BuiltinText();  // builtin_text.txt

}  // namespace awq::calib
