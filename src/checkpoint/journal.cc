#include "checkpoint/journal.h"

#include "base/error.h"
#include "io/file.h"
#include "io/json.h"

namespace awq::checkpoint {

Result<Journal> Journal::Read(const std::filesystem::path& path) {
  AWQ_ASSIGN(const nlohmann::json json, io::ReadJson(path));
  try {
    Journal journal;
    journal.fingerprint = json.at("fingerprint").get<std::string>();
    journal.layout = json.at("layout").get<std::string>();
    journal.done = json.at("done").get<std::map<std::string, nlohmann::json>>();
    journal.written = json.at("written").get<std::set<std::string>>();
    return journal;
  } catch (const nlohmann::json::exception& exception) {
    return MakeError(ErrorCode::kCorrupt, "{}: not a journal of awq: {}", path.string(),
                     exception.what());
  }
}

Status Journal::Write(const std::filesystem::path& path) const {
  const nlohmann::json json = {
      {"fingerprint", fingerprint}, {"layout", layout}, {"done", done}, {"written", written}};
  return io::WriteFileAtomically(
      path, json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
}

}  // namespace awq::checkpoint
