// What a capture may use up.
#include "capture/budget.h"

#include "tests/support/matchers.h"

namespace hvd {
namespace {

TEST(Budget, SizesAreBytesOrPowersOf1024) {
  EXPECT_EQ(parse_size("17").value(), 17u);
  EXPECT_EQ(parse_size("3K").value(), 3072u);
  EXPECT_EQ(parse_size("2T").value(), std::uint64_t{2} << 40);
  for (const char* text :
       {"", "K", "1.5G", "-1", "3KB", "0x10", "99999999T", "18446744073709551616"})
    EXPECT_THAT(parse_size(text), FailsWith(ErrorCode::kInvalidArgument, "not a size")) << text;
}

TEST(Budget, IsSpentBySizeOrTime) {
  EXPECT_FALSE(Budget{}.spent(~std::uint64_t{0}));
  EXPECT_TRUE((Budget{100, {}}.spent(100)));
  EXPECT_FALSE((Budget{100, {}}.spent(99)));
  EXPECT_TRUE((Budget{{}, std::chrono::steady_clock::now()}.spent(0)));
}

}  // namespace
}  // namespace hvd
