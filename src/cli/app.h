// The whole command line, without a main of its own so that tests can call it.
#pragma once

namespace awq::cli {

// Exit status: 0 done, 1 failed (the reason is on standard error), 2 wrong usage.
int RunApp(int argc, const char* const* argv);

}  // namespace awq::cli
