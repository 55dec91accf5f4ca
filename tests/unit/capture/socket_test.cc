// Where a dump may be sent.
#include "capture/socket.h"

#include "tests/support/matchers.h"

namespace hvd {
namespace {

TEST(HostPort, TakesNamesAndBothKindsOfAddresses) {
  EXPECT_EQ(HostPort::parse("collector:4711").value().host, "collector");
  EXPECT_EQ(HostPort::parse("127.0.0.1:1").value().port, "1");
  EXPECT_EQ(HostPort::parse("[::1]:80").value().host, "::1");
  for (const char* text : {"", ":", "host", "host:", ":80", "host:http", "::1:80", "[]:80"})
    EXPECT_THAT(HostPort::parse(text), FailsWith(ErrorCode::kInvalidArgument, "HOST:PORT")) << text;
}

}  // namespace
}  // namespace hvd
