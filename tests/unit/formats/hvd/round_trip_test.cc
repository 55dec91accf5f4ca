// Writer and reader meet: what was given comes back, and damage is named.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "tests/support/dump_builder.h"

namespace hvd {
namespace {

using testing::HasSubstr;

TEST(HvdRoundTrip, PlainPartitionComesBack) {
  const BuiltDump built = build_dump({.sealed = false});
  const auto dump = format::Dump::open(built.source());
  ASSERT_TRUE(dump) << dump.error().message;
  EXPECT_TRUE(dump->complete());
  ASSERT_EQ(dump->partitions().size(), 1u);
  const auto image = dump->image(dump->partitions()[0], Keyring());
  ASSERT_TRUE(image);
  EXPECT_THAT(image->problems, testing::IsEmpty());
  expect_same_memory(built, *image->memory);
  EXPECT_EQ(image->registers, built.registers);
  ASSERT_EQ(image->notes.size(), 1u);
  EXPECT_EQ(to_string(image->notes[0].contents), "OSRELEASE=test");
}

TEST(HvdRoundTrip, SealedPartitionComesBackWithTheRightKeyOnly) {
  const BuiltDump built = build_dump({.sealed = true});
  const auto dump = format::Dump::open(built.source());
  ASSERT_TRUE(dump);
  const auto& partition = dump->partitions()[0];
  const auto image = dump->image(partition, built.keyring());
  ASSERT_TRUE(image);
  EXPECT_FALSE(image->locked);
  EXPECT_THAT(image->problems, testing::IsEmpty());
  expect_same_memory(built, *image->memory);

  const auto without = dump->unlock(partition, Keyring());
  ASSERT_FALSE(without);
  EXPECT_EQ(without.error().code, ErrorCode::kSealed);
  Keyring stranger;
  stranger.add(generate_identity().value());
  const auto wrong = dump->unlock(partition, stranger);
  ASSERT_FALSE(wrong);
  EXPECT_EQ(wrong.error().code, ErrorCode::kAuthentication);
}

TEST(HvdRoundTrip, SealedDumpHoldsNoPlaintext) {
  const BuiltDump built = build_dump({.sealed = true});
  const std::string bytes = to_string(built.bytes);
  EXPECT_EQ(bytes.find("canary-in-memory"), std::string::npos);
  EXPECT_EQ(bytes.find("OSRELEASE"), std::string::npos);
  EXPECT_EQ(bytes.find("uuid-in-facts"), std::string::npos);
  // The same search does find them when nothing is sealed.
  const std::string open =
      to_string(build_dump({.sealed = false, .codec = format::Codec::kNone}).bytes);
  EXPECT_NE(open.find("canary-in-memory"), std::string::npos);
}

TEST(HvdRoundTrip, VerifiesAndNoticesEveryFlippedByte) {
  const BuiltDump built = build_dump({.sealed = true});
  {
    const auto dump = format::Dump::open(built.source());
    const auto good = format::verify(*dump, std::nullopt, nullptr);
    EXPECT_TRUE(good.good()) << (good.problems.empty() ? "" : good.problems[0]);
    EXPECT_GT(good.signed_records, 5u);
  }
  for (std::size_t at = 0; at < built.bytes.size(); at += 701) {
    Bytes damaged = built.bytes;
    damaged[at] ^= std::byte{0x10};
    const auto dump = format::Dump::open(std::make_shared<BufferSource>(damaged));
    if (!dump) continue;
    EXPECT_FALSE(format::verify(*dump, std::nullopt, nullptr).good()) << "byte " << at;
  }
}

std::uint64_t records_of(const format::Dump& dump, std::uint32_t partition) {
  const format::Catalog& found = dump.catalog();
  std::uint64_t size = 0;
  for (const auto* places : {&found.records, &found.memory_records}) {
    for (const format::RecordPlace& place : *places) {
      if (place.partition != partition || place.type == format::RecordType::kPartitionEnd) continue;
      const auto record = dump.reader().read(place.file_offset);
      if (record) size += record->end() - place.file_offset;
    }
  }
  return size;
}

// What the writer counted is what a scan of the file finds.
TEST(HvdRoundTrip, APartitionSaysWhatItTakesInTheFile) {
  for (const bool sealed : {false, true}) {
    const BuiltDump built = build_dump({.sealed = sealed});
    const auto dump = format::Dump::open(built.source(), true);
    ASSERT_TRUE(dump);
    const format::DumpPartition& partition = dump->partitions().at(0);
    EXPECT_EQ(partition.file_bytes, records_of(*dump, partition.number));
    EXPECT_LT(*partition.file_bytes, built.bytes.size());
  }
}

class DeviceSource final : public ByteSource {
 public:
  explicit DeviceSource(Bytes bytes) : bytes_(std::move(bytes)) {}
  std::uint64_t size() const override { return bytes_.size(); }
  bool is_device() const override { return true; }

