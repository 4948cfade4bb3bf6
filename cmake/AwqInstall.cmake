# cmake --install: the program, the public headers, the static libraries, and a package that
# find_package(awq) finds and that offers awq::awq.
include(CMakePackageConfigHelpers)

add_library(awq_public INTERFACE)
add_library(awq::awq ALIAS awq_public)
set_target_properties(awq_public PROPERTIES EXPORT_NAME awq)
target_link_libraries(awq_public INTERFACE awq_api)

# Everything below the public headers; the command line is a program, not a library to link.
get_property(libraries GLOBAL PROPERTY AWQ_MODULES)
list(REMOVE_ITEM libraries awq_cli awq_serve)
install(TARGETS awq RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(TARGETS awq_public ${libraries} EXPORT awq
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}/awq)
install(DIRECTORY include/awq DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h")

set(package ${CMAKE_INSTALL_LIBDIR}/cmake/awq)
install(EXPORT awq NAMESPACE awq:: FILE awqTargets.cmake DESTINATION ${package})
configure_package_config_file(cmake/awqConfig.cmake.in ${PROJECT_BINARY_DIR}/awqConfig.cmake
  INSTALL_DESTINATION ${package})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/awqConfigVersion.cmake
  COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/awqConfig.cmake ${PROJECT_BINARY_DIR}/awqConfigVersion.cmake
  DESTINATION ${package})
