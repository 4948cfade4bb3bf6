# One INTERFACE target carries the language level, the warnings and the sanitizers.
add_library(awq_options INTERFACE)
target_compile_features(awq_options INTERFACE cxx_std_20)
# Contraction would make results depend on the instruction set; errno and traps would keep loops
# over floats from being vectorised.
set(awq_cxx_flags
  -Wall -Wextra -Wshadow -Wconversion -Wsign-conversion -Wnon-virtual-dtor -Wold-style-cast
  -Woverloaded-virtual -ffp-contract=off -fno-math-errno -fno-trapping-math
  # GCC 11 to 13 warn of the string inside a std::variant that a Result holds; real cases are left to
  # valgrind.
  $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>
  $<$<BOOL:${AWQ_WARNINGS_AS_ERRORS}>:-Werror>)
target_compile_options(awq_options INTERFACE "$<$<COMPILE_LANGUAGE:CXX>:${awq_cxx_flags}>")
if(AWQ_SANITIZE)
  target_compile_options(awq_options INTERFACE "$<$<COMPILE_LANGUAGE:CXX>:\
-fsanitize=${AWQ_SANITIZE};-fno-sanitize-recover=all;-fno-omit-frame-pointer>")
  target_link_options(awq_options INTERFACE -fsanitize=${AWQ_SANITIZE})
endif()

find_package(Threads REQUIRED)
find_package(fmt REQUIRED)
find_package(nlohmann_json 3.10 REQUIRED)
find_package(dnnl REQUIRED)
find_package(ZLIB REQUIRED)
find_package(PkgConfig REQUIRED)
pkg_check_modules(PCRE2 REQUIRED IMPORTED_TARGET libpcre2-8)
pkg_check_modules(UTF8PROC REQUIRED IMPORTED_TARGET libutf8proc)
if(AWQ_BUILD_TESTS)
  find_package(GTest REQUIRED)
  include(GoogleTest)
endif()
if(AWQ_BUILD_BENCHMARKS)
  find_package(benchmark REQUIRED)
endif()
