#include "cli/line_reader.h"

#include <unistd.h>

#include <clocale>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#ifdef AWQ_LIBEDIT
#include <histedit.h>
#endif

namespace awq::cli {

#ifdef AWQ_LIBEDIT

struct LineReader::Editor {
  Editor() : line(el_init("awq", stdin, stdout, stderr)), history(history_init()) {
    // Characters may have several bytes, whatever is said of the language, or where nothing is.
    std::setlocale(LC_CTYPE, "");
    if (MB_CUR_MAX == 1) std::setlocale(LC_CTYPE, "C.UTF-8");
    HistEvent event;
    ::history(history, &event, H_SETSIZE, 1000);
    el_set(line, EL_CLIENTDATA, this);
    el_set(line, EL_PROMPT, &Prompt);
    el_set(line, EL_EDITOR, "emacs");
    el_set(line, EL_HIST, &::history, history);
    // What has a name or a text of its own (EL_ADDFN, a macro) el_end would leak.
    el_set(line, EL_BIND, "^C", "em-kill-line", nullptr);
    el_set(line, EL_BIND, "^R", "em-inc-search-prev", nullptr);
    // A Ctrl-D that came during an answer is read as this.
    el_set(line, EL_BIND, "^@", "ed-unassigned", nullptr);
    // Ctrl-C is a key while a line is read, and no signal.
    el_set(line, EL_SETTY, "-d", "-isig", nullptr);
  }
  ~Editor() {
    history_end(history);
    el_end(line);
  }
  Editor(const Editor&) = delete;
  Editor& operator=(const Editor&) = delete;

  std::optional<std::string> Read(const char* with_prompt) {
    prompt = with_prompt;
    int count = 0;
    // Ctrl-C that comes a moment too late for the answer ends nothing.
    struct sigaction ignore {};
    struct sigaction earlier {};
    ignore.sa_handler = SIG_IGN;
    sigaction(SIGINT, &ignore, &earlier);
    el_set(line, EL_PREP_TERM, 1);  // before the prompt is there: what is typed then is for us
    const char* read = el_gets(line, &count);
    sigaction(SIGINT, &earlier, nullptr);
    if (read == nullptr || count <= 0) return std::nullopt;
    std::string text(read, static_cast<std::size_t>(count));
    while (text.ends_with('\n') || text.ends_with('\r')) text.pop_back();
    HistEvent event;
    if (!text.empty()) ::history(history, &event, H_ENTER, text.c_str());
    return text;
  }

  static Editor& Of(EditLine* of) {
    void* self = nullptr;
    el_get(of, EL_CLIENTDATA, &self);
    return *static_cast<Editor*>(self);
  }
  static char* Prompt(EditLine* of) { return const_cast<char*>(Of(of).prompt); }

  EditLine* line;
  History* history;
  const char* prompt = "";
};

#else

// Without libedit the terminal's own line editing has to do.
struct LineReader::Editor {
  std::optional<std::string> Read(const char* prompt) {
    std::fputs(prompt, stdout);
    std::fflush(stdout);
    std::string line;
    if (!std::getline(std::cin, line)) return std::nullopt;
    return line;
  }
};

#endif

LineReader::LineReader()
    : interactive_(isatty(STDIN_FILENO) == 1 && isatty(STDOUT_FILENO) == 1),
      editor_(interactive_ ? std::make_unique<Editor>() : nullptr) {}

LineReader::~LineReader() = default;

std::optional<std::string> LineReader::Read(const char* prompt) {
  if (editor_ != nullptr) return editor_->Read(prompt);
  std::string line;
  if (!std::getline(std::cin, line)) return std::nullopt;
  return line;
}

}  // namespace awq::cli
