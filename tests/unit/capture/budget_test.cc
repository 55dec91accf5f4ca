// What a capture may use up, and where it may send a dump.
#include "capture/budget.h"

#include "base/socket.h"
#include "tests/support/matchers.h"

namespace hvd {
namespace {

TEST(Budget, SizesAreBytesOrPowersOf1024) {
  EXPECT_EQ(parse_size("17").value(), 17u);
  EXPECT_EQ(parse_size("3K").value(), 3072u);
  EXPECT_EQ(parse_size("2T").value(), std::uint64_t{2} << 40);
  for (const char* text :
       {"", "K", "1.5G", "-1", "3KB", "0x10", "99999999T", "18446744073709551616"})
    EXPECT_THAT(parse_size(text), FailsWith(ErrorCode::kInvalidArgument, "no size")) << text;
}

TEST(Budget, IsSpentBySizeOrTime) {
  EXPECT_FALSE(Budget{}.spent(~std::uint64_t{0}));
  EXPECT_TRUE((Budget{100, {}}.spent(100)));
  EXPECT_FALSE((Budget{100, {}}.spent(99)));
  EXPECT_TRUE((Budget{{}, std::chrono::steady_clock::now()}.spent(0)));
}

TEST(HostPort, TakesNamesAndBothKindsOfAddresses) {
  EXPECT_EQ(HostPort::parse("collector:4711").value().host, "collector");
  EXPECT_EQ(HostPort::parse("127.0.0.1:1").value().port, "1");
  EXPECT_EQ(HostPort::parse("[::1]:80").value().host, "::1");
  for (const char* text : {"", ":", "host", "host:", ":80", "host:http", "::1:80", "[]:80"})
    EXPECT_THAT(HostPort::parse(text), FailsWith(ErrorCode::kInvalidArgument, "HOST:PORT")) << text;
}

}  // namespace
}  // namespace hvd
