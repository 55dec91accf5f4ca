// Source lines out of files that gcc makes here, and out of what damage leaves of them.
#include "guest/debuginfo/line_table.h"

#include "tests/support/damage.h"
#include "tests/support/debug_files.h"
#include "tests/support/matchers.h"

namespace hvd {
namespace {

constexpr std::uint64_t kSlide = 0x2dc00000;
constexpr VirtAddr kModuleText{0xffffffffc0001000};

// An address in the middle of what outer() has of inner().
constexpr std::uint64_t kInside = 32;

void expect_inlined(const Result<std::vector<SourceFrame>>& frames) {
  ASSERT_THAT(frames, Succeeds());
  ASSERT_EQ(frames->size(), 3u);
  const char* names[] = {"inner", "middle", "outer"};
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_EQ((*frames)[i].function, names[i]);
    EXPECT_EQ((*frames)[i].file, "lines.c");
    EXPECT_EQ((*frames)[i].line, i + 2);
    EXPECT_EQ((*frames)[i].inlined, i < 2);
  }
}

class LineTableTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!have_program("gcc")) GTEST_SKIP() << "gcc is not installed: it compiles the files";
    ASSERT_TRUE(compile_program(folder_, "program"));
    ASSERT_TRUE(compile_object(folder_, "object"));
  }
  Result<std::unique_ptr<LineTable>> program() const {
    return LineTable::open(folder_.path("program"), kSlide);
  }
  Result<std::unique_ptr<LineTable>> object() const {
    return LineTable::open_relocatable(folder_.path("object"), {{".text", kModuleText}});
  }
  const TemporaryFolder folder_;
};

TEST_F(LineTableTest, ProgramThatWasMovedHasItsInlinedFrames) {
  const auto table = program();
  ASSERT_THAT(table, Succeeds());
  expect_inlined((*table)->at(VirtAddr{kProgramText + kSlide + kInside}));
  EXPECT_TRUE((*table)->at(VirtAddr{kProgramText + kInside})->empty());
  EXPECT_TRUE((*table)->at(VirtAddr{~std::uint64_t{0}})->empty());
}

TEST_F(LineTableTest, RelocatableFileIsLookedUpBySection) {
  const auto table = object();
  ASSERT_THAT(table, Succeeds());
  expect_inlined((*table)->at(kModuleText + kInside));
  EXPECT_TRUE((*table)->at(kModuleText - 1)->empty());
  EXPECT_TRUE((*table)->at(kModuleText + 0x100000)->empty());
}

TEST_F(LineTableTest, FilesOfTheWrongKindAreRefused) {
  EXPECT_THAT(LineTable::open(folder_.path("none"), 0), FailsWith(ErrorCode::kNotFound, "none"));
  EXPECT_THAT(LineTable::open(folder_.path(""), 0), FailsWith(ErrorCode::kNotFound, ""));
  EXPECT_THAT(LineTable::open_relocatable(folder_.path("program"), {}),
              FailsWith(ErrorCode::kUnsupported, "program"));
  EXPECT_THAT(LineTable::open_relocatable(folder_.write("text", "hello"), {}),
              FailsWith(ErrorCode::kUnsupported, "text"));
}

// Whatever is left of a file, the answer is frames, no frames or an error.
TEST_F(LineTableTest, DamagedFilesGiveNoFramesOrAnError) {
  const auto look = [&](const std::string& name, const Bytes& bytes) {
    folder_.write(name, ByteView(bytes));
    const auto table = name == "program" ? program() : object();
    if (!table) return;
    const VirtAddr at =
        name == "program" ? VirtAddr{kProgramText + kSlide + kInside} : kModuleText + kInside;
    const auto frames = (*table)->at(at);
    if (!frames) {
      EXPECT_EQ(frames.error().code, ErrorCode::kCorrupt);
    }
  };
  for (const char* name : {"program", "object"}) {
    const Bytes good = to_bytes(folder_.read(name));
    for (std::size_t size = 0; size < good.size(); size += 61) look(name, truncated_at(good, size));
    for (std::size_t at = 0; at < good.size(); at += 31) {
      Bytes bad = good;
      flip_bit(bad, at, at / 31 % 8);
      look(name, bad);
    }
  }
}

// LLVM divides a relocation section's size by the size that its entries claim.
TEST_F(LineTableTest, RelocationEntriesOfNoSizeAreAnErrorFromThenOn) {
  Bytes bytes = to_bytes(folder_.read("object"));
  le64 sections;
  std::memcpy(&sections, bytes.data() + 0x28, sizeof sections);
  constexpr std::size_t kHeader = 64, kType = 4, kEntrySize = 56;
  for (std::size_t at = sections; at + kHeader <= bytes.size(); at += kHeader) {
    if (bytes[at + kType] == std::byte{4})  // SHT_RELA
      overwrite(bytes, at + kEntrySize, Bytes(8));
  }
  folder_.write("object", ByteView(bytes));
  const auto table = object();
  ASSERT_THAT(table, Succeeds());
  for (int i = 0; i < 2; ++i)
    EXPECT_THAT((*table)->at(kModuleText + kInside), FailsWith(ErrorCode::kCorrupt, "object"));
}

}  // namespace
}  // namespace hvd
