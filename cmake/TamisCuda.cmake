# The CUDA toolchain: Hopper first (sm_90a for wgmma), Ampere compiled too.
if(NOT CMAKE_CUDA_ARCHITECTURES)
  set(CMAKE_CUDA_ARCHITECTURES 80-real 90a-real)
endif()
# Kernels wait for each other only in code for 90 and later, and are launched overlapping on every
# such GPU: code that it compiled from an older architecture's PTX would not wait.
foreach(arch ${CMAKE_CUDA_ARCHITECTURES})
  if(arch MATCHES "^([0-9]+)(-virtual)?$" AND CMAKE_MATCH_1 LESS 90)
    message(FATAL_ERROR "CMAKE_CUDA_ARCHITECTURES: ${arch}; allowed is ${CMAKE_MATCH_1}-real")
  endif()
endforeach()
enable_language(CUDA)
# CMake 3.25.1 does not know that nvcc 12 and later have C++20.
if(NOT DEFINED CMAKE_CUDA20_STANDARD_COMPILE_OPTION)
  set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION "-std=c++20")
  set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION "-std=c++20")
endif()
set(CMAKE_CUDA_STANDARD 20)
set(CMAKE_CUDA_STANDARD_REQUIRED ON)
set(CMAKE_CUDA_EXTENSIONS OFF)
# CMake 3.25.1 sets a property of this target whether it is there or not; CUDA 13 has it no more.
if(CMAKE_VERSION VERSION_LESS 3.26 AND NOT TARGET CUDA::nvToolsExt)
  add_library(CUDA::nvToolsExt INTERFACE IMPORTED)
endif()
find_package(CUDAToolkit REQUIRED)

# Line numbers for profilers and compute-sanitizer cost nothing at run time. Warnings of both
# compilers are errors, but for -Wpedantic: nvcc's own output has line directives it rejects.
string(APPEND CMAKE_CUDA_FLAGS
  " -lineinfo -Werror=all-warnings -Xcompiler=-Wall,-Wextra")
