// Where the server listens and how: TLS, Unix sockets, taken addresses, keys and certificates that
// change.
#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <sys/stat.h>

#include <cstddef>
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "unit/serve/http/server_fixture.h"

namespace octet::serve {
namespace {

using test::eventually;
using test::get;
using test::post;
using test::Response;
using test::SocketClient;

class HttpListenTest : public ServerFixture {
 protected:
  void SetUp() override {
    ServerFixture::SetUp();
    folder_ = std::filesystem::temp_directory_path() /
              ("octet_http_" + std::to_string(getpid()) + "_" +
               testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override {
    ServerFixture::TearDown();
    std::filesystem::remove_all(folder_);
  }
  std::string file(const std::string& name, const std::string& text) const {
    std::ofstream(folder_ / name) << text;
    return folder_ / name;
  }
  /// A self-signed certificate of this name, and its key, in two files put in place at once.
  void make_certificate(const std::string& name) {
    EVP_PKEY* key = EVP_EC_gen("P-256");
    X509* cert = X509_new();
    X509_set_version(cert, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
    X509_gmtime_adj(X509_getm_notBefore(cert), -60);
    X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
    X509_set_pubkey(cert, key);
    X509_NAME* subject = X509_get_subject_name(cert);
    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC,
                               reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1, 0);
    X509_set_issuer_name(cert, subject);
    X509_sign(cert, key, EVP_sha256());
    for (const bool is_key : {true, false}) {
      const std::string path = folder_ / (is_key ? "key.pem" : "cert.pem");
      FILE* out = std::fopen((path + ".new").c_str(), "w");
      if (is_key)
        PEM_write_PrivateKey(out, key, nullptr, nullptr, 0, nullptr, nullptr);
      else
        PEM_write_X509(out, cert);
      std::fclose(out);
      std::filesystem::rename(path + ".new", path);
    }
    EVP_PKEY_free(key);
    X509_free(cert);
    options_.tls.certfile = folder_ / "cert.pem";
    options_.tls.keyfile = folder_ / "key.pem";
  }
  std::filesystem::path folder_;
};

/// A TLS client over a raw socket; accepts any certificate.
class TlsClient {
 public:
  explicit TlsClient(int port, const std::string& own_certificate = {}, const std::string& key = {})
      : socket_(port), context_(SSL_CTX_new(TLS_client_method())) {
    if (!own_certificate.empty()) {
      SSL_CTX_use_certificate_file(context_, own_certificate.c_str(), SSL_FILETYPE_PEM);
      SSL_CTX_use_PrivateKey_file(context_, key.c_str(), SSL_FILETYPE_PEM);
    }
    ssl_ = SSL_new(context_);
    SSL_set_fd(ssl_, socket_.fd());
    connected_ = SSL_connect(ssl_) == 1;
  }
  ~TlsClient() {
    SSL_free(ssl_);
    SSL_CTX_free(context_);
  }
  TlsClient(const TlsClient&) = delete;
  TlsClient& operator=(const TlsClient&) = delete;
  bool connected() const { return connected_; }
  bool send(const std::string& bytes) {
    return SSL_write(ssl_, bytes.data(), static_cast<int>(bytes.size())) > 0;
  }
  /// Until `text` has come, or the end.
  std::string receive_until(const std::string& text) {
    std::string all;
    char bytes[16384];
    while (all.find(text) == std::string::npos) {
      const int n = SSL_read(ssl_, bytes, sizeof bytes);
      if (n <= 0) break;
      all.append(bytes, static_cast<std::size_t>(n));
    }
    return all;
  }
  /// True if the server said that it closes (close_notify), not only that the socket ended.
  bool closed_cleanly() {
    char byte;
    const int n = SSL_read(ssl_, &byte, 1);
    return n == 0 && SSL_get_error(ssl_, n) == SSL_ERROR_ZERO_RETURN;
  }
  std::string peer_name() const {
    X509* cert = SSL_get1_peer_certificate(ssl_);
    char name[100] = "";
    if (cert) X509_NAME_get_text_by_NID(X509_get_subject_name(cert), NID_commonName, name, 100);
    X509_free(cert);
    return name;
  }
  SocketClient& socket() { return socket_; }

 private:
  SocketClient socket_;
  SSL_CTX* context_;
  SSL* ssl_ = nullptr;
  bool connected_ = false;
};

TEST_F(HttpListenTest, Tls) {
  make_certificate("one");
  start();
  EXPECT_TRUE(server_->url().starts_with("https://127.0.0.1:"));
  TlsClient client(server_->port());
  ASSERT_TRUE(client.connected());
  EXPECT_EQ(client.peer_name(), "one");
  for (int i = 0; i < 20; ++i) {
    client.send(post("/worker_echo", "number " + std::to_string(i)));
    EXPECT_TRUE(client.receive_until("number " + std::to_string(i)).starts_with("HTTP/1.1 200"));
  }
  client.send(get("/health", "Connection: close\r\n"));
  client.receive_until("{}");
  EXPECT_TRUE(client.closed_cleanly());
  EXPECT_EQ(record(0).status, 200);
}

TEST_F(HttpListenTest, TlsStreamsAndLargeBodies) {
  make_certificate("one");
  start();
  TlsClient client(server_->port());
  const std::string body(5 << 20, 'x');
  std::thread sender([&] { client.send(post("/hold", body)); });
  const ExchangePtr e = next_held();
  sender.join();
  EXPECT_EQ(e->request().body, body);
  e->begin_stream();
  std::string all;
  std::thread writer([&] {
    for (int i = 0; i < 2000; ++i) e->write("data: " + std::to_string(i) + "\n\n");
    e->write(std::string(3 << 20, '#'));
    e->end_stream();
  });
  all = client.receive_until("\r\n0\r\n\r\n");
  writer.join();
  EXPECT_EQ(std::count(all.begin(), all.end(), '#'), 3 << 20);
  EXPECT_NE(all.find("data: 1999\n\n"), std::string::npos);
}

TEST_F(HttpListenTest, TlsClientsThatGoAreHeard) {
  make_certificate("one");
  start();
  for (const bool reset : {false, true}) {
    TlsClient client(server_->port());
    client.send(post("/hold", "{}"));
    const ExchangePtr e = next_held();
    std::atomic<bool> gone{false};
    e->on_disconnect([&] { gone = true; });
    reset ? client.socket().reset() : client.socket().close();
    EXPECT_TRUE(eventually([&] { return gone.load(); }));
  }
  EXPECT_TRUE(eventually([&] { return server_->status().connections == 0; }));
}

TEST_F(HttpListenTest, TlsHandshakesEndInTime) {
  make_certificate("one");
  options_.handshake_seconds = 0.3;
  start();
  SocketClient silent = connect(), plain = connect();
  plain.send(get("/health"));
  EXPECT_TRUE(silent.ended());
  plain.receive_all();
  EXPECT_TRUE(eventually([&] { return server_->status().connections == 0; }));
}

TEST_F(HttpListenTest, ClientCertificates) {
  make_certificate("one");
  options_.tls.ca_certs = options_.tls.certfile;
  options_.tls.cert_reqs = 2;
  start();
  TlsClient known(server_->port(), options_.tls.certfile, options_.tls.keyfile);
  known.send(get("/health"));
  EXPECT_TRUE(known.receive_until("{}").starts_with("HTTP/1.1 200"));
  TlsClient unknown(server_->port());
  unknown.send(get("/health"));
  EXPECT_EQ(unknown.receive_until("{}"), "");
}

TEST_F(HttpListenTest, CertificatesAreReadAgainWhenTheyChange) {
  make_certificate("one");
  options_.tls.refresh = true;
  options_.tls.refresh_seconds = 0.02;
  start();
  TlsClient old(server_->port());
  EXPECT_EQ(old.peer_name(), "one");
  make_certificate("two");
  EXPECT_TRUE(eventually([&] { return TlsClient(server_->port()).peer_name() == "two"; }));
  old.send(get("/health"));  // what is open stays open
  EXPECT_TRUE(old.receive_until("{}").starts_with("HTTP/1.1 200"));
  // Nonsense is reported, and the last good one stays.
  file("cert.pem", "nonsense");
  EXPECT_TRUE(eventually([&] {
    const auto all = errors();
    return !all.empty() && all.back().find("cert.pem") != std::string::npos;
  }));
  EXPECT_EQ(TlsClient(server_->port()).peer_name(), "two");
  EXPECT_THROW(server_->reload(), Error);
  make_certificate("three");
  EXPECT_TRUE(eventually([&] { return TlsClient(server_->port()).peer_name() == "three"; }));
}

TEST_F(HttpListenTest, ReloadReadsCertificates) {
  make_certificate("one");
  start();
  make_certificate("two");
  EXPECT_EQ(TlsClient(server_->port()).peer_name(), "one");
  server_->reload();
  EXPECT_EQ(TlsClient(server_->port()).peer_name(), "two");
}

TEST_F(HttpListenTest, BadTlsFilesAreNamed) {
  const auto message = [&] {
    try {
      start();
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::invalid_argument);
      return std::string(e.what());
    }
    return std::string("started");
  };
  make_certificate("one");
  const HttpOptions good = options_;
  options_.tls.certfile = "missing.pem";
  EXPECT_NE(message().find("missing.pem"), std::string::npos);
  options_ = good;
  options_.tls.keyfile = file("other.pem", "nonsense");
  EXPECT_NE(message().find("other.pem"), std::string::npos);
  options_ = good;
  options_.tls.ciphers = "NONE-SUCH";
  EXPECT_NE(message().find("NONE-SUCH"), std::string::npos);
  options_ = good;
  options_.tls.cert_reqs = 2;
  EXPECT_NE(message().find("ca-certs"), std::string::npos);
  server_.reset();
}

TEST_F(HttpListenTest, UnixSocket) {
  options_.uds = folder_ / "s.sock";
  start();
  EXPECT_EQ(server_->url(), "unix:" + options_.uds);
  EXPECT_EQ(server_->port(), 0);
  SocketClient client(options_.uds);
  EXPECT_EQ(client.ask(post("/worker_echo", "hello")).body, "hello");
  EXPECT_EQ(record(0).remote, "unix");
  // No browser reaches it, so any Host will do.
  EXPECT_EQ(client.ask("GET /health HTTP/1.1\r\nHost: any.example\r\n\r\n").status, 200);
  // While somebody listens it is not taken over.
  EXPECT_THROW(
      {
        HttpServer other(options_, routes(this));
        other.start();
      },
      AddressInUse);
  EXPECT_EQ(client.ask(get("/health")).status, 200);
  EXPECT_TRUE(std::filesystem::exists(options_.uds));
  server_->stop();
  EXPECT_FALSE(std::filesystem::exists(options_.uds));
}

TEST_F(HttpListenTest, AStaleUnixSocketIsReplacedAndOtherFilesAreNot) {
  options_.uds = folder_ / "s.sock";
  {
    const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, options_.uds.data(), options_.uds.size());
    ASSERT_EQ(::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    ::close(fd);
  }
  start();
  EXPECT_EQ(SocketClient(options_.uds).ask(get("/health")).status, 200);
  // Somebody else's file in its place is left alone at the end.
  std::filesystem::remove(options_.uds);
  file("s.sock", "precious");
  server_->stop();
  EXPECT_TRUE(std::filesystem::exists(options_.uds));
  HttpServer other(options_, routes(this));
  EXPECT_THROW(other.start(), Error);
  EXPECT_EQ(std::filesystem::file_size(options_.uds), 8u);
  options_.uds = std::string(200, 'x');
  HttpServer long_path(options_, routes(this));
  EXPECT_THROW(long_path.start(), Error);
}

// Copies of a listening socket, as a process that starts another one has them.
int listening(const sockaddr* address, socklen_t size, int backlog = 5) {
  const int fd = ::socket(address->sa_family, SOCK_STREAM, 0);
  EXPECT_EQ(::bind(fd, address, size), 0);
  EXPECT_TRUE(backlog == 0 || ::listen(fd, backlog) == 0);
  return fd;
}
int listening_tcp(in_addr_t host, int backlog = 5) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(host);
  return listening(reinterpret_cast<const sockaddr*>(&address), sizeof address, backlog);
}
int listening_unix(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), path.size());
  return listening(
      reinterpret_cast<const sockaddr*>(&address),
      static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size() + (path[0] ? 1 : 0)));
}

