// Where the hub is, where the cache lies and who asks: the environment variables of
// huggingface_hub.
#pragma once

#include <awq/result.h>

#include <filesystem>
#include <functional>
#include <string>

namespace awq::hub {

struct Settings {
  std::string endpoint = "https://huggingface.co";  // without a slash at the end
  std::filesystem::path cache;                      // the folder with models--ORG--NAME in it
  std::string token;                                // empty: none is sent
  bool offline = false;
  long timeout_seconds = 10;  // for a connection, and without a sign of life
  std::string authorities;    // file of the certificates to trust; empty: the system's
};

// std::getenv, or a test's own.
using Variables = std::function<const char*(const char* name)>;

// HF_ENDPOINT; HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE, HF_HOME/hub, XDG_CACHE_HOME/huggingface/hub or
// ~/.cache/huggingface/hub; HF_TOKEN, HUGGING_FACE_HUB_TOKEN or the file HF_TOKEN_PATH, else
// HF_HOME/token; HF_HUB_DISABLE_IMPLICIT_TOKEN; HF_HUB_OFFLINE, TRANSFORMERS_OFFLINE;
// HF_HUB_DOWNLOAD_TIMEOUT; SSL_CERT_FILE. An empty variable counts as absent.
Result<Settings> ReadSettings(const Variables& variables);

}  // namespace awq::hub
