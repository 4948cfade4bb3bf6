#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>

#include "cli/command.h"
#include "cli/line_reader.h"

namespace awq::cli {
namespace {

struct Flags {
  explicit Flags(CLI::App& command) : runtime(command, {.device = true}) {}
  RuntimeFlags runtime;
  ChatOptions options;
  bool quiet = false;
};

volatile std::sig_atomic_t stop_answer = 0;

// As long as it lives, SIGINT ends an answer; a second one ends the program, as ever.
class AnswerInterrupt {
 public:
  AnswerInterrupt() {
    stop_answer = 0;
    struct sigaction ours {};
    ours.sa_handler = [](int) { stop_answer = 1; };
    ours.sa_flags = static_cast<int>(SA_RESETHAND) | SA_RESTART;
    sigaction(SIGINT, &ours, &earlier_);
  }
  ~AnswerInterrupt() { sigaction(SIGINT, &earlier_, nullptr); }
  AnswerInterrupt(const AnswerInterrupt&) = delete;
  AnswerInterrupt& operator=(const AnswerInterrupt&) = delete;

 private:
  struct sigaction earlier_ {};
};

class Conversation {
 public:
  Conversation(Chat& chat, bool quiet) : chat_(chat), quiet_(quiet) {}

  // The exit status: 1 where a line of what is no terminal could not be answered.
  int Run() {
    if (reader_.interactive()) Say("/help lists the commands, Ctrl-C stops an answer, /exit ends");
    while (!ended_) {
      const auto line = ReadMessage();
      if (!line) {
        if (reader_.interactive()) fmt::print("\n");
        break;
      }
      if (line->starts_with('/') && !line->starts_with("//")) {
        Obey(*line);
      } else if (!line->empty()) {
        Ask(line->starts_with("//") ? line->substr(1) : *line);
      }
    }
    return failed_ && !reader_.interactive() ? 1 : 0;
  }

 private:
  static void Say(const std::string& text) { PrintError(text + "\n"); }
  void Refuse(const Error& error) {
    Fail(error);
    failed_ = true;
  }

  // A line; with a backslash at its end, the next one, too.
  std::optional<std::string> ReadMessage() {
    auto message = reader_.Read("> ");
    while (message && message->ends_with('\\')) {
      const auto more = reader_.Read(". ");
      message->back() = '\n';
      if (!more) break;
      *message += *more;
    }
    return message;
  }

  void Ask(const std::string& text) {
    const AnswerInterrupt interrupt;
    const auto answer = chat_.Say(text, [](std::string_view part) {
      return std::fwrite(part.data(), 1, part.size(), stdout) == part.size() &&
             std::fflush(stdout) == 0 && stop_answer == 0;
    });
    if (!answer) {
      Refuse(answer.error());
      const bool has_history = chat_.messages().size() > 1;
      if (has_history && answer.error().code == ErrorCode::kInvalidArgument) {
        Say("[/reset begins anew]");
      }
      return;
    }
    fmt::print("\n");
    std::fflush(stdout);
    const std::size_t forgotten = last_ ? last_->forgotten_messages : 0;
    last_ = *answer;
    if (quiet_) return;
    if (answer->finish_reason == "stopped") Say("[stopped]");
    if (answer->finish_reason == "length") Say("[-n ends the answer here]");
    if (answer->finish_reason == "context") {
      Say(fmt::format(
          "[the context of {} tokens is full; /reset begins anew, --context-shift goes on]",
          chat_.context_tokens()));
    }
    if (answer->forgotten_messages > forgotten) {
      Say(fmt::format("[the context has no more room for the first {}]",
                      Counted(answer->forgotten_messages, "message")));
    }
  }

  void Obey(const std::string& line) {
    const std::size_t space = std::min(line.find(' '), line.size());
    const std::string name = line.substr(0, space);
    const std::string file = space < line.size() ? line.substr(space + 1) : "";
    static constexpr std::pair<const char*, void (Conversation::*)(const std::string&)>
        kCommands[] = {{"/help", &Conversation::Help},   {"/reset", &Conversation::Reset},
                       {"/save", &Conversation::Save},   {"/load", &Conversation::Load},
                       {"/stats", &Conversation::Stats}, {"/exit", &Conversation::Exit}};
    const bool wants_file = name == "/save" || name == "/load";
    for (const auto& [each, command] : kCommands) {
      if (name != each) continue;
      if (wants_file == !file.empty()) return (this->*command)(file);
      return Refuse(
          {ErrorCode::kInvalidArgument,
           fmt::format("{} takes {}", name, wants_file ? "a file" : "nothing behind it")});
    }
    Refuse(
        {ErrorCode::kInvalidArgument,
         fmt::format("there is no command {}; /help lists them, and a message that begins with a / "
                     "is written with two",
                     Printable(name))});
  }

