#include <malloc.h>

#include "cli/app.h"

int main(int argc, char** argv) {
#if defined(M_MMAP_THRESHOLD)
  // Large buffers come and go with every block. Left to itself, glibc soon keeps them in its heap,
  // where they leave holes; mapped one by one, they return to the system when they are freed.
  mallopt(M_MMAP_THRESHOLD, 1 << 20);
#endif
  return awq::cli::RunApp(argc, argv);
}
