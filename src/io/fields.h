// Reading one checked field of a JSON object at a time.
#pragma once

#include <awq/result.h>

#include <cstddef>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

namespace awq::io {

struct SizeRange {
  std::size_t least = 0;
  std::size_t most = 0;
};

// A JSON object and where it stands ("dir/config.json: rope_scaling"), for errors. A member that is
// null counts as absent. Both arguments must outlive it.
class Fields {
 public:
  Fields(const nlohmann::json& object, const std::string& place) : object_(object), place_(place) {}

  const std::string& place() const { return place_; }
  // nullptr if absent.
  const nlohmann::json* Find(const char* key) const;

  // An integer inside the range. Without a fallback an absent member is an error.
  Result<std::size_t> Size(const char* key, SizeRange range,
                           std::optional<std::size_t> fallback = std::nullopt) const;
  // A finite number with least < value <= most.
  Result<double> Number(const char* key, double least, double most,
                        std::optional<double> fallback = std::nullopt) const;
  Result<bool> Bool(const char* key, bool fallback) const;
  Result<std::string> String(const char* key,
                             const std::optional<std::string>& fallback = std::nullopt) const;

 private:
  Error Missing(const char* key, const char* kind) const;
  Error Wrong(const char* key, const std::string& expected) const;

  const nlohmann::json& object_;
  const std::string& place_;
};

// The value if it is an integer >= 0; JSON built by a program holds signed ones, parsed text does
// not.
std::optional<std::size_t> AsSize(const nlohmann::json& value);

// The value as short JSON text for an error message, whatever it holds.
std::string Excerpt(const nlohmann::json& value);

}  // namespace awq::io
