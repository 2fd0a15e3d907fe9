# Slicer writes these into the extension's description; one that is missing makes the index refuse it.
foreach(name HOMEPAGE CATEGORY CONTRIBUTORS DESCRIPTION ICONURL SCREENSHOTURLS DEPENDS)
  if(NOT DEFINED EXTENSION_${name} OR "${EXTENSION_${name}}" STREQUAL "")
    message(FATAL_ERROR "EXTENSION_${name} is not set before the configuration is generated")
  endif()
  file(APPEND "${CMAKE_BINARY_DIR}/description.txt" "${name} ${EXTENSION_${name}}\n")
endforeach()