TEST_F(HttpListenTest, ASocketThatWasHandedOver) {
  options_.uds = "/not/used";
  options_.listen_fd = listening_tcp(INADDR_LOOPBACK);
  start();
  EXPECT_EQ(fcntl(options_.listen_fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
  EXPECT_EQ(server_->url(), "http://127.0.0.1:" + std::to_string(server_->port()));
  EXPECT_TRUE(server_->is_local());
  SocketClient client(server_->port());
  EXPECT_EQ(client.ask(post("/worker_echo", "hello")).body, "hello");
  // Loopback without a key: pages of other names may not read, wherever the socket came from.
  EXPECT_EQ(client.ask("GET /echo HTTP/1.1\r\nHost: evil.example\r\n\r\n").status, 403);
  server_->stop();

  HttpOptions open = options_;
  open.listen_fd = listening_tcp(INADDR_ANY);
  HttpServer everywhere(open, routes(this));
  everywhere.start();
  EXPECT_FALSE(everywhere.is_local());
  EXPECT_EQ(SocketClient(everywhere.port()).ask(get("/health")).status, 200);
}

TEST_F(HttpListenTest, AUnixSocketThatWasHandedOver) {
  const std::string path = folder_ / "s.sock";
  for (const bool own : {false, true}) {
    options_.listen_fd = listening_unix(path);
    options_.remove_listen_path = own;
    HttpServer server(options_, routes(this));
    server.start();
    EXPECT_EQ(server.url(), "unix:" + path);
    EXPECT_TRUE(server.is_local());
    EXPECT_EQ(SocketClient(path).ask(get("/health")).status, 200);
    server.stop();
    EXPECT_EQ(std::filesystem::exists(path), !own);
    std::filesystem::remove(path);
  }
  const std::string abstract = '\0' + path;
  options_.listen_fd = listening_unix(abstract);
  HttpServer server(options_, routes(this));
  server.start();
  EXPECT_EQ(server.url(), "unix:@" + path);
}

TEST_F(HttpListenTest, WhatDoesNotListenIsRefused) {
  int pipe_ends[2];
  ASSERT_EQ(pipe(pipe_ends), 0);
  const int datagrams = ::socket(AF_INET, SOCK_DGRAM, 0);
  const int deaf = listening_tcp(INADDR_LOOPBACK, 0);
  for (const int fd : {deaf, datagrams, pipe_ends[0], 9999}) {
    options_.listen_fd = fd;
    HttpServer server(options_, routes(this));
    try {
      server.start();
      ADD_FAILURE() << fd;
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::invalid_argument);
      EXPECT_NE(std::string(e.what()).find("expected a stream socket that listens"),
                std::string::npos);
    }
  }
  for (const int fd : {deaf, datagrams, pipe_ends[0], pipe_ends[1]}) ::close(fd);
}

// One server after the other, with clients at all times: nobody is refused, nothing lost.
TEST_F(HttpListenTest, HandedOverConnectionsWaitForTheNextServer) {
  for (const bool by_path : {false, true}) {
    HttpOptions options = options_;
    const std::string path = folder_ / "s.sock";
    if (by_path) options.uds = path;
    HttpServer first(options, routes(this));
    first.start();
    const int port = first.port();
    const auto connect = [&] { return by_path ? SocketClient(path) : SocketClient(port); };
    SocketClient old = connect();
    EXPECT_EQ(old.ask(get("/health")).status, 200);
    options.listen_fd = first.hand_over();
    options.remove_listen_path = by_path;
    SocketClient waiting = connect();
    waiting.send(get("/health"));
    // What was there goes on.
    EXPECT_EQ(old.ask(get("/health")).status, 200);
    EXPECT_EQ(first.status().connections, 1);
    first.stop();
    EXPECT_EQ(std::filesystem::exists(path), by_path);
    SocketClient between = connect();
    HttpServer second(options, routes(this));
    second.start();
    EXPECT_EQ(second.port(), port);
    EXPECT_EQ(waiting.response().status, 200);
    EXPECT_EQ(between.ask(get("/health")).status, 200);
    second.stop();
    EXPECT_FALSE(std::filesystem::exists(path));
  }
}

TEST_F(HttpListenTest, UnansweredCountsWhatIsNotOut) {
  start();
  EXPECT_EQ(server_->status().unanswered, 0);
  SocketClient held(server_->port()), gone(server_->port());
  held.send(post("/hold", ""));
  gone.send(post("/hold", ""));
  ASSERT_TRUE(eventually([&] { return server_->status().unanswered == 2; }));
  gone.close();
  EXPECT_TRUE(eventually([&] { return server_->status().unanswered == 1; }));
  // Somebody who hangs may keep an exchange long after its answer.
  EXPECT_EQ(server_->status().exchanges, 2);
  const ExchangePtr one = next_held(), other = next_held();
  one->respond(200, "text/plain", "x");
  other->respond(200, "text/plain", "x");
  EXPECT_EQ(held.response().status, 200);
  EXPECT_TRUE(eventually([&] { return server_->status().unanswered == 0; }));
  EXPECT_EQ(server_->status().exchanges, 2);
}

TEST_F(HttpListenTest, AddressInUseIsToldApart) {
  start();
  HttpOptions same = options_;
  same.port = server_->port();
  HttpServer other(same, routes(this));
  try {
    other.start();
    FAIL();
  } catch (const AddressInUse& e) {
    EXPECT_NE(std::string(e.what()).find(std::to_string(same.port)), std::string::npos);
  }
  HttpOptions nowhere = options_;
  nowhere.host = "192.0.2.1";  // an address for documentation: not this machine's
  HttpServer third(nowhere, routes(this));
  try {
    third.start();
    FAIL();
  } catch (const AddressInUse&) {
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::unavailable);
  }
  // Stopped, its port is free at once.
  const int port = server_->port();
  server_->stop();
  server_.reset();
  options_.port = port;
  start();
  EXPECT_EQ(server_->port(), port);
}

