# The house rules, and what can only be tested of the finished program.
find_package(Python3 COMPONENTS Interpreter)
if(NOT Python3_FOUND)
  message(STATUS "No python3: the command line and the house rules are not tested")
  return()
endif()

# awq_script_test(NAME LABEL command...); exit status 77 means skipped.
function(awq_script_test name label)
  add_test(NAME ${name} COMMAND ${ARGN})
  set_tests_properties(${name} PROPERTIES LABELS ${label} SKIP_RETURN_CODE 77
    ENVIRONMENT PYTHONDONTWRITEBYTECODE=1)
endfunction()

foreach(test usage cli chat verify interruption hub hub_hostile)
  awq_script_test(${test} cli ${Python3_EXECUTABLE} ${CMAKE_CURRENT_SOURCE_DIR}/${test}_test.py
    $<TARGET_FILE:awq>)
endforeach()
awq_script_test(device cli ${Python3_EXECUTABLE} ${CMAKE_CURRENT_SOURCE_DIR}/device_test.py
  $<TARGET_FILE:awq_emulated> $<TARGET_FILE:awq>)
if(AWQ_BUILD_BENCHMARKS)
  awq_script_test(bench cross ${Python3_EXECUTABLE} ${CMAKE_CURRENT_SOURCE_DIR}/bench_test.py
    $<TARGET_FILE:shape_bench> $<TARGET_FILE:shape_bench_emulated>
    $<TARGET_FILE:walk_bench> $<TARGET_FILE:walk_bench_emulated>)
  awq_script_test(gpu_check cross
    ${Python3_EXECUTABLE} ${CMAKE_CURRENT_SOURCE_DIR}/gpu_check_test.py ${PROJECT_BINARY_DIR})
endif()
if(AWQ_SANITIZE)
  return()  # the rest says the same of every build, or takes more memory in it
endif()

awq_script_test(memory memory ${Python3_EXECUTABLE} ${CMAKE_CURRENT_SOURCE_DIR}/memory_test.py
  $<TARGET_FILE:awq>)
set(tools ${PROJECT_SOURCE_DIR}/tools)
awq_script_test(checks_can_fail structure
  ${Python3_EXECUTABLE} ${CMAKE_CURRENT_SOURCE_DIR}/checks_test.py)
awq_script_test(check_layers structure ${Python3_EXECUTABLE} ${tools}/check_layers.py)
awq_script_test(check_sizes structure ${Python3_EXECUTABLE} ${tools}/check_sizes.py)
awq_script_test(check_format structure bash ${tools}/format --check)
awq_script_test(check_isa structure
  ${Python3_EXECUTABLE} ${tools}/check_isa.py $<TARGET_FILE:awq>)
if(AWQ_BUILD_BENCHMARKS AND CMAKE_GENERATOR STREQUAL "Ninja")
  awq_script_test(check_registered structure
    ${Python3_EXECUTABLE} ${tools}/check_registered.py ${PROJECT_BINARY_DIR}
    --ctest ${CMAKE_CTEST_COMMAND} --ninja ${CMAKE_MAKE_PROGRAM})
endif()
awq_script_test(install_consumer install
  ${CMAKE_COMMAND} -DSOURCE=${PROJECT_SOURCE_DIR} -DBUILD=${PROJECT_BINARY_DIR}
  -DWORK=${PROJECT_BINARY_DIR}/install_consumer -DGENERATOR=${CMAKE_GENERATOR}
  -DCXX=${CMAKE_CXX_COMPILER} -P ${CMAKE_CURRENT_SOURCE_DIR}/install_consumer/run_test.cmake)
