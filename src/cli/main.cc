#include <fcntl.h>
#include <unistd.h>

#include "cli/app.h"

int main(int argc, char** argv) {
  // A standard stream that the caller closed must not become a file that we open.
  for (int standard = 0; standard <= 2; ++standard) {
    if (fcntl(standard, F_GETFD) == -1) {
      [[maybe_unused]] const int opened = open("/dev/null", O_RDWR);
    }
  }
  return awq::cli::RunApp(argc, argv);
}
