# Finds CUDA's compiler, and says in AWQ_CUDA_BUILT whether src/cuda/*.cu are compiled.
#
# AWQ_CUDA_ARCHITECTURES: a list of 80, 86, 89, 90a, 100, 120 as far as the toolkit knows them: machine code for
# each, and PTX of the last one that is no "a" for GPUs that are yet to come.
include(${CMAKE_CURRENT_LIST_DIR}/AwqCudaArchitectures.cmake)
set(AWQ_CUDA_BUILT OFF)
string(TOUPPER "${AWQ_CUDA}" wanted)
if(NOT wanted MATCHES "^(AUTO|ON|OFF|TRUE|FALSE|1|0)$")
  message(FATAL_ERROR "AWQ_CUDA is ${AWQ_CUDA}: it must be AUTO, ON or OFF")
endif()
# Sanitizers see the kernels' emulated form, not the device's.
if(wanted STREQUAL "AUTO" AND (AWQ_SANITIZE OR CMAKE_CROSSCOMPILING))
  return()
elseif(NOT wanted STREQUAL "AUTO" AND NOT wanted)
  return()
endif()

find_program(AWQ_NVCC nvcc HINTS ENV CUDACXX PATHS /usr/local/cuda/bin)
if(NOT AWQ_NVCC)
  if(wanted STREQUAL "AUTO")
    message(STATUS "No nvcc: built without CUDA")
    return()
  endif()
  message(FATAL_ERROR "AWQ_CUDA is ON, but nvcc is neither in PATH nor in /usr/local/cuda/bin")
endif()
if(NOT CMAKE_CUDA_COMPILER)
  set(CMAKE_CUDA_COMPILER ${AWQ_NVCC})
endif()

# Debian 12's nvcc is too old for C++20, and an nvcc may not take this host compiler: nobody who has
# not asked for CUDA should fail for that.
set(probe ${CMAKE_CURRENT_BINARY_DIR}/CMakeFiles/awq_cuda_probe.cu)
file(WRITE ${probe} "template <class T> concept Any = true;\n__global__ void Probe() {}\n")
execute_process(
  COMMAND ${CMAKE_CUDA_COMPILER} -std=c++20 -ccbin ${CMAKE_CXX_COMPILER} -c ${probe} -o ${probe}.o
  RESULT_VARIABLE failed OUTPUT_QUIET ERROR_VARIABLE said)
if(failed)
  set(said "${CMAKE_CUDA_COMPILER} compiles no C++20 with ${CMAKE_CXX_COMPILER}: ${said}")
  if(NOT wanted STREQUAL "AUTO")
    message(FATAL_ERROR "${said}")
  endif()
  message(STATUS "${said}")
  message(STATUS "Built without CUDA")
  return()
endif()
if(CMAKE_CXX_COMPILER_LAUNCHER AND NOT DEFINED CMAKE_CUDA_COMPILER_LAUNCHER)
  set(CMAKE_CUDA_COMPILER_LAUNCHER ${CMAKE_CXX_COMPILER_LAUNCHER})
endif()
set(CMAKE_CUDA_ARCHITECTURES OFF)  # CMake 3.22 does not know all that nvcc does
enable_language(CUDA)
if(CMAKE_CUDA_COMPILER_VERSION VERSION_LESS 12.0)
  message(FATAL_ERROR "nvcc ${CMAKE_CUDA_COMPILER_VERSION} is too old: 12.0 or newer is needed "
    "(C++20); -DAWQ_CUDA=OFF builds without")
endif()
find_package(CUDAToolkit REQUIRED)
set(AWQ_FIND_CUDA "find_dependency(CUDAToolkit)")  # for awqConfig.cmake

execute_process(COMMAND ${CMAKE_CUDA_COMPILER} --list-gpu-arch OUTPUT_VARIABLE known)
set(all "")
foreach(architecture 80 86 89 90a 100 120)
  string(REGEX REPLACE "a$" "" plain ${architecture})
  if(known MATCHES "compute_${plain}\n")
    list(APPEND all ${architecture})
  endif()
endforeach()
set(AWQ_CUDA_ARCHITECTURES "${all}" CACHE STRING "What the kernels are compiled for")
awq_cuda_architectures("${AWQ_CUDA_ARCHITECTURES}" AWQ_CUDA_ARCHITECTURES)
set(AWQ_CUDA_ARCHITECTURES "${AWQ_CUDA_ARCHITECTURES}" CACHE STRING "What the kernels are compiled for" FORCE)
set(AWQ_CUDA_FLAGS "")
set(newest "")
foreach(architecture ${AWQ_CUDA_ARCHITECTURES})
  string(REGEX REPLACE "a$" "" plain ${architecture})
  if(NOT known MATCHES "compute_${plain}\n")
    message(FATAL_ERROR "AWQ_CUDA_ARCHITECTURES has ${architecture}, which nvcc ${CMAKE_CUDA_COMPILER_VERSION} does not know; "
      "a newer toolkit may, or name an older GPU without \"a\": drivers compile its PTX for newer ones")
  endif()
  list(APPEND AWQ_CUDA_FLAGS
    "SHELL:-gencode arch=compute_${architecture},code=sm_${architecture}")
  if(NOT architecture MATCHES "a$")
    set(newest ${architecture})
  endif()
endforeach()
if(newest)
  list(APPEND AWQ_CUDA_FLAGS "SHELL:-gencode arch=compute_${newest},code=compute_${newest}")
endif()
set(AWQ_CUDA_BUILT ON)
string(REPLACE ";" " " spoken "${AWQ_CUDA_ARCHITECTURES}")
message(STATUS "CUDA ${CMAKE_CUDA_COMPILER_VERSION}, for sm_ ${spoken}")

# awq_cuda_sources(TARGET FILE...): what is compiled by nvcc, and the runtime, linked in so that the program starts where
# there is no driver. nvcc's own fused multiply-adds stay: no result here must equal a CPU's bit for bit.
function(awq_cuda_sources target)
  target_sources(${target} PRIVATE ${ARGN})
  target_compile_definitions(${target} PRIVATE AWQ_CUDA_BUILT)
  if("90a" IN_LIST AWQ_CUDA_ARCHITECTURES)
    target_compile_definitions(${target} PRIVATE AWQ_CUDA_SM90A)
  endif()
  target_compile_options(${target} PRIVATE "$<$<COMPILE_LANGUAGE:CUDA>:${AWQ_CUDA_FLAGS}>"
    "$<$<COMPILE_LANGUAGE:CUDA>:-std=c++20;-Werror=all-warnings>")
  set_target_properties(${target} PROPERTIES CUDA_RUNTIME_LIBRARY Static)
  target_link_libraries(${target} PUBLIC CUDA::cudart_static)
endfunction()
