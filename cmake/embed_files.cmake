# octet_embed(OUTPUT path=file ...): a C++ source that holds the files and a table of them (page_files()).
# The assembler reads them (.incbin): a megabyte costs no compile time.
function(octet_embed output)
  set(declarations "")
  set(assembly "")
  set(table "")
  set(number 0)
  set(files "")
  foreach(entry ${ARGN})
    string(REGEX MATCH "^([^=]+)=(.+)$" _ "${entry}")
    set(path "${CMAKE_MATCH_1}")
    set(file "${CMAKE_MATCH_2}")
    if(NOT EXISTS "${file}")
      message(FATAL_ERROR "${file} is missing: scripts/install-packages libraries")
    endif()
    list(APPEND files "${file}")
    get_filename_component(extension "${file}" LAST_EXT)
    if(extension STREQUAL ".html")
      set(type "text/html; charset=utf-8")
    elseif(extension STREQUAL ".css")
      set(type "text/css; charset=utf-8")
    elseif(extension STREQUAL ".js")
      set(type "text/javascript; charset=utf-8")
    elseif(extension STREQUAL ".svg")
      set(type "image/svg+xml")
    elseif(extension STREQUAL ".woff2")
      set(type "font/woff2")
    else()
      message(FATAL_ERROR "${file}: no content type for ${extension}")
    endif()
    set(symbol "octet_embedded_${number}")
    string(APPEND assembly
      "asm(\".section .rodata,\\\"a\\\"\\n.balign 16\\n.hidden ${symbol}\\n.global ${symbol}\\n${symbol}:\\n.incbin \\\"${file}\\\"\\n\"\n"
      "    \".hidden ${symbol}_end\\n.global ${symbol}_end\\n${symbol}_end:\\n.byte 0\\n.previous\\n\");\n")
    string(APPEND declarations "extern \"C\" const char ${symbol}[], ${symbol}_end[];\n")
    string(APPEND table
      "      {\"${path}\", \"${type}\", {${symbol}, static_cast<std::size_t>(${symbol}_end - ${symbol})}},\n")
    math(EXPR number "${number} + 1")
  endforeach()
  file(CONFIGURE OUTPUT "${output}" @ONLY CONTENT
"// Made by cmake/embed_files.cmake.
#include \"serve/page/page.h\"

@declarations@@assembly@
namespace octet::serve {

const std::vector<PageFile>& page_files() {
  static const std::vector<PageFile> files{
@table@  };
  return files;
}

}  // namespace octet::serve
")
  set_source_files_properties("${output}" PROPERTIES OBJECT_DEPENDS "${files}" SKIP_PRECOMPILE_HEADERS ON)
endfunction()
