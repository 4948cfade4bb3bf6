#include <fcntl.h>
#include <unistd.h>

#include <csignal>

#include "cli/app.h"

namespace {

// Of a mapped file that has become shorter the kernel can only say so by a signal. What is written
// is never mapped, so nothing is lost but this run.
void EndOnLostFile(int) {
  constexpr char kText[] =
      "\nawq: a file of the model became shorter while it was read: something has changed it. Copy "
      "or "
      "fetch it anew, and start again\n";
  [[maybe_unused]] const auto written = write(2, kText, sizeof(kText) - 1);
  _exit(1);
}

}  // namespace

int main(int argc, char** argv) {
  // A standard stream that the caller closed must not become a file that we open.
  for (int standard = 0; standard <= 2; ++standard) {
    if (fcntl(standard, F_GETFD) == -1) {
      [[maybe_unused]] const int opened = open("/dev/null", O_RDWR);
    }
  }
  struct sigaction lost {};
  lost.sa_handler = EndOnLostFile;
  sigaction(SIGBUS, &lost, nullptr);
  return awq::cli::RunApp(argc, argv);
}
