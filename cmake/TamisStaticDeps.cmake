# TAMIS_STATIC_DEPS: gRPC, protobuf, abseil, PCRE2, yaml-cpp, spdlog and their dependencies are linked
# from the distribution's archives, so that the program runs where those packages are not installed.
# MPI, BLAS, CUDA and the C++ library stay shared: they belong to the machine. Without the option
# these functions change nothing.

# Imported targets of this directory that match `pattern` get the archive beside their shared
# library: the distribution's package files name only the latter.
function(tamis_use_archives pattern)
  if(NOT TAMIS_STATIC_DEPS)
    return()
  endif()
  get_property(targets DIRECTORY PROPERTY IMPORTED_TARGETS)
  list(FILTER targets INCLUDE REGEX "${pattern}")
  foreach(target ${targets})
    foreach(property IMPORTED_LOCATION IMPORTED_LOCATION_NONE IMPORTED_LOCATION_RELEASE)
      get_target_property(location ${target} ${property})
      if(NOT location)
        continue()
      endif()
      string(REGEX REPLACE "\\.so[.0-9]*$" ".a" archive "${location}")
      if(NOT EXISTS "${archive}")
        message(FATAL_ERROR "TAMIS_STATIC_DEPS: ${archive} is missing")
      endif()
      set_target_properties(${target} PROPERTIES ${property} "${archive}")
    endforeach()
  endforeach()
endfunction()

# An interface target of the archives lib<name>.a, in one group as they need each other in circles.
# Names without an archive (dl, pthread) are left to the linker.
function(tamis_archive_group target)
  set(CMAKE_FIND_LIBRARY_SUFFIXES .a)
  set(names ${ARGN})
  list(REMOVE_DUPLICATES names)
  set(archives)
  set(rest)
  foreach(name ${names})
    find_library(TAMIS_ARCHIVE_${name} NAMES ${name} NAMES_PER_DIR)
    if(TAMIS_ARCHIVE_${name} AND NOT name MATCHES "^(dl|pthread|rt|m|atomic)$")
      list(APPEND archives ${TAMIS_ARCHIVE_${name}})
    else()
      list(APPEND rest ${name})
    endif()
  endforeach()
  add_library(${target} INTERFACE)
  target_link_libraries(${target} INTERFACE
    -Wl,--start-group ${archives} -Wl,--end-group ${rest})
endfunction()
