#include "text/post_processor.h"

#include <memory>
#include <string>
#include <utility>

#include "base/error.h"
#include "text/component.h"

namespace awq::text {
namespace {

using Made = Result<std::unique_ptr<const PostProcessor>>;

Result<std::int32_t> Id(const JsonNode& node) {
  AWQ_ASSIGN(const auto id, node.Integer(0, INT32_MAX));
  return static_cast<std::int32_t>(id);
}

Made MakeNothing(const JsonNode& /*node*/) { return Made(std::make_unique<const PostProcessor>()); }

// The ids of the special token that a template piece names.
Status AppendSpecial(const JsonNode& processor, const JsonNode& piece,
                     std::vector<std::int32_t>& ids) {
  AWQ_ASSIGN(const JsonNode name_node, piece.Get("id"));
  AWQ_ASSIGN(const std::string name, name_node.String());
  AWQ_ASSIGN(const JsonNode tokens, processor.Get("special_tokens"));
  const auto token = tokens.Find(name);
  if (!token) return name_node.Wrong(fmt::format("a name that {} has", tokens.path()));
  AWQ_ASSIGN(const JsonNode ids_node, token->Get("ids"));
  AWQ_ASSIGN(const auto id_nodes, ids_node.Array());
  for (const JsonNode& id_node : id_nodes) {
    AWQ_ASSIGN(const std::int32_t id, Id(id_node));
    ids.push_back(id);
  }
  return {};
}

Made MakeTemplate(const JsonNode& node) {
  auto made = std::make_unique<PostProcessor>();
  AWQ_ASSIGN(const JsonNode single, node.Get("single"));
  AWQ_ASSIGN(const auto pieces, single.Array());
  bool has_text = false;
  for (const JsonNode& piece : pieces) {
    if (const auto special = piece.Find("SpecialToken")) {
      AWQ_TRY(AppendSpecial(node, *special, has_text ? made->suffix : made->prefix));
      continue;
    }
    const auto sequence = piece.Find("Sequence");
    if (!sequence) return piece.Wrong("a SpecialToken or a Sequence");
    AWQ_ASSIGN(const JsonNode which, sequence->Get("id"));
    AWQ_ASSIGN(const std::string name, which.String());
    if (name != "A" || has_text) {
      return MakeError(ErrorCode::kUnsupported, "{}: expected sequence A, once; found {}",
                       which.path(), has_text ? "it again" : Shorten(which.json()));
    }
    has_text = true;
  }
  if (!has_text) return single.Wrong("a template with sequence A");
  return Made(std::move(made));
}

// "cls" and "sep" are [token, id].
Made MakeClsSep(const JsonNode& node) {
  auto made = std::make_unique<PostProcessor>();
  const auto id_of = [&](std::string_view key) -> Result<std::int32_t> {
    AWQ_ASSIGN(const JsonNode field, node.Get(key));
    AWQ_ASSIGN(const auto parts, field.Array());
    if (parts.size() != 2) return field.Wrong("[token, id]");
    return Id(parts[1]);
  };
  AWQ_ASSIGN(const std::int32_t cls, id_of("cls"));
  AWQ_ASSIGN(const std::int32_t sep, id_of("sep"));
  made->prefix = {cls};
  made->suffix = {sep};
  return Made(std::move(made));
}

constexpr ComponentRow<PostProcessor> kRows[] = {
    {"TemplateProcessing", &MakeTemplate},
    {"ByteLevel", &MakeNothing},  // offsets only
    {"RobertaProcessing", &MakeClsSep},
    {"BertProcessing", &MakeClsSep},
};

}  // namespace

Result<PostProcessor> PostProcessor::FromJson(const JsonNode& node,
                                              const std::function<bool(std::int32_t)>& is_known) {
  std::vector<std::unique_ptr<const PostProcessor>> parts;
  AWQ_TRY(AppendComponents(node, "processors", kRows, parts));
  PostProcessor whole;
  for (const auto& part : parts) {
    if (part->prefix.empty() && part->suffix.empty()) continue;
    if (!whole.prefix.empty() || !whole.suffix.empty()) {
      return MakeError(ErrorCode::kUnsupported, "{}: more than one component that adds tokens",
                       node.path());
    }
    whole = *part;
  }
  for (const auto* ids : {&whole.prefix, &whole.suffix}) {
    for (std::int32_t id : *ids) {
      if (is_known(id)) continue;
      return MakeError(ErrorCode::kCorrupt,
                       "{}: expected ids of the vocabulary; no token has the id {}", node.path(),
                       id);
    }
  }
  return whole;
}

}  // namespace awq::text
