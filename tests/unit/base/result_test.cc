#include "base/result.h"

#include <memory>

#include "tests/support/matchers.h"

namespace hvd {
namespace {

Result<int> positive(int value) {
  if (value <= 0)
    return Error{ErrorCode::kInvalidArgument, std::to_string(value) + " is not positive"};
  return value;
}

Result<int> sum_of_positives(int a, int b) {
  const int first = HVD_TRY(positive(a));
  const int second = HVD_TRY(positive(b));
  return first + second;
}

Result<void> check(int value, bool& reached_end) {
  HVD_TRY(positive(value));
  reached_end = true;
  return {};
}

TEST(Result, TryGivesTheValueOrReturnsTheError) {
  ASSERT_THAT(sum_of_positives(2, 3), Succeeds());
  EXPECT_EQ(*sum_of_positives(2, 3), 5);
  EXPECT_THAT(sum_of_positives(2, -3), FailsWith(ErrorCode::kInvalidArgument, "-3"));
  EXPECT_THAT(sum_of_positives(-2, -3), FailsWith(ErrorCode::kInvalidArgument, "-2"));
}

TEST(Result, TryLeavesAFunctionWithoutAValue) {
  bool reached_end = false;
  EXPECT_THAT(check(0, reached_end), FailsWith(ErrorCode::kInvalidArgument, "0"));
  EXPECT_FALSE(reached_end);
  EXPECT_THAT(check(1, reached_end), Succeeds());
  EXPECT_TRUE(reached_end);
}

TEST(Result, TryMovesWhatCannotBeCopied) {
  const auto make = []() -> Result<std::unique_ptr<int>> { return std::make_unique<int>(7); };
  const auto twice = [&]() -> Result<std::unique_ptr<int>> {
    auto value = HVD_TRY(make());
    *value *= 2;
    return value;
  };
  ASSERT_THAT(twice(), Succeeds());
  EXPECT_EQ(**twice(), 14);
}

TEST(Result, ContextIsPutInFrontAndKeepsTheCode) {
  const auto failed = with_context(positive(-1), "first number");
  EXPECT_THAT(failed, FailsWith(ErrorCode::kInvalidArgument, "first number: -1"));
  EXPECT_EQ(*with_context(positive(4), "ignored"), 4);
}

TEST(Result, ValueOrFallsBackOnlyOnErrors) {
  EXPECT_EQ(positive(4).value_or(9), 4);
  EXPECT_EQ(positive(-4).value_or(9), 9);
}

TEST(Result, EveryCodeHasANameOfItsOwn) {
  std::set<std::string> names;
  for (int code = 0; code <= static_cast<int>(ErrorCode::kInterrupted); ++code) {
    names.insert(error_code_name(static_cast<ErrorCode>(code)));
  }
  EXPECT_EQ(names.size(), static_cast<std::size_t>(ErrorCode::kInterrupted) + 1);
  EXPECT_EQ(names.count("unknown"), 0u);
}

}  // namespace
}  // namespace hvd
