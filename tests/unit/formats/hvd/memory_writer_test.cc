// Memory on its way into a dump: what cannot be read is reported, and what cannot be sealed is not
// written.
#include "formats/hvd/memory_writer.h"

#include <cstring>
#include <map>
#include <set>

#include "tests/support/dump_builder.h"
#include "tests/support/fake_memory.h"
#include "tests/support/matchers.h"

namespace hvd {
namespace {

using format::kSegmentBytes;
using testing::HasSubstr;

/// Pages of text, zeros, and ones that cannot be read, by page number.
class FakePages final : public PhysicalMemory {
 public:
  explicit FakePages(std::vector<PhysRange> ranges) : ranges_(std::move(ranges)) {}
  std::map<std::uint64_t, std::string> text;
  std::map<std::uint64_t, Absence> absent;
  std::set<std::uint64_t> failing;  // though they are said to be there

  const std::vector<PhysRange>& ranges() const override { return ranges_; }
  Extent extent_at(PhysAddr at) const override {
    const std::uint64_t page = at.value / kPageSize;
    Extent extent{.range = {at, kPageSize - at.value % kPageSize}};
    if (const auto missing = absent.find(page); missing != absent.end()) {
      extent.kind = Extent::Kind::kAbsent;
      extent.reason = missing->second;
    } else {
      const bool stored = text.contains(page) || failing.contains(page);
      extent.kind = stored ? Extent::Kind::kStored : Extent::Kind::kZero;
      extent.page_class = PageClass::kPageCache;
    }
    return extent;
  }

 private:
  Result<std::size_t> read_some(PhysAddr at, MutableBytes out) const override {
    const std::uint64_t page = at.value / kPageSize, in_page = at.value % kPageSize;
    if (absent.contains(page) || failing.contains(page))
      return Error{ErrorCode::kUnreadable, "a page that cannot be read"};
    Bytes bytes(kPageSize);
    if (const auto found = text.find(page); found != text.end())
      std::memcpy(bytes.data(), found->second.data(), found->second.size());
    const std::size_t size = std::min<std::size_t>(out.size(), kPageSize - in_page);
    std::memcpy(out.data(), bytes.data() + in_page, size);
    return size;
  }

  std::vector<PhysRange> ranges_;
};

/// Seals until told to fail.
class FailingSealer final : public Sealer {
 public:
  explicit FailingSealer(int good) : left_(good) {}
  Result<void> seal(const SealedPiece& piece, ByteView plaintext, Bytes& out) const override {
    if (left_-- <= 0) return Error{ErrorCode::kIo, "the sealer is broken"};
    return keys_.seal(piece, plaintext, out);
  }
  Result<KeyCommitment> commitment(KeyName key) const override { return keys_.commitment(key); }

 private:
  const PartitionKeys keys_ = PartitionKeys::generate().value();
  mutable std::atomic<int> left_;
};

struct Capture {
  std::shared_ptr<Bytes> bytes = std::make_shared<Bytes>();
  std::unique_ptr<format::DumpWriter> writer =
      format::DumpWriter::create(std::make_unique<SharedSink>(bytes),
                                 format::new_dump_info("{}").value(),
                                 format::SigningKey::generate().value())
          .value();

