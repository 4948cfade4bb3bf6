// Which CPUs have which memory near them.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string_view>
#include <vector>

namespace awq {

using Cpus = std::vector<std::size_t>;  // their numbers, ascending

// A list as the kernel writes it: "0-3,8,10-11". Empty where it is none, or names a CPU above
// 65535.
Cpus ParseCpuList(std::string_view list);

// The CPUs of `allowed` that each node has, node after node, without nodes that have none of them;
// empty where the system does not say.
std::vector<Cpus> NumaNodes(const Cpus& allowed,
                            const std::filesystem::path& root = "/sys/devices/system/node");

// The CPU of each of so many threads: spread over all nodes, neighbours on one node. Empty where
// that is of no use: on one node, or with more threads than CPUs.
Cpus PlaceThreads(std::size_t threads, const std::vector<Cpus>& nodes);

}  // namespace awq
