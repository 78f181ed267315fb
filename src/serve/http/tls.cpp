#include "serve/http/tls.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/stat.h>

#include <array>

namespace octet::serve {
namespace ssl = boost::asio::ssl;
namespace {

std::string reason() {
  std::array<char, 256> text{};
  const unsigned long error = ERR_get_error();
  ERR_clear_error();
  if (error == 0) return "unknown reason";
  ERR_error_string_n(error, text.data(), text.size());
  return text.data();
}

void require(bool fine, const std::string& what) {
  if (!fine) fail(ErrorCode::invalid_argument, "{}: {}", what, reason());
}

int no_passphrase(char*, int, int, void*) {
  return 0;
}

}  // namespace

std::shared_ptr<ssl::context> make_tls_context(const TlsOptions& options) {
  if (options.certfile.empty())
    fail(ErrorCode::invalid_argument, "TLS needs --ssl-certfile and --ssl-keyfile");
  if (options.cert_reqs < 0 || options.cert_reqs > 2)
    fail(ErrorCode::invalid_argument,
         "--ssl-cert-reqs {}: expected 0 (none), 1 (optional), 2 "
         "(required)",
         options.cert_reqs);
  if (options.cert_reqs > 0 && options.ca_certs.empty())
    fail(ErrorCode::invalid_argument, "--ssl-cert-reqs {} needs --ssl-ca-certs", options.cert_reqs);
  auto context = std::make_shared<ssl::context>(ssl::context::tls_server);
  SSL_CTX* const raw = context->native_handle();
  ERR_clear_error();
  SSL_CTX_set_min_proto_version(raw, TLS1_2_VERSION);
  SSL_CTX_set_options(raw, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
  // Thousands of idle connections: buffers only while something is in them.
  SSL_CTX_set_mode(raw, SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_default_passwd_cb(raw, no_passphrase);
  require(SSL_CTX_use_certificate_chain_file(raw, options.certfile.c_str()) == 1,
          options.certfile + ": no certificate in PEM form");
  const std::string& key = options.keyfile.empty() ? options.certfile : options.keyfile;
  require(SSL_CTX_use_PrivateKey_file(raw, key.c_str(), SSL_FILETYPE_PEM) == 1,
          key + ": no usable private key in PEM form for the certificate");
  require(SSL_CTX_check_private_key(raw) == 1, key + ": belongs to another certificate");
  if (!options.ca_certs.empty()) {
    require(SSL_CTX_load_verify_locations(raw, options.ca_certs.c_str(), nullptr) == 1,
            options.ca_certs + ": no certificates in PEM form");
    // Sent to clients, so that they know which of their certificates to show.
    SSL_CTX_set_client_CA_list(raw, SSL_load_client_CA_file(options.ca_certs.c_str()));
  }
  const int verify = options.cert_reqs == 0   ? SSL_VERIFY_NONE
                     : options.cert_reqs == 1 ? SSL_VERIFY_PEER
                                              : SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
  SSL_CTX_set_verify(raw, verify, nullptr);
  // Without it OpenSSL refuses to resume sessions whose client showed a certificate.
  constexpr std::array<unsigned char, 5> kSessionContext{'o', 'c', 't', 'e', 't'};
  SSL_CTX_set_session_id_context(raw, kSessionContext.data(), kSessionContext.size());
  if (!options.ciphers.empty())
    require(SSL_CTX_set_cipher_list(raw, options.ciphers.c_str()) == 1,
            "--ssl-ciphers " + options.ciphers);
  return context;
}

std::string tls_file_stamp(const TlsOptions& options) {
  std::string stamp;
  for (const std::string* path : {&options.certfile, &options.keyfile, &options.ca_certs}) {
    struct stat s{};
    if (path->empty() || stat(path->c_str(), &s) != 0)
      stamp += "-;";
    else
      stamp += fmt::format("{}:{}:{}:{}.{};", s.st_dev, s.st_ino, s.st_size, s.st_mtim.tv_sec,
                           s.st_mtim.tv_nsec);
  }
  return stamp;
}

}  // namespace octet::serve
