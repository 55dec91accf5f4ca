#include "base/output_file.h"

#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "base/byte_sink.h"
#include "tests/support/damage.h"
#include "tests/support/matchers.h"
#include "tests/support/temporary_folder.h"

namespace hvd {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(OutputFile, AppearsOnCommitWithItsContents) {
  const TemporaryFolder folder;
  auto file = OutputFile::create(folder.path("out"), "");
  ASSERT_THAT(file, Succeeds());
  EXPECT_THAT(file->write_at(4, as_bytes("late")), Succeeds());
  EXPECT_THAT(file->write_at(0, as_bytes("soon")), Succeeds());
  EXPECT_THAT(file->resize(12), Succeeds());
  EXPECT_FALSE(std::filesystem::exists(folder.path("out")));
  EXPECT_THAT(file->commit(), Succeeds());
  EXPECT_EQ(folder.read("out"), std::string("soonlate") + std::string(4, '\0'));
  EXPECT_THAT(folder.names(), ElementsAre("out"));
}

TEST(OutputFile, LeavesNothingBehindWithoutCommit) {
  const TemporaryFolder folder;
  {
    auto file = OutputFile::create(folder.path("out"), "");
    ASSERT_THAT(file->write_at(0, as_bytes("half")), Succeeds());
    const OutputFile moved = std::move(*file);
    EXPECT_EQ(folder.names().size(), 1u);
  }
  EXPECT_THAT(folder.names(), IsEmpty());
}

TEST(OutputFile, KeepsTheOldFileUntilCommit) {
  const TemporaryFolder folder;
  folder.write("out", "old");
  {
    auto file = OutputFile::create(folder.path("out"), "");
  }
  EXPECT_EQ(folder.read("out"), "old");
  ASSERT_THAT(write_whole_file(folder.path("out"), as_bytes("new")), Succeeds());
  EXPECT_EQ(folder.read("out"), "new");
  EXPECT_THAT(folder.names(), ElementsAre("out"));
}

TEST(OutputFile, IsReadableByItsOwnerOnly) {
  const TemporaryFolder folder;
  ASSERT_THAT(write_whole_file(folder.path("out"), as_bytes("x")), Succeeds());
  struct stat status{};
  ASSERT_EQ(::stat(folder.path("out").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u);
}

TEST(OutputFile, RefusesTheInputUnderAnyName) {
  const TemporaryFolder folder;
  const std::string input = folder.write("dump", "precious");
  ASSERT_EQ(::link(input.c_str(), folder.path("hard").c_str()), 0);
  ASSERT_EQ(::symlink("dump", folder.path("soft").c_str()), 0);
  for (const char* name : {"dump", "hard", "soft", "./dump"}) {
    EXPECT_THAT(OutputFile::create(folder.path(name), input),
                FailsWith(ErrorCode::kInvalidArgument, "input"))
        << name;
    EXPECT_THAT(write_whole_file(folder.path(name), as_bytes("x"), input),
                FailsWith(ErrorCode::kInvalidArgument, "input"));
  }
  EXPECT_EQ(folder.read("dump"), "precious");
}

TEST(OutputFile, RefusesAFolderAndAMissingOne) {
  const TemporaryFolder folder;
  EXPECT_THAT(OutputFile::create(folder.path(""), ""),
              FailsWith(ErrorCode::kInvalidArgument, "directory"));
  EXPECT_THAT(OutputFile::create(folder.path("absent/out"), ""),
              FailsWith(ErrorCode::kIo, "absent/out"));
}

TEST(OutputFile, ASignalRemovesUnfinishedFiles) {
  const TemporaryFolder folder;
  const pid_t child = ::fork();
  if (child == 0) {
    auto file = OutputFile::create(folder.path("out"), "");
    (void)file->write_at(0, as_bytes("half")).has_value();
    ::raise(SIGTERM);
    ::_exit(99);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM) << "it still dies of the signal";
  EXPECT_THAT(folder.names(), IsEmpty());
}

// Root may create files in /dev, where a temporary would be renamed over the device.
TEST(OutputFile, DoesNotReplaceWhatIsNoRegularFile) {
  const TemporaryFolder folder;
  ASSERT_EQ(::mkfifo(folder.path("pipe").c_str(), 0600), 0);
  auto file = OutputFile::create(folder.path("pipe"), "");
  if (file) (void)file->commit().has_value();
  struct stat status{};
  ASSERT_EQ(::stat(folder.path("pipe").c_str(), &status), 0);
  EXPECT_TRUE(S_ISFIFO(status.st_mode)) << "a FIFO (or /dev/null) became a regular file";
}

TEST(FileSink, WritesInOrderAndReportsAFullDevice) {
  const TemporaryFolder folder;
  auto sink = FileSink::create(folder.path("out"));
  ASSERT_THAT(sink, Succeeds());
  EXPECT_THAT((*sink)->append(as_bytes("ab")), Succeeds());
  EXPECT_THAT((*sink)->append(as_bytes("cd")), Succeeds());
  EXPECT_THAT((*sink)->sync(), Succeeds());
  EXPECT_EQ(folder.read("out"), "abcd");
  auto full = FileSink::create("/dev/full");
  ASSERT_THAT(full, Succeeds());
  EXPECT_THAT((*full)->append(as_bytes("x")), FailsWith(ErrorCode::kIo, "/dev/full"));
}

}  // namespace
}  // namespace hvd