  Result<format::MemoryTotals> write(const PhysicalMemory& memory,
                                     std::shared_ptr<const Sealer> sealer = nullptr,
                                     const format::MemoryOptions& options = {.threads = 2}) {
    auto partition = writer->begin_partition({.name = "guest"}, std::move(sealer), {}).value();
    Progress progress("test", 1);
    auto result = write_memory(memory, *partition, options, progress);
    EXPECT_THAT(
        partition->end(result ? PartitionState::kCaptured : PartitionState::kFailed, "", {}),
        testing::AnyOf(Succeeds(), FailsWith(ErrorCode::kIo, "broken")));
    EXPECT_THAT(writer->finish(), Succeeds());
    return result;
  }
  Image image() const {
    const auto dump = format::Dump::open(std::make_shared<BufferSource>(*bytes)).value();
    return dump.image(dump.partitions()[0], Keyring()).value();
  }
};

std::string page_text(const Image& image, std::uint64_t page) {
  Bytes out(8);
  const auto read = image.memory->read(PhysAddr{page * kPageSize}, out);
  return read ? to_string(out) : error_code_name(read.error().code);
}

TEST(MemoryWriter, WritesEveryPageOnce) {
  FakePages pages({{PhysAddr{0}, 3 * kPageSize},
                   {PhysAddr{kSegmentBytes - kPageSize}, 2 * kPageSize},
                   {PhysAddr{40 * kSegmentBytes}, kPageSize}});
  for (std::uint64_t page : {std::uint64_t{0}, std::uint64_t{2}, kSegmentBytes / kPageSize - 1,
                             kSegmentBytes / kPageSize, 40 * kSegmentBytes / kPageSize}) {
    pages.text[page] = "pg" + std::to_string(1000000 + page % 1000000).substr(1);
  }
  Capture capture;
  const auto result = capture.write(pages);
  ASSERT_THAT(result, Succeeds());
  EXPECT_EQ(result->unreadable_pages, 0u);
  const Image image = capture.image();
  EXPECT_THAT(image.problems, testing::IsEmpty());
  for (const auto& [page, text] : pages.text) EXPECT_EQ(page_text(image, page), text);
  EXPECT_EQ(page_text(image, 1), std::string(8, '\0'));
  EXPECT_EQ(page_text(image, 3), "not captured");
}

TEST(MemoryWriter, UnreadablePagesAreCountedAndTold) {
  FakePages pages({{PhysAddr{0}, 100 * kPageSize}});
  for (std::uint64_t page = 0; page < 100; ++page) pages.text[page] = "contents";
  for (std::uint64_t page : {0u, 50u, 51u, 99u}) pages.absent[page] = Absence::kUnreadable;
  pages.absent[70] = Absence::kRestricted;
  Capture capture;
  const auto result = capture.write(pages);
  ASSERT_THAT(result, Succeeds());
  EXPECT_EQ(result->unreadable_pages, 4u) << "a restricted one is not unreadable";
  const Image image = capture.image();
  EXPECT_EQ(page_text(image, 50), "unreadable");
  EXPECT_EQ(page_text(image, 70), "not captured");
  EXPECT_EQ(page_text(image, 1), "contents");
}

TEST(MemoryWriter, AsksForTheClassOfEachStoredPage) {
  FakePages pages({{PhysAddr{0}, 10 * kPageSize}});
  pages.text[3] = "kernel";
  pages.text[4] = "user";
  Capture capture;
  const auto mark = [](std::uint64_t first, std::size_t count) {
    std::vector<format::PageMark> marks(count, {PageClass::kUser, {}});
    if (first <= 3 && 3 - first < count) marks[3 - first].page_class = PageClass::kKernel;
    if (first <= 5 && 5 - first < count) marks[5 - first].excluded = Absence::kFilteredClass;
    return marks;
  };
  pages.text[5] = "excluded";
  ASSERT_THAT(capture.write(pages, nullptr, {.threads = 1, .mark = mark}), Succeeds());
  const Image image = capture.image();
  EXPECT_EQ(image.memory->extent_at(PhysAddr{3 * kPageSize}).page_class, PageClass::kKernel);
  EXPECT_EQ(image.memory->extent_at(PhysAddr{4 * kPageSize}).page_class, PageClass::kUser);
  const Extent excluded = image.memory->extent_at(PhysAddr{5 * kPageSize});
  EXPECT_EQ(excluded.kind, Extent::Kind::kAbsent);
  EXPECT_EQ(excluded.reason, Absence::kFilteredClass);
  EXPECT_EQ(excluded.range.size, kPageSize);
}

TEST(MemoryWriter, WhatIsNotThereIsReplacedWhereThatIsAskedFor) {
  FakePages pages({{PhysAddr{0}, 16 * kPageSize}});
  pages.absent[3] = Absence::kUnreadable;
  pages.absent[4] = Absence::kRestricted;
  pages.absent[5] = Absence::kFilteredFree;
  Capture capture;
  const auto replace = [](PhysAddr, Absence reason, MutableBytes out) {
    if (reason == Absence::kRestricted) std::memcpy(out.data(), "filler", 6);
    return reason != Absence::kFilteredFree;
  };
  const auto result = capture.write(pages, nullptr, {.threads = 1, .replace = replace});
  ASSERT_THAT(result, Succeeds());
  EXPECT_EQ(result->replaced_pages, 2u);
  EXPECT_EQ(result->unreadable_pages, 0u);
  const Image image = capture.image();
  EXPECT_EQ(image.memory->extent_at(PhysAddr{3 * kPageSize}).kind, Extent::Kind::kZero);
  EXPECT_EQ(page_text(image, 4).substr(0, 6), "filler");
  EXPECT_EQ(image.memory->extent_at(PhysAddr{5 * kPageSize}).kind, Extent::Kind::kAbsent);
}

TEST(MemoryWriter, WithoutMarksPagesKeepTheirClass) {
  FakePages pages({{PhysAddr{0}, 2 * kPageSize}});
  pages.text[1] = "contents";
  Capture capture;
  ASSERT_THAT(capture.write(pages), Succeeds());
  EXPECT_EQ(capture.image().memory->extent_at(PhysAddr{kPageSize}).page_class,
            PageClass::kPageCache);
}

TEST(MemoryWriter, LostPagesAreNeverHoles) {
  FakePages pages({{PhysAddr{0}, 8 * kPageSize}});
  for (std::uint64_t page = 0; page < 8; ++page) pages.text[page] = "contents";
  pages.failing = {2, 3};
  pages.absent[5] = Absence::kUnreadable;
  Capture capture;
  const auto result = capture.write(pages);
  ASSERT_THAT(result, Succeeds());
  EXPECT_EQ(result->lost_pages, 2u) << "what was known to be unreadable is not lost";
  EXPECT_EQ(result->unreadable_pages, 3u);
  const Image image = capture.image();
  for (const std::uint64_t page : {2u, 3u, 5u}) EXPECT_EQ(page_text(image, page), "unreadable");
  for (const std::uint64_t page : {1u, 4u, 6u}) EXPECT_EQ(page_text(image, page), "contents");
}

// As in the memory of a process, whose pieces end anywhere.
TEST(MemoryWriter, WhatLiesOutsideARangeIsZeroInItsPage) {
  FakeMemory memory({{PhysAddr{0x1f00}, 0x80}, {PhysAddr{0x1fa0}, 0x100}});
  memory.write(PhysAddr{0x1f00}, as_bytes(std::string(0x80, 'a')));
  memory.write(PhysAddr{0x1fa0}, as_bytes(std::string(0x100, 'b')));
  Capture capture;
  ASSERT_THAT(capture.write(memory), Succeeds());
  const Image image = capture.image();
  Bytes expected(2 * kPageSize);
  std::memset(expected.data() + 0xf00, 'a', 0x80);
  std::memset(expected.data() + 0xfa0, 'b', 0x100);
  Bytes got(2 * kPageSize);
  ASSERT_THAT(image.memory->read(PhysAddr{0x1000}, got), Succeeds());
  EXPECT_EQ(got, expected);
}

TEST(MemoryWriter, RedactSeesEachPageOnceAndItsChangesAreWritten) {
  FakePages pages({{PhysAddr{0}, 300 * kPageSize}});
  for (std::uint64_t page = 0; page < 200; ++page) pages.text[page] = "contents";
  Capture capture;
  std::mutex mutex;
  std::map<std::uint64_t, bool> seen;  // whether it had bytes
  const auto mark = [](std::uint64_t first, std::size_t count) {
    std::vector<format::PageMark> marks(count);
    for (std::size_t i = 0; i < count; ++i)
      if (first + i >= 50 && first + i < 60) marks[i].excluded = Absence::kRedacted;
    return marks;
  };
  const auto redact = [&](std::uint64_t first, std::size_t count, MutableBytes bytes) {
    const std::lock_guard lock(mutex);
    for (std::size_t i = 0; i < count; ++i)
      EXPECT_TRUE(seen.emplace(first + i, !bytes.empty()).second) << first + i;
    for (std::size_t at = 0; at < bytes.size(); at += kPageSize) bytes[at] = std::byte{'C'};
  };
  ASSERT_THAT(capture.write(pages, nullptr, {.threads = 2, .mark = mark, .redact = redact}),
              Succeeds());
  EXPECT_EQ(seen.size(), 300u);
  for (const auto& [page, bytes] : seen)
    EXPECT_EQ(bytes, page < 200 && (page < 50 || page >= 60)) << page;
  EXPECT_EQ(page_text(capture.image(), 3), "Contents");
}

TEST(MemoryWriter, WhatCannotBeSealedIsNotWrittenInTheClear) {
  // A sealer may fail at once or in the middle; at no point does a byte of memory reach the file
  // unsealed.
  for (const int good : {0, 1, 2, 3, 5, 8, 20}) {
    FakePages pages({{PhysAddr{0}, 4 * kSegmentBytes}});
    for (std::uint64_t page = 0; page < 4 * kSegmentBytes / kPageSize; page += 50)
      pages.text[page] = "CANARY" + std::to_string(page);
    Capture capture;
    EXPECT_THAT(capture.write(pages, std::make_shared<FailingSealer>(good)),
                FailsWith(ErrorCode::kIo, "broken"))
        << good;
    EXPECT_EQ(to_string(*capture.bytes).find("CANARY"), std::string::npos) << good;
  }
  FakePages pages({{PhysAddr{0}, kPageSize}});
  pages.text[0] = "CANARY";
  Capture clear;
  ASSERT_THAT(clear.write(pages), Succeeds());
  EXPECT_THAT(to_string(*clear.bytes), testing::AnyOf(HasSubstr("CANARY"), HasSubstr("ANARY")))
      << "the search does find what is in the clear";
}

}  // namespace
}  // namespace hvd
