// A text as the windows that a model is measured on.
#pragma once

#include <awq/awq.h>

#include <cstddef>
#include <optional>
#include <string>

#include "model/config.h"
#include "text/tokenizer.h"
#include "text/windows.h"

namespace awq::api {

struct WindowRequest {
  std::string text;  // a file
  std::size_t ctx = 2048;
  bool ctx_was_given = false;   // else nothing is said where the model takes no more
  std::size_t most_tokens = 0;  // of a window, that the model takes
  Bos bos = Bos::kAuto;
  std::optional<std::size_t> max_tokens = std::nullopt;
};

// Tells the sink where the windows had to be shorter than what was given. Errors name the file.
Result<text::TokenWindows> ReadWindows(const model::ModelConfig& config,
                                       const text::Tokenizer& tokenizer,
                                       const WindowRequest& request, const Runtime& runtime);

}  // namespace awq::api
