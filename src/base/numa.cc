#include "base/numa.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <iterator>
#include <string>
#include <system_error>

namespace awq {
namespace {

constexpr std::size_t kMostCpu = 65535;
constexpr std::size_t kMostNodes = 1024;

// The number at the front of the text, which it leaves.
bool TakeNumber(std::string_view& text, std::size_t& number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || number > kMostCpu) return false;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return true;
}

bool Take(std::string_view& text, char expected) {
  if (!text.starts_with(expected)) return false;
  text.remove_prefix(1);
  return true;
}

}  // namespace

Cpus ParseCpuList(std::string_view list) {
  Cpus cpus;
  while (!list.empty() && list != "\n") {
    std::size_t first = 0;
    if (!cpus.empty() && !Take(list, ',')) return {};
    if (!TakeNumber(list, first)) return {};
    std::size_t last = first;
    if (Take(list, '-') && (!TakeNumber(list, last) || last < first)) return {};
    if (!cpus.empty() && first <= cpus.back()) return {};
    for (std::size_t cpu = first; cpu <= last; ++cpu) cpus.push_back(cpu);
  }
  return cpus;
}

std::vector<Cpus> NumaNodes(const Cpus& allowed, const std::filesystem::path& root) {
  std::vector<Cpus> nodes;
  for (std::size_t node = 0; node < kMostNodes; ++node) {
    const std::filesystem::path folder = root / ("node" + std::to_string(node));
    std::error_code error;
    if (!std::filesystem::exists(folder, error)) continue;  // numbers may be left out
    std::ifstream file(folder / "cpulist");
    std::string list;
    std::getline(file, list);
    const Cpus all = ParseCpuList(list);
    Cpus cpus;
    std::ranges::set_intersection(all, allowed, std::back_inserter(cpus));
    if (!cpus.empty()) nodes.push_back(std::move(cpus));
  }
  return nodes;
}

Cpus PlaceThreads(std::size_t threads, const std::vector<Cpus>& nodes) {
  Cpus all;
  for (const Cpus& node : nodes) all.insert(all.end(), node.begin(), node.end());
  if (nodes.size() < 2 || threads > all.size()) return {};
  Cpus places;
  for (std::size_t thread = 0; thread < threads; ++thread) {
    places.push_back(all[thread * all.size() / threads]);
  }
  return places;
}

}  // namespace awq
