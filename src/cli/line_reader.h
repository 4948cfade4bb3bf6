// Lines from a terminal, which can be edited and called back, or from a pipe or file.
#pragma once

#include <memory>
#include <optional>
#include <string>

namespace awq::cli {

class LineReader {
 public:
  LineReader();
  ~LineReader();
  LineReader(const LineReader&) = delete;
  LineReader& operator=(const LineReader&) = delete;

  // Whether somebody sits there.
  bool interactive() const { return interactive_; }
  // Without its end; nothing at the end of the input. On a terminal, Ctrl-C gives up the line that
  // is being written: it is then empty.
  std::optional<std::string> Read(const char* prompt);

 private:
  struct Editor;
  bool interactive_;
  std::unique_ptr<Editor> editor_;
};

}  // namespace awq::cli