 private:
  Result<void> read_inside(std::uint64_t offset, MutableBytes out) const override {
    std::memcpy(out.data(), bytes_.data() + offset, out.size());
    return {};
  }
  Bytes bytes_;
};

// A device holds what was there before behind what was written last.
TEST(HvdRoundTrip, OnADeviceTheDumpEndsWhereItWasMadeToEnd) {
  const BuiltDump built = build_dump({.sealed = true, .pages = 100});
  const Bytes older = build_dump({.sealed = true, .pages = 200}).bytes;
  ASSERT_GT(older.size(), built.bytes.size());
  Bytes zeros = built.bytes, stale = older, records = built.bytes;
  zeros.resize(zeros.size() + 4096);
  std::copy(built.bytes.begin(), built.bytes.end(), stale.begin());
  append(records, ByteView(older).subspan(128));
  for (const Bytes& device : {zeros, stale, records, built.bytes}) {
    const auto dump = format::Dump::open(std::make_shared<DeviceSource>(device));
    ASSERT_TRUE(dump);
    EXPECT_TRUE(dump->complete());
    EXPECT_TRUE(format::verify(*dump, std::nullopt, nullptr).good());
    const auto image = dump->image(dump->partitions().at(0), built.keyring());
    ASSERT_TRUE(image);
    expect_same_memory(built, *image->memory);
  }
  // In a file the same bytes are none that anybody wrote there.
  EXPECT_FALSE(format::Dump::open(std::make_shared<BufferSource>(stale))->complete());
  // One that was cut off is not completed by what an older one left.
  Bytes torn = older;
  std::copy(built.bytes.begin(), built.bytes.end() - 300, torn.begin());
  EXPECT_FALSE(format::Dump::open(std::make_shared<DeviceSource>(torn))->complete());
}

TEST(HvdRoundTrip, EveryPrefixGivesBackWhatItHolds) {
  const BuiltDump built = build_dump({.sealed = true});
  std::size_t most = 0;
  for (std::size_t size = 0; size < built.bytes.size(); size += 1009) {
    const auto dump = format::Dump::open(std::make_shared<BufferSource>(
        Bytes(built.bytes.begin(), built.bytes.begin() + static_cast<std::ptrdiff_t>(size))));
    if (!dump) {
      EXPECT_LT(size, 128u);
      continue;
    }
    EXPECT_FALSE(dump->complete());
    if (dump->partitions().empty()) continue;
    EXPECT_EQ(dump->partitions()[0].state,
              size < built.bytes.size() ? dump->partitions()[0].state : PartitionState::kCaptured);
    const auto image = dump->image(dump->partitions()[0], built.keyring());
    ASSERT_TRUE(image);
    if (image->locked) continue;
    std::size_t readable = 0;
    for (const auto& [page, contents] : built.pages) {
      Bytes got(format::kPageBytes);
      const auto read = image->memory->read(PhysAddr{page * format::kPageBytes}, got);
      if (!read) continue;
      EXPECT_EQ(got, contents) << "a torn dump must never give wrong bytes, page " << page;
      ++readable;
    }
    EXPECT_GE(readable, most) << "a longer prefix holds less";
    most = std::max(most, readable);
  }
  EXPECT_EQ(most, built.pages.size());
}

TEST(HvdRoundTrip, AFlippedChunkLosesOnlyItsPages) {
  const BuiltDump built = build_dump({.sealed = true});
  const auto dump = format::Dump::open(built.source(), true);
  ASSERT_TRUE(dump);
  ASSERT_FALSE(dump->catalog().memory_records.empty());
  Bytes damaged = built.bytes;
  damaged[dump->catalog().memory_records[0].file_offset + 200] ^= std::byte{1};
  const auto again = format::Dump::open(std::make_shared<BufferSource>(damaged));
  ASSERT_TRUE(again);
  const auto image = again->image(again->partitions()[0], built.keyring());
  std::size_t lost = 0;
  for (const auto& [page, contents] : built.pages) {
    Bytes got(format::kPageBytes);
    const auto read = image->memory->read(PhysAddr{page * format::kPageBytes}, got);
    if (read) {
      EXPECT_EQ(got, contents);
    } else {
      EXPECT_EQ(read.error().code, ErrorCode::kCorrupt);
      EXPECT_THAT(read.error().message, HasSubstr("does not authenticate"));
      ++lost;
    }
  }
  EXPECT_GT(lost, 0u);
  EXPECT_LE(lost, format::kChunkPages + kRepeatsInDump) << "a chunk, and what repeats a page of it";
}

TEST(HvdRoundTrip, SwappedChunksDoNotOpen) {
  // Two chunks of equal stored size change places: each is intact, but not where it belongs.
  const BuiltDump built = build_dump({.sealed = true, .codec = format::Codec::kNone});
  const auto dump = format::Dump::open(built.source(), true);
  const auto& places = dump->catalog().memory_records;
  std::vector<format::Record> chunks;
  for (const auto& place : places) {
    if (place.type != format::RecordType::kChunk) continue;
    auto chunk = dump->reader().read(place.file_offset).value();
    if (chunks.empty() || chunks[0].payload.size() == chunk.payload.size())
      chunks.push_back(std::move(chunk));
  }
  ASSERT_GE(chunks.size(), 2u);
  Bytes damaged = built.bytes;
  // Each header stays in place, so that only the sealed payloads are exchanged.
  std::memcpy(damaged.data() + chunks[0].file_offset + 48, chunks[1].payload.data(),
              chunks[1].payload.size());
  std::memcpy(damaged.data() + chunks[1].file_offset + 48, chunks[0].payload.data(),
              chunks[0].payload.size());
  const auto swapped = format::Dump::open(std::make_shared<BufferSource>(damaged));
  const auto image = swapped->image(swapped->partitions()[0], built.keyring());
  Bytes got(format::kPageBytes);
  std::size_t lost = 0;
  for (const auto& [page, contents] : built.pages) {
    if (image->memory->read(PhysAddr{page * format::kPageBytes}, got)) EXPECT_EQ(got, contents);
    else ++lost;
  }
  EXPECT_GE(lost, 2u);
}

TEST(HvdRoundTrip, AbsenceKeepsItsReason) {
  const BuiltDump built = build_dump({.sealed = false});
  const auto dump = format::Dump::open(built.source());
  const auto image = dump->image(dump->partitions()[0], Keyring());
  Bytes got(16);
  const auto unreadable = image->memory->read(PhysAddr{kUnreadablePage * format::kPageBytes}, got);
  ASSERT_FALSE(unreadable);
  EXPECT_EQ(unreadable.error().code, ErrorCode::kUnreadable);
  const auto restricted = image->memory->read(PhysAddr{kRestrictedPage * format::kPageBytes}, got);
  ASSERT_FALSE(restricted);
  EXPECT_EQ(restricted.error().code, ErrorCode::kNotCaptured);
  EXPECT_THAT(restricted.error().message, HasSubstr("restricted"));
  EXPECT_TRUE(image->memory->read(PhysAddr{kZeroPage * format::kPageBytes}, got));
  EXPECT_TRUE(all_zero(got));
  EXPECT_FALSE(image->memory->read(PhysAddr{built.end_address + 4096}, got));
}

TEST(HvdRoundTrip, ASegmentCannotBeWrittenTwice) {
  auto writer = format::DumpWriter::create(std::make_unique<BufferSink>(),
                                           format::new_dump_info("{}").value(),
                                           format::SigningKey::generate().value());
  ASSERT_TRUE(writer);
  auto partition = (*writer)->begin_partition({.name = "a"}, nullptr, {});
  ASSERT_TRUE((*partition)->segment(7));
  EXPECT_FALSE((*partition)->segment(7));
}

}  // namespace
}  // namespace hvd
