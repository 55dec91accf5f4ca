// A question that the process does not survive is an error here, and nothing else.
#include "guest/debuginfo/own_process.h"

#include <csignal>
#include <cstdio>
#include <cstdlib>

#include "base/text.h"
#include "tests/support/damage.h"
#include "tests/support/matchers.h"
#include "tests/support/temporary_folder.h"

namespace hvd {
namespace {

TEST(OwnProcess, AnswersOneQuestionAfterAnother) {
  int asked = 0;
  const auto process = OwnProcess::start("x", [&asked](ByteView question) {
    Bytes out(question.begin(), question.end());
    out.push_back(static_cast<std::byte>('0' + ++asked));
    return out;
  });
  ASSERT_THAT(process, Succeeds());
  EXPECT_EQ(to_string((*process)->ask(as_bytes("a")).value()), "a1");
  EXPECT_EQ(to_string((*process)->ask({}).value()), "2");
  EXPECT_EQ(asked, 0) << "what the process changes is its own";
}

TEST(OwnProcess, LargeAnswersArriveWhole) {
  const Bytes large = filled(5'000'000, 'x');
  const auto answer = ask_own_process("x", [&] { return large; });
  ASSERT_THAT(answer, Succeeds());
  EXPECT_EQ(*answer, large);
}

TEST(OwnProcess, DeathIsAnErrorNowAndLater) {
  const std::vector<std::pair<const char*, void (*)()>> deaths{{"signal", [] { ::raise(SIGSEGV); }},
                                                               {"abort", [] { std::abort(); }},
                                                               {"exit", [] { std::exit(0); }}};
  for (const auto& [name, die] : deaths) {
    const auto process = OwnProcess::start("some.pdb", [die = die](ByteView question) {
      if (!question.empty()) die();
      return Bytes(1);
    });
    ASSERT_THAT(process, Succeeds()) << name;
    EXPECT_THAT((*process)->ask({}), Succeeds()) << name;
    EXPECT_THAT((*process)->ask(as_bytes("x")), FailsWith(ErrorCode::kCorrupt, "some.pdb"));
    EXPECT_THAT((*process)->ask({}), FailsWith(ErrorCode::kCorrupt, "some.pdb")) << name;
  }
}

// Text that waits in this process's buffers must not be written by the other one too.
TEST(OwnProcess, DyingWritesNothing) {
  testing::internal::CaptureStdout();
  std::printf("once");
  EXPECT_THAT(ask_own_process("x",
                              []() -> Bytes {
                                std::printf("never");
                                std::exit(0);
                              }),
              FailsWith(ErrorCode::kCorrupt, "x"));
  EXPECT_EQ(testing::internal::GetCapturedStdout(), "once");
}

// What this process does at its end, such as to remove files, is not the other one's to do.
TEST(OwnProcess, DyingRunsNoExitHandlers) {
  static const pid_t self = ::getpid();
  static const TemporaryFolder folder;
  ASSERT_EQ(std::atexit([] {
              if (::getpid() != self) folder.write("ran", "");
            }),
            0);
  EXPECT_THAT(ask_own_process("x", []() -> Bytes { std::exit(0); }),
              FailsWith(ErrorCode::kCorrupt, "x"));
  EXPECT_TRUE(folder.names().empty());
}

// The one that was started first has its socket in the second as well.
TEST(OwnProcess, ProcessesEndInAnyOrder) {
  const auto echo = [](ByteView question) { return Bytes(question.begin(), question.end()); };
  auto first = OwnProcess::start("first", echo).value();
  const auto second = OwnProcess::start("second", echo).value();
  first.reset();
  EXPECT_THAT(second->ask(as_bytes("x")), Succeeds());
}

}  // namespace
}  // namespace hvd
