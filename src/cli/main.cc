#include "cli/app.h"

int main(int argc, char** argv) { return awq::cli::RunApp(argc, argv); }
