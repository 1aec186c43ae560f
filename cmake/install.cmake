# Two layouts: the Python package (libraries beside the modules, the command in the environment's bin, headers and the
# CMake package inside the package directory), and a plain prefix (lib, include, bin).
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

if(SKBUILD)
  set(BLADE_LIBDIR blade)
  set(BLADE_INCLUDEDIR blade/include)
  set(BLADE_CMAKEDIR blade/cmake)
  set(BLADE_BINDIR ${SKBUILD_SCRIPTS_DIR})
  find_package(Python 3.9 REQUIRED COMPONENTS Interpreter)
  # From bin/ of the environment to the package in its site-packages.
  set(BLADE_COMMAND_RPATH "$ORIGIN/../lib/python${Python_VERSION_MAJOR}.${Python_VERSION_MINOR}/site-packages/blade")
else()
  set(BLADE_LIBDIR ${CMAKE_INSTALL_LIBDIR})
  set(BLADE_INCLUDEDIR ${CMAKE_INSTALL_INCLUDEDIR})
  set(BLADE_CMAKEDIR ${CMAKE_INSTALL_LIBDIR}/cmake/blade)
  set(BLADE_BINDIR ${CMAKE_INSTALL_BINDIR})
  set(BLADE_COMMAND_RPATH "$ORIGIN/../${CMAKE_INSTALL_LIBDIR}")
endif()

set_target_properties(blade_command PROPERTIES INSTALL_RPATH "${BLADE_COMMAND_RPATH}")
install(TARGETS blade EXPORT blade-targets LIBRARY DESTINATION ${BLADE_LIBDIR} INCLUDES DESTINATION ${BLADE_INCLUDEDIR})
install(TARGETS blade_command RUNTIME DESTINATION ${BLADE_BINDIR})
foreach(module blade_tf blade_onednn blade_cuda)
  if(TARGET ${module})
    install(TARGETS ${module} LIBRARY DESTINATION ${BLADE_LIBDIR})
  endif()
endforeach()
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/blade DESTINATION ${BLADE_INCLUDEDIR})
install(EXPORT blade-targets NAMESPACE blade:: DESTINATION ${BLADE_CMAKEDIR})
configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/blade-config.cmake.in ${PROJECT_BINARY_DIR}/blade-config.cmake
                              INSTALL_DESTINATION ${BLADE_CMAKEDIR})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/blade-config-version.cmake COMPATIBILITY SameMajorVersion)
install(FILES ${PROJECT_BINARY_DIR}/blade-config.cmake ${PROJECT_BINARY_DIR}/blade-config-version.cmake
        DESTINATION ${BLADE_CMAKEDIR})
