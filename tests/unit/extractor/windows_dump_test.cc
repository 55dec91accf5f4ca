// What comes out of a Windows guest when its memory, or the guest itself, is not of the usual kind.
#include "extractor/windows_dump.h"

#include "tests/support/matchers.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/windows_builder.h"

namespace hvd {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;

std::uint32_t type_of(const std::string& file) {
  windows::Header64 header;
  std::memcpy(&header, file.data(), sizeof header);
  return header.dump_type;
}

TEST(WindowsExtraction, MoreRunsThanAFullDumpHasRoomForMakeABitmap) {
  WindowsBuilder builder;
  Image image = builder.build();
  const TemporaryFolder folder;
  const std::string path = folder.path("x.dmp");
  std::vector<std::string> problems;
  ASSERT_THAT(write_windows_dump(image, WindowsDumpType::kFull, {}, path, "", problems),
              Succeeds());
  EXPECT_THAT(problems, IsEmpty());
  EXPECT_EQ(type_of(folder.read("x.dmp")), 1u);

  // Every other page of what the guest does not use is not there.
  constexpr std::uint64_t kUsed = 0x400000;
  std::vector<PhysRange> ranges{{PhysAddr{0}, kUsed}};
  for (std::uint64_t at = kUsed + kPageSize; ranges.size() <= windows::kMaxHeaderRuns;
       at += 2 * kPageSize)
    ranges.push_back({PhysAddr{at}, kPageSize});
  auto memory = std::make_shared<FakeMemory>(ranges);
  for (const PhysAddr page : builder.memory().written()) {
    Bytes bytes(kPageSize);
    ASSERT_THAT(builder.memory().read(page, bytes), Succeeds());
    memory->write(page, bytes);
  }
  image.memory = memory;
  ASSERT_THAT(write_windows_dump(image, WindowsDumpType::kFull, {}, path, "", problems),
              Succeeds());
  EXPECT_THAT(problems, Contains(HasSubstr("a bitmap dump was written")));
  EXPECT_EQ(type_of(folder.read("x.dmp")), 5u);
}

TEST(WindowsExtraction, WhatIsNoWindowsIsToldSo) {
  Image image;
  image.name = "tenant";
  image.memory = std::make_shared<FakeMemory>(1u << 20);
  const TemporaryFolder folder;
  std::vector<std::string> problems;
  for (const WindowsDumpType type : {WindowsDumpType::kBitmap, WindowsDumpType::kTriage}) {
    const auto done = write_windows_dump(image, type, {}, folder.path("x.dmp"), "", problems);
    ASSERT_FALSE(done.has_value());
    EXPECT_EQ(done.error().code, ErrorCode::kNotFound);
    EXPECT_THAT(done.error().message, HasSubstr("tenant is no Windows"));
  }
  const Image arm64 = WindowsBuilder(true).build();
  const auto done =
      write_windows_dump(arm64, WindowsDumpType::kFull, {}, folder.path("x.dmp"), "", problems);
  ASSERT_FALSE(done.has_value());
  EXPECT_EQ(done.error().code, ErrorCode::kUnsupported);
}

}  // namespace
}  // namespace hvd
