# Compiles each source once per instruction set, with AWQ_ISA defined to its name, for a table that
# picks one at start. Such a file includes <cstddef>, <cstdint> and plain-pointer headers only: an
# inline function of a shared header compiled for AVX2 could be the copy that the linker keeps.
function(awq_isa_objects target)
  cmake_parse_arguments(ISA "DOTS" "" "" ${ARGN})
  set(flags_baseline "")
  set(isas baseline)
  if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
    list(APPEND isas avx2 avx512)
    set(flags_avx2 -mavx2 -mfma -mf16c)
    set(flags_avx512 -mavx2 -mfma -mf16c -mavx512f -mavx512bw -mavx512dq -mavx512vl
      -mprefer-vector-width=512)
    if(ISA_DOTS)
      list(APPEND isas avx512vnni avx512bf16)
      set(flags_avx512vnni ${flags_avx512} -mavx512vnni)
      set(flags_avx512bf16 ${flags_avx512vnni} -mavx512bf16)
    endif()
  elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64|arm64" AND ISA_DOTS)
    # Every such CPU has NEON, and the compiler uses it in the baseline, too.
    list(APPEND isas neon dotprod)
    set(flags_neon -DAWQ_NEON)
    set(flags_dotprod -DAWQ_NEON -march=armv8.2-a+dotprod)
  endif()
  foreach(isa ${isas})
    add_library(${target}_${isa} OBJECT ${ISA_UNPARSED_ARGUMENTS})
    target_link_libraries(${target}_${isa} PRIVATE awq_options)
    target_include_directories(${target}_${isa} PRIVATE ${PROJECT_SOURCE_DIR}/src)
    target_compile_definitions(${target}_${isa} PRIVATE AWQ_ISA=${isa})
    target_compile_options(${target}_${isa} PRIVATE -O3 ${flags_${isa}})
    target_sources(${target} PRIVATE $<TARGET_OBJECTS:${target}_${isa}>)
  endforeach()
endfunction()

# awq_module(NAME DEPS module... LIBS library...)
#
# Makes the folder that calls it one library, awq_NAME, and everything beside the sources with it:
#   *_test.cc   all in one GoogleTest program, NAME_test
#   *_bench.cc  one Google Benchmark program each
#   *_fuzz.cc   one libFuzzer program each; without libFuzzer, a test that replays its corpus
#   main.cc     left to the folder itself, as are folders below it that have a CMakeLists.txt
#   *_isa.cc    compiled once per instruction set (see awq_isa_objects); with DOTS also for those that
#               matter to dot products of narrow numbers: avx512vnni, avx512bf16; neon, dotprod
# GPU: tests named OnDevice.* have the label gpu; without a device they say that they are skipped.
# so that a file on disk cannot be left out. DEPS is the house rule of who may include whom;
# tools/check_layers.py reads it from the same line.
function(awq_module name)
  cmake_parse_arguments(ARG "DOTS;GPU" "" "DEPS;LIBS" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS *.cc)
  file(GLOB others CONFIGURE_DEPENDS */CMakeLists.txt)
  foreach(other ${others})
    get_filename_component(other ${other} DIRECTORY)
    list(FILTER sources EXCLUDE REGEX "^${other}/")
  endforeach()
  set(tests ${sources})
  set(benches ${sources})
  set(fuzzers ${sources})
  list(FILTER tests INCLUDE REGEX "_test\\.cc$")
  list(FILTER benches INCLUDE REGEX "_bench\\.cc$")
  list(FILTER fuzzers INCLUDE REGEX "_fuzz\\.cc$")
  set(isa_sources ${sources})
  list(FILTER isa_sources INCLUDE REGEX "_isa\\.cc$")
  list(FILTER sources EXCLUDE REGEX "(_(test|bench|fuzz|isa)|/main)\\.cc$")

  if(sources)
    set(scope PUBLIC)
    add_library(awq_${name} STATIC ${sources})
    target_link_libraries(awq_${name} PRIVATE $<BUILD_INTERFACE:awq_options>)
    if(isa_sources)
      if(ARG_DOTS)
        list(APPEND isa_sources DOTS)
      endif()
      awq_isa_objects(awq_${name} ${isa_sources})
    endif()
  else()
    set(scope INTERFACE)
    add_library(awq_${name} INTERFACE)
  endif()
  add_library(awq::${name} ALIAS awq_${name})
  set_target_properties(awq_${name} PROPERTIES EXPORT_NAME ${name})
  target_compile_features(awq_${name} ${scope} cxx_std_20)
  target_include_directories(awq_${name} ${scope}
    $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/src>
    $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>
    $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  list(TRANSFORM ARG_DEPS PREPEND awq_)
  target_link_libraries(awq_${name} ${scope} ${ARG_DEPS} ${ARG_LIBS})
  set_property(GLOBAL APPEND PROPERTY AWQ_MODULES awq_${name})

  if(AWQ_BUILD_TESTS AND tests)
    add_executable(${name}_test ${tests})
    target_link_libraries(${name}_test PRIVATE
      awq_options awq_${name} awq_testing GTest::gtest GTest::gtest_main)
    set(filter "*")
    if(ARG_GPU)
      set(filter "-OnDevice.*")
      gtest_discover_tests(${name}_test TEST_FILTER "OnDevice.*"
        PROPERTIES LABELS gpu DISCOVERY_TIMEOUT 60)
    endif()
    gtest_discover_tests(${name}_test TEST_FILTER "${filter}"
      PROPERTIES LABELS ${name} DISCOVERY_TIMEOUT 60)
  endif()
  if(AWQ_BUILD_BENCHMARKS)
    foreach(bench ${benches})
      get_filename_component(program ${bench} NAME_WE)
      add_executable(${program} ${bench})
      target_link_libraries(${program} PRIVATE
        awq_options awq_${name} awq_testing benchmark::benchmark)
    endforeach()
  endif()
  if(AWQ_BUILD_FUZZERS)
    foreach(fuzzer ${fuzzers})
      get_filename_component(program ${fuzzer} NAME_WE)
      add_executable(${program} ${fuzzer})
      target_compile_options(${program} PRIVATE -fsanitize=fuzzer)
      target_link_options(${program} PRIVATE -fsanitize=fuzzer)
      target_link_libraries(${program} PRIVATE awq_options awq_${name})
    endforeach()
  elseif(AWQ_BUILD_TESTS)
    foreach(fuzzer ${fuzzers})
      get_filename_component(program ${fuzzer} NAME_WE)
      add_executable(${program}_replay ${fuzzer} ${PROJECT_SOURCE_DIR}/fuzz/replay.cc)
      target_link_libraries(${program}_replay PRIVATE awq_options awq_${name})
      add_test(NAME ${program}_replay
        COMMAND ${program}_replay ${PROJECT_SOURCE_DIR}/fuzz/corpus/${program})
      set_tests_properties(${program}_replay PROPERTIES LABELS "${name};fuzz")
    endforeach()
  endif()
endfunction()
