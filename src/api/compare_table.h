// A comparison as text.
#pragma once

#include <awq/awq.h>

#include <string>

namespace awq::api {

std::string ToMarkdown(const CompareReport& report);
std::string ToCsv(const CompareReport& report);
std::string ToJson(const CompareReport& report);

}  // namespace awq::api
