#include "serve/http/router.h"

#include <gtest/gtest.h>

namespace octet::serve {
namespace {

TEST(Router, FindsByPathAndMethod) {
  Router router;
  router.add({.method = "GET", .pattern = "/v1/models"});
  router.add({.method = "GET", .pattern = "/v1/models/{}"});
  router.add({.method = "POST", .pattern = "/v1/responses/{}/cancel"});
  router.add({.method = "GET", .pattern = "/ping"});
  router.add({.method = "POST", .pattern = "/ping"});
  std::vector<std::string> parameters;
  std::string allow;
  ASSERT_TRUE(router.find("GET", "/v1/models", parameters, allow));
  const Route* route = router.find("HEAD", "/v1/models/owner/name", parameters, allow);
  ASSERT_TRUE(route);
  EXPECT_EQ(route->name, "/v1/models/{}");
  EXPECT_EQ(parameters, std::vector<std::string>{"owner/name"});
  ASSERT_TRUE(router.find("POST", "/v1/responses/r1/cancel", parameters, allow));
  EXPECT_EQ(parameters, std::vector<std::string>{"r1"});

  EXPECT_FALSE(router.find("DELETE", "/ping", parameters, allow));
  EXPECT_EQ(allow, "GET, POST");
  EXPECT_FALSE(router.find("GET", "/v1/models/", parameters, allow));
  EXPECT_EQ(allow, "");
  EXPECT_TRUE(parameters.empty());
}

TEST(Router, DialectByPath) {
  EXPECT_EQ(dialect_of("/v1/messages"), Dialect::anthropic);
  EXPECT_EQ(dialect_of("/v1/messages/count_tokens"), Dialect::anthropic);
  EXPECT_EQ(dialect_of("/v1/messagesx"), Dialect::openai);
  EXPECT_EQ(dialect_of("/v1/chat/completions"), Dialect::openai);
}

}  // namespace
}  // namespace octet::serve
