#pragma once

#include <string_view>
#include <vector>

#include "serve/http/router.h"

namespace octet::serve {

/// A file of the page, embedded in the program when it was built.
struct PageFile {
  std::string_view path;  ///< "/", "/assets/app.js"
  std::string_view content_type;
  std::string_view bytes;
};
const std::vector<PageFile>& page_files();

/// The page's routes; they need no key. Files carry an ETag and a policy under which the browser
/// runs nothing and loads nothing that is not from here.
void add_page_routes(Router& router);

}  // namespace octet::serve
