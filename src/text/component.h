// Components of a tokenizer file are objects with a "type"; a "Sequence" holds further ones.
#pragma once

#include <awq/result.h>

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"
#include "text/json_node.h"

namespace awq::text {

// One row of a table of component types.
template <class Component>
struct ComponentRow {
  std::string_view type;
  Result<std::unique_ptr<const Component>> (*make)(const JsonNode& node);
};

inline constexpr std::size_t kMaxComponents = 32;
inline constexpr std::size_t kMaxComponentDepth = 16;

// Appends the component at `node`, or those of the Sequence under `members` in order.
template <class Component, std::size_t kRows>
Status AppendComponents(const JsonNode& node, std::string_view members,
                        const ComponentRow<Component> (&rows)[kRows],
                        std::vector<std::unique_ptr<const Component>>& out, std::size_t depth = 0) {
  AWQ_ASSIGN(const JsonNode type_node, node.Get("type"));
  AWQ_ASSIGN(const std::string_view type, type_node.StringView());
  if (type == "Sequence") {
    if (depth >= kMaxComponentDepth) {
      return MakeError(ErrorCode::kUnsupported, "{}: sequences nested deeper than {}", node.path(),
                       kMaxComponentDepth);
    }
    AWQ_ASSIGN(const JsonNode list, node.Get(members));
    AWQ_ASSIGN(const auto nodes, list.Array());
    for (const JsonNode& member : nodes) {
      AWQ_TRY(AppendComponents(member, members, rows, out, depth + 1));
    }
    return {};
  }
  for (const auto& row : rows) {
    if (row.type != type) continue;
    if (out.size() >= kMaxComponents) {
      return MakeError(ErrorCode::kUnsupported, "{}: more than {} components", node.path(),
                       kMaxComponents);
    }
    AWQ_ASSIGN(auto component, row.make(node));
    out.push_back(std::move(component));
    return {};
  }
  std::string known;
  for (const auto& row : rows) known += fmt::format(" {}", row.type);
  return MakeError(ErrorCode::kUnsupported,
                   "{}: type {} is not supported; supported are Sequence{}", node.path(),
                   Shorten(type_node.json()), known);
}

}  // namespace awq::text
