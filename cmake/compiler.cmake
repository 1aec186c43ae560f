# Warning and sanitizer flags shared by every target; warnings are errors.
add_library(blade_compiler_flags INTERFACE)
target_compile_options(blade_compiler_flags INTERFACE -Wall -Wextra -Wno-psabi)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")  # Clang builds the fuzzers only; its warnings are not kept at zero
  # GCC 12 reports overlapping strings (its bug 105651) and uninitialised optionals that are neither; files compiled
  # together look like headers to its check of types that use unnamed namespaces.
  target_compile_options(blade_compiler_flags INTERFACE -Werror -Wno-restrict -Wno-maybe-uninitialized -Wno-subobject-linkage)
endif()
if(BLADE_SANITIZE)
  add_compile_options(-fsanitize=${BLADE_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${BLADE_SANITIZE})
endif()

# Several files are compiled as one: half the time of a full build. Off, a changed file is compiled sooner.
option(BLADE_UNITY "Compile the files of a folder in batches" ON)
function(blade_compile_in_batches target)
  set_target_properties(${target} PROPERTIES UNITY_BUILD ${BLADE_UNITY} UNITY_BUILD_BATCH_SIZE 6)
endfunction()

# blade_add_library(NAME sources...): one static library a folder of src/, with the shared flags.
function(blade_add_library name)
  add_library(${name} STATIC ${ARGN})
  blade_compile_in_batches(${name})
  target_link_libraries(${name} PRIVATE blade_compiler_flags)
  target_include_directories(${name} PUBLIC ${PROJECT_SOURCE_DIR}/src ${PROJECT_SOURCE_DIR}/include)
endfunction()

# blade_compile_lightly(TARGET): for code whose speed does not matter, such as tests: compiling it takes a third less.
function(blade_compile_lightly target)
  target_compile_options(${target} PRIVATE -O1 $<$<CXX_COMPILER_ID:GNU>:-fpch-preprocess>)
endfunction()

# blade_simd_sources(files...): unrolled SIMD kernels, which include themselves once an instruction set. Inline sanitizer
# checks in them take a compiler minutes; as calls,
# and without the checks of locals, the same out-of-bounds accesses are found in seconds.
function(blade_simd_sources)
  set_source_files_properties(${ARGN} PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
  if(BLADE_SANITIZE MATCHES "address" AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    set_source_files_properties(${ARGN} PROPERTIES COMPILE_OPTIONS
      "-fno-sanitize=undefined;-fno-sanitize-address-use-after-scope;--param=asan-stack=0;--param=asan-instrumentation-with-call-threshold=0")
  endif()
endfunction()
