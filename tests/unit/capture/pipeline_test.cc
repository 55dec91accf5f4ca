// The pipeline: what cannot be read is told, and what cannot be sealed is not written.
#include "capture/pipeline.h"

#include <map>

#include "capture/interrupt.h"
#include "tests/support/dump_builder.h"
#include "tests/support/matchers.h"

namespace hvd {
namespace {

using format::kSegmentBytes;
using testing::HasSubstr;

/// Pages of text, zeros, and ones that cannot be read, by page number.
class FakePages final : public PageSource {
 public:
  explicit FakePages(std::vector<PhysRange> ranges) : ranges_(std::move(ranges)) {}
  std::map<std::uint64_t, std::string> text;
  std::map<std::uint64_t, Absence> absent;

  const std::vector<PhysRange>& ranges() const override { return ranges_; }
  PageRun fetch(PhysAddr at, std::uint64_t max_pages, MutableBytes scratch) const override {
    EXPECT_GE(max_pages, 1u);
    const std::uint64_t page = at.value / kPageSize;
    if (const auto missing = absent.find(page); missing != absent.end())
      return {PageRun::Kind::kAbsent, 1, {}, missing->second};
    const auto found = text.find(page);
    if (found == text.end()) return {PageRun::Kind::kZero, 1, {}, Absence::kZero};
    std::memset(scratch.data(), 0, kPageSize);
    std::memcpy(scratch.data(), found->second.data(), found->second.size());
    return {PageRun::Kind::kBytes, 1, scratch.first(kPageSize), Absence::kUnreadable};
  }

 private:
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

  Result<PipelineResult> write(const PageSource& source,
                               std::shared_ptr<const Sealer> sealer = nullptr,
                               const PipelineOptions& options = {.threads = 2}) {
    auto partition = writer->begin_partition({.name = "guest"}, std::move(sealer), {}).value();
    Progress progress("test", 1);
    auto result = write_memory(source, *partition, options, progress);
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

TEST(Pipeline, WritesEveryPageOnce) {
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

TEST(Pipeline, UnreadablePagesAreCountedAndTold) {
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

TEST(Pipeline, AsksForTheClassOfEachStoredPage) {
  FakePages pages({{PhysAddr{0}, 10 * kPageSize}});
  pages.text[3] = "kernel";
  pages.text[4] = "user";
  Capture capture;
  const auto mark = [](std::uint64_t first, std::size_t count) {
    std::vector<PageMark> marks(count, {PageClass::kUser, {}});
    if (first <= 3 && 3 - first < count) marks[3 - first].page_class = PageClass::kKernel;
    if (first <= 5 && 5 - first < count) marks[5 - first].left_out = Absence::kFilteredClass;
    return marks;
  };
  pages.text[5] = "left out";
  ASSERT_THAT(capture.write(pages, nullptr, {.threads = 1, .mark = mark}), Succeeds());
  const Image image = capture.image();
  EXPECT_EQ(image.memory->extent_at(PhysAddr{3 * kPageSize}).page_class, PageClass::kKernel);
  EXPECT_EQ(image.memory->extent_at(PhysAddr{4 * kPageSize}).page_class, PageClass::kUser);
  const Extent left_out = image.memory->extent_at(PhysAddr{5 * kPageSize});
  EXPECT_EQ(left_out.kind, Extent::Kind::kAbsent);
  EXPECT_EQ(left_out.reason, Absence::kFilteredClass);
  EXPECT_EQ(left_out.range.size, kPageSize);
}

TEST(Pipeline, WhatIsNotThereIsReplacedAsThePolicySays) {
  FakePages pages({{PhysAddr{0}, 16 * kPageSize}});
  pages.absent[3] = Absence::kUnreadable;
  pages.absent[4] = Absence::kRestricted;
  pages.absent[5] = Absence::kFilteredFree;
  Capture capture;
  const auto result = capture.write(
      pages, nullptr,
      {.threads = 1, .replacement = {RestrictedAction::kScrub, RestrictedAction::kSubstitute}});
  ASSERT_THAT(result, Succeeds());
  EXPECT_EQ(result->replaced_pages, 2u);
  EXPECT_EQ(result->unreadable_pages, 0u);
  const Image image = capture.image();
  EXPECT_EQ(image.memory->extent_at(PhysAddr{3 * kPageSize}).kind, Extent::Kind::kZero);
  EXPECT_EQ(page_text(image, 4), "hvdump: ");
  EXPECT_EQ(image.memory->extent_at(PhysAddr{5 * kPageSize}).kind, Extent::Kind::kAbsent);
}

TEST(Pipeline, WhatCannotBeSealedIsNotWrittenInTheClear) {
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