  void Help(const std::string&) {
    Say("/reset       forget the conversation, but for --system\n"
        "/save FILE   write the conversation, as JSON\n"
        "/load FILE   go on with one that was saved\n"
        "/stats       tokens and speed of the last answer\n"
        "/exit        end; Ctrl-D, too\n"
        "A line that ends in \\ goes on in the next one.");
  }

  void Reset(const std::string&) {
    chat_.Reset();
    last_.reset();
  }

  void Save(const std::string& file) {
    std::ofstream out(file, std::ios::binary);
    out << chat_.ToJson() << '\n';
    out.close();
    if (!out) {
      return Refuse(
          {ErrorCode::kIo, fmt::format("{}: cannot write it: {}", file, std::strerror(errno))});
    }
    Say(fmt::format("{} messages saved", chat_.messages().size()));
  }

  void Load(const std::string& file) {
    std::ifstream in(file, std::ios::binary);
    std::string json(kMostFileBytes + 1, '\0');
    in.read(json.data(), static_cast<std::streamsize>(json.size()));
    json.resize(static_cast<std::size_t>(std::max<std::streamsize>(in.gcount(), 0)));
    if (json.empty() || json.size() > kMostFileBytes) {
      return Refuse(
          {ErrorCode::kIo, fmt::format("{}: cannot read it, or it is empty or larger than {}", file,
                                       Bytes(kMostFileBytes))});
    }
    if (const auto loaded = chat_.FromJson(json, file); !loaded) return Refuse(loaded.error());
    last_.reset();
    Say(fmt::format("{} messages loaded", chat_.messages().size()));
  }

  void Stats(const std::string&) {
    Say(fmt::format("{} messages; a context of {} tokens", chat_.messages().size(),
                    chat_.context_tokens()));
    if (!last_) return;
    const std::size_t run = last_->prompt_tokens - last_->reused_tokens;
    Say(fmt::format(
        "the last answer: {} prompt tokens, {} of them kept from before, {:.1f} tokens/s; "
        "{} new tokens, {:.1f} tokens/s",
        last_->prompt_tokens, last_->reused_tokens, PerSecond(run, last_->prefill_seconds),
        last_->new_tokens, PerSecond(last_->new_tokens, last_->decode_seconds)));
  }

  void Exit(const std::string&) { ended_ = true; }

  static constexpr std::size_t kMostFileBytes = std::size_t{64} << 20;

  Chat& chat_;
  bool quiet_;
  LineReader reader_;
  std::optional<ChatAnswer> last_;
  bool ended_ = false;
  bool failed_ = false;
};

int Run(Flags& flags) {
  NoteIdleSampling(flags.options.sampling);
  ProgressBar progress;
  auto chat = [&] {
    const InterruptNotice notice(Interrupted::kIsLost);
    return Chat::Open(flags.options, flags.runtime.Make(progress));
  }();
  progress.Clear();
  if (!chat) return Fail(chat.error());
  return Conversation(**chat, flags.quiet).Run();
}

}  // namespace

Action AddChat(CLI::App& app) {
  CLI::App& command =
      *app.add_subcommand("chat", "Talk with a model, in the form of its chat template");
  auto flags = std::make_shared<Flags>(command);
  ChatOptions& options = flags->options;
  AddModel(command, options.model, kAnyModel);
  command.add_option("--system", options.system, "What the model is told before everything else");
  AddMaxNewTokens(command, options.max_new_tokens, "New tokens of an answer at most");
  command
      .add_option("--context", options.context_tokens,
                  "Tokens of the whole conversation at most; cut to what the model takes")
      ->check(WholeNumber(2, 1 << 26))
      ->capture_default_str();
  command.add_flag("--context-shift", options.context_shift,
                   "Where --context is used up, go on without the oldest messages");
  AddSampling(command, options.sampling);
  AddArithmetic(command, options.arithmetic);
  command.add_flag("-q,--quiet", flags->quiet, "Not why an answer ended");
  return [flags] { return Run(*flags); };
}

}  // namespace awq::cli