TEST_F(HttpListenTest, KeysOfAFile) {
  options_.api_keys = {"fixed"};
  options_.api_key_file = file("keys", "# ours\n\n  first \r\nsecond");
  start();
  const auto status = [&](const std::string& key) {
    return connect().ask(get("/echo", "Authorization: Bearer " + key + "\r\n")).status;
  };
  EXPECT_EQ(status("fixed"), 200);
  EXPECT_EQ(status("first"), 200);
  EXPECT_EQ(status("second"), 200);
  EXPECT_EQ(status("# ours"), 401);
  file("keys", "third\n");
  EXPECT_EQ(status("third"), 401);
  server_->reload();
  EXPECT_EQ(status("third"), 200);
  EXPECT_EQ(status("first"), 401);
  EXPECT_EQ(status("fixed"), 200);
  // A file without keys would open the server: the old ones stay.
  file("keys", "\n# nothing\n");
  EXPECT_THROW(server_->reload(), Error);
  std::filesystem::remove(folder_ / "keys");
  EXPECT_THROW(server_->reload(), Error);
  EXPECT_EQ(status("third"), 200);
  EXPECT_EQ(status("x"), 401);
}

TEST_F(HttpListenTest, EmptyKeysDoNotOpenTheServer) {
  options_.api_keys = {""};
  EXPECT_THROW(HttpServer(options_, routes(this)), Error);
  options_.api_keys = {};
  options_.api_key_file = file("keys", "\n");
  EXPECT_THROW(HttpServer(options_, routes(this)), Error);
}

}  // namespace
}  // namespace octet::serve
