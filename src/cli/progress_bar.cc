#include "cli/progress_bar.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <fstream>

#include "cli/command.h"

namespace awq::cli {
namespace {

constexpr std::size_t kBarWidth = 16;
constexpr auto kRedraw = std::chrono::milliseconds(100);

std::size_t TerminalColumns() {
  winsize size{};
  const bool known = ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1;
  return known ? size.ws_col : 80;
}

// What this process has resident now, in bytes; 0 where /proc cannot be read.
std::size_t ResidentBytes() {
  std::ifstream statm("/proc/self/statm");
  std::size_t pages = 0;
  std::size_t resident = 0;
  statm >> pages >> resident;
  return resident * static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
}

}  // namespace

ProgressBar::ProgressBar() : terminal_(isatty(STDERR_FILENO) != 0) {}

ProgressBar::~ProgressBar() { Clear(); }

void ProgressBar::Update(const ProgressEvent& event) {
  if (!event.note.empty()) {
    Clear();
    PrintError(Printable(event.note) + "\n");
  }
  if (!terminal_ || event.total == 0) return;
  const auto now = Clock::now();
  if (event.stage != stage_) {
    stage_ = event.stage;
    stage_start_ = now;
    stage_first_ = event.done;
    last_draw_ = {};
  }
  if (event.done >= event.total) return Clear();
  if (now - last_draw_ < kRedraw) return;
  last_draw_ = now;
  Draw(event);
}

void ProgressBar::Draw(const ProgressEvent& event) {
  const double share = static_cast<double>(event.done) / static_cast<double>(event.total);
  const auto filled = static_cast<std::size_t>(share * kBarWidth);
  const double elapsed = std::chrono::duration<double>(Clock::now() - stage_start_).count();
  const auto made = static_cast<double>(event.done - std::min(event.done, stage_first_));
  const std::string left =
      made > 0 && elapsed > 1
          ? Duration(elapsed / made * static_cast<double>(event.total - event.done)) + " left"
          : std::string("estimating");
  const std::string line =
      fmt::format("{} [{}{}] {:.0f} %  {}  {}", event.stage, std::string(filled, '#'),
                  std::string(kBarWidth - filled, '.'), share * 100, left, Bytes(ResidentBytes()));
  // A line that wraps could not be taken away again.
  PrintError("\r\033[K" + line.substr(0, TerminalColumns() - 1));
  drawn_ = true;
}

void ProgressBar::Clear() {
  if (!drawn_) return;
  PrintError("\r\033[K");
  drawn_ = false;
}

}  // namespace awq::cli
