# One function per kind of target, so that flags are the same everywhere.

set(TAMIS_WARNINGS -Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor -Wold-style-cast
    -Woverloaded-virtual -Wimplicit-fallthrough -Werror)

# GCC takes a type of an unnamed namespace within a class for one of a header when the source is
# included into another, as here.
set(TAMIS_UNITY_WARNINGS)
if(TAMIS_UNITY AND CMAKE_CXX_COMPILER_ID STREQUAL GNU)
  set(TAMIS_UNITY_WARNINGS -Wno-subobject-linkage)
endif()

# GCC warns of bounds that are kept where headers are precompiled (its bug 105651 in version 12) and
# where sanitizers instrument (13); such warnings are shown there but are no errors.
set(TAMIS_UNSURE_WARNINGS)
if(CMAKE_CXX_COMPILER_ID STREQUAL GNU)
  set(TAMIS_UNSURE_WARNINGS -Wno-error=array-bounds -Wno-error=restrict -Wno-error=stringop-overflow)
endif()

# Flags of every target of ours. `-ffp-contract=off`: a fused multiply-add where the compiler likes
# one would let two loops that compute the same thing differ in their last bit.
function(tamis_options target)
  target_compile_options(${target} PRIVATE
    $<$<COMPILE_LANGUAGE:CXX>:${TAMIS_WARNINGS} ${TAMIS_UNITY_WARNINGS} -ffp-contract=off>)
  set_target_properties(${target} PROPERTIES UNITY_BUILD ${TAMIS_UNITY})
  target_include_directories(${target} PUBLIC ${PROJECT_SOURCE_DIR})
  if(TAMIS_SANITIZE)
    target_compile_options(${target} PRIVATE
      $<$<COMPILE_LANGUAGE:CXX>:-fsanitize=${TAMIS_SANITIZE} -fno-omit-frame-pointer
      -fno-sanitize-recover=all ${TAMIS_UNSURE_WARNINGS}>)
    target_link_options(${target} PUBLIC -fsanitize=${TAMIS_SANITIZE})
  endif()
endfunction()

# tamis_library(NAME SOURCES a.cc ... LIBS ...): one layer.
function(tamis_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LIBS" ${ARGN})
  add_library(${name} STATIC ${ARG_SOURCES})
  target_link_libraries(${name} PUBLIC ${ARG_LIBS})
  tamis_options(${name})
endfunction()

# GoogleTest's headers, parsed once for all tests: a second less for every file of theirs.
function(tamis_gtest_headers)
  # A program, because its flags (-fPIE) have to be those of the tests.
  file(CONFIGURE OUTPUT gtest_headers.cc CONTENT "int main() {}\n")
  add_executable(tamis_gtest_headers ${CMAKE_CURRENT_BINARY_DIR}/gtest_headers.cc)
  target_link_libraries(tamis_gtest_headers PRIVATE GTest::gmock GTest::gtest)
  tamis_options(tamis_gtest_headers)
  target_compile_options(tamis_gtest_headers PRIVATE
    -Wno-old-style-cast ${TAMIS_UNSURE_WARNINGS})
  target_precompile_headers(tamis_gtest_headers PRIVATE <gmock/gmock.h> <gtest/gtest.h>)
endfunction()

# tamis_test(NAME SOURCES a_test.cc ... LIBS ... [LABEL unit|mpi|gpu|e2e] [RANKS n...] [TIMEOUT s])
# Always a timeout: a failed assertion on one rank strands the others; tests that may take long start
# first. With RANKS the sources get the MPI main of tests/support and run under mpirun. The target
# tamis_tests_LABEL builds all tests of that label.
function(tamis_test name)
  cmake_parse_arguments(ARG "" "LABEL;TIMEOUT" "SOURCES;LIBS;RANKS" ${ARGN})
  if(NOT ARG_LABEL)
    set(ARG_LABEL unit)
  endif()
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 120)
  endif()
  if(NOT TARGET ${name})
    add_executable(${name} ${ARG_SOURCES})
    tamis_options(${name})
    # gtest's macros and generated code do not hold to these two.
    target_compile_options(${name} PRIVATE
      $<$<COMPILE_LANGUAGE:CXX>:-Wno-old-style-cast ${TAMIS_UNSURE_WARNINGS}>)
    if(ARG_RANKS)
      target_link_libraries(${name} PRIVATE ${ARG_LIBS} tamis_mpi_main GTest::gmock GTest::gtest)
    else()
      target_link_libraries(${name} PRIVATE ${ARG_LIBS} GTest::gmock GTest::gtest_main)
    endif()
    target_precompile_headers(${name} REUSE_FROM tamis_gtest_headers)
    if(NOT TARGET tamis_tests_${ARG_LABEL})
      add_custom_target(tamis_tests_${ARG_LABEL})
    endif()
    add_dependencies(tamis_tests_${ARG_LABEL} ${name})
  endif()
  if(ARG_RANKS)
    foreach(ranks ${ARG_RANKS})
      add_test(NAME ${name}_${ranks}
        COMMAND ${MPIEXEC_EXECUTABLE} --allow-run-as-root --oversubscribe --bind-to none
                --mca mpi_yield_when_idle 1 -n ${ranks} $<TARGET_FILE:${name}>)
      set_tests_properties(${name}_${ranks} PROPERTIES
        LABELS ${ARG_LABEL} TIMEOUT ${ARG_TIMEOUT} COST ${ARG_TIMEOUT} PROCESSORS 2)
    endforeach()
  else()
    add_test(NAME ${name} COMMAND ${name})
    set_tests_properties(${name} PROPERTIES
      LABELS ${ARG_LABEL} TIMEOUT ${ARG_TIMEOUT} COST ${ARG_TIMEOUT})
  endif()
endfunction()
