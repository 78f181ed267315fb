#pragma once

#include <boost/asio/ssl/context.hpp>
#include <memory>
#include <string>

#include "serve/http/server.h"

namespace octet::serve {

// Asio inside: included by sources of this folder only.

/// A server's context of these files: TLS 1.2 and later. Errors: invalid_argument with OpenSSL's
/// reason and the file (an encrypted key counts as unreadable: nobody is there to ask).
std::shared_ptr<boost::asio::ssl::context> make_tls_context(const TlsOptions& options);

/// What tells that the files have changed: their identities, sizes and times.
std::string tls_file_stamp(const TlsOptions& options);

}  // namespace octet::serve
