// Records that are intact and lie: each must become an error, bounded in time and memory.
#include <nlohmann/json.hpp>

#include "base/text.h"
#include "tests/support/crafted_dump.h"
#include "tests/support/damage.h"
#include "tests/support/matchers.h"

namespace hvd::format {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;
using Type = RecordType;

constexpr std::uint8_t kStoredKernel = kStateStored + static_cast<std::uint8_t>(PageClass::kKernel);
const std::string kOneSegment = R"({"ranges":[[0,67108864]]})";

MapChunk entry(std::uint64_t file_offset, std::uint16_t pages, std::uint32_t ordinal = 0,
               PageClass page_class = PageClass::kKernel) {
  MapChunk out{};
  out.file_offset = file_offset;
  out.page_class = static_cast<unsigned char>(page_class);
  out.page_count = pages;
  out.ordinal = ordinal;
  return out;
}

Result<Image> image_of(CraftedDump& crafted) {
  const auto dump = crafted.open();
  if (!dump) return dump.error();
  if (dump->partitions().empty()) return Error{ErrorCode::kNotFound, "no partition"};
  return dump->image(dump->partitions()[0], Keyring());
}

Result<Bytes> read_page(const Image& image, std::uint64_t page) {
  Bytes out(kPageBytes);
  HVD_TRY(image.memory->read(PhysAddr{page * kPageBytes}, out));
  return out;
}

TEST(CraftedDump, AnHonestOneReads) {
  CraftedDump crafted;
  crafted.begin().facts(kOneSegment);
  const auto chunk = crafted.chunk(0, 0, PageClass::kKernel, {5, 9}, filled(2 * kPageBytes, 'k'));
  crafted
      .map_index({{0, crafted.map(0, {entry(chunk, 2)}, {{5, kStoredKernel}, {9, kStoredKernel}})}})
      .end();
  const auto image = image_of(crafted);
  ASSERT_THAT(image, Succeeds());
  EXPECT_THAT(image->problems, IsEmpty());
  EXPECT_EQ(read_page(*image, 9).value(), filled(kPageBytes, 'k'));
  EXPECT_THAT(read_page(*image, 6), FailsWith(ErrorCode::kNotCaptured, ""));
}

TEST(HostileHvd, AChunkEntryThatLiesIsCorrupt) {
  struct Case {
    const char* what;
    MapChunk lie;
  };
  for (const auto& [what, pages, ordinal, page_class, offset] :
       {std::tuple{"more pages than there are", 3, 0u, PageClass::kKernel, std::int64_t{0}},
        {"fewer pages", 2, 0u, PageClass::kKernel, std::int64_t{8}},
        {"another ordinal", 2, 1u, PageClass::kKernel, std::int64_t{0}},
        {"no record", 2, 0u, PageClass::kKernel, std::int64_t{-16}},
        {"far behind the end", 2, 0u, PageClass::kKernel, std::int64_t{1} << 60},
        {"unaligned", 2, 0u, PageClass::kKernel, std::int64_t{1}}}) {
    CraftedDump crafted;
    crafted.begin().facts(kOneSegment);
    const auto chunk = crafted.chunk(0, 0, PageClass::kKernel, {5, 9}, filled(2 * kPageBytes, 'k'));
    const auto lie = entry(chunk + static_cast<std::uint64_t>(offset),
                           static_cast<std::uint16_t>(pages), ordinal, page_class);
    std::map<std::uint32_t, std::uint8_t> states;
    for (int i = 0; i < pages; ++i) states[static_cast<std::uint32_t>(5 + 4 * i)] = kStoredKernel;
    crafted.map_index({{0, crafted.map(0, {lie}, states)}}).end();
    const auto image = image_of(crafted);
    ASSERT_THAT(image, Succeeds());
    EXPECT_THAT(read_page(*image, 5), FailsWith(ErrorCode::kCorrupt, "")) << what;
  }
}

TEST(HostileHvd, ACachedChunkIsHeldAgainstEachEntryThatNamesIt) {
  // Two entries of one map name the same chunk; the second claims 256 pages where there is one.
  // Once the first is cached the second reads up to 1 MiB behind it.
  CraftedDump crafted;
  crafted.begin().facts(kOneSegment);
  const auto chunk = crafted.chunk(0, 0, PageClass::kKernel, {0}, filled(kPageBytes, 'k'));
  std::map<std::uint32_t, std::uint8_t> states{{0, kStoredKernel}};
  for (std::uint32_t i = 1; i <= 256; ++i)
    states[i] = kStateStored + static_cast<std::uint8_t>(PageClass::kUser);
  crafted
      .map_index(
          {{0, crafted.map(0, {entry(chunk, 1), entry(chunk, 256, 0, PageClass::kUser)}, states)}})
      .end();
  const auto image = image_of(crafted);
  ASSERT_THAT(image, Succeeds());
  ASSERT_THAT(read_page(*image, 0), Succeeds());
  EXPECT_THAT(read_page(*image, 1), FailsWith(ErrorCode::kCorrupt, ""));
}

TEST(HostileHvd, APageMapThatContradictsItselfIsCorrupt) {
  struct Case {
    const char* what;
    std::vector<MapChunk> chunks;
    std::map<std::uint32_t, std::uint8_t> states;
    std::vector<MapRepeat> repeats;
    ErrorCode code;
  };
  const MapChunk one = entry(128, 1);
  for (const Case& c : std::initializer_list<Case>{
           {"stored without a chunk", {}, {{5, kStoredKernel}}, {}, ErrorCode::kCorrupt},
           {"more stored than chunks hold",
            {one},
            {{5, kStoredKernel}, {6, kStoredKernel}},
            {},
            ErrorCode::kCorrupt},
           {"unknown page state", {}, {{5, 0x55}}, {}, ErrorCode::kUnsupported},
           {"unknown class", {}, {{5, 0x86}}, {}, ErrorCode::kUnsupported},
           {"unknown reason", {}, {{5, 0x19}}, {}, ErrorCode::kUnsupported},
           {"repeat of nothing", {}, {{5, kStateRepeat}}, {}, ErrorCode::kCorrupt},
           {"repeat of itself",
            {one},
            {{5, kStateRepeat}, {6, kStoredKernel}},
            {{5, 5}},
            ErrorCode::kCorrupt},
           {"repeat of a repeat",
            {one},
            {{5, kStateRepeat}, {6, kStateRepeat}, {7, kStoredKernel}},
            {{6, 7}, {5, 6}},
            ErrorCode::kCorrupt},
           {"repeat of a page beyond",
            {one},
            {{5, kStateRepeat}, {7, kStoredKernel}},
            {{5, 16384}},
            ErrorCode::kCorrupt},
           {"repeat by a page beyond",
            {one},
            {{7, kStoredKernel}},
            {{16384, 7}},
            ErrorCode::kCorrupt},
           {"repeat by a stored page", {one}, {{7, kStoredKernel}}, {{7, 7}}, ErrorCode::kCorrupt},
           {"chunk of no pages", {entry(128, 0)}, {}, {}, ErrorCode::kCorrupt},
           {"chunk of 257 pages", {entry(128, 257)}, {}, {}, ErrorCode::kCorrupt},
           {"ordinal beyond 16 bits", {entry(128, 1, 0x10000)}, {}, {}, ErrorCode::kCorrupt}}) {
    CraftedDump crafted;
    crafted.begin().facts(kOneSegment);
    crafted.map_index({{0, crafted.map(0, c.chunks, c.states, c.repeats)}}).end();
    const auto image = image_of(crafted);
    ASSERT_THAT(image, Succeeds());
    EXPECT_THAT(read_page(*image, 5), FailsWith(c.code, "")) << c.what;
  }
}

TEST(HostileHvd, AnUnknownCriticalRecordIsToldByAScan) {
  CraftedDump crafted;
  crafted.record(static_cast<Type>(99), kNoPartition, 0, as_bytes("x"));
  const auto dump = Dump::open(std::make_shared<BufferSource>(crafted.build()), true);
  ASSERT_THAT(dump, Succeeds());
  EXPECT_THAT(dump->problems(), Contains(HasSubstr("unknown type 99")));
  EXPECT_FALSE(dump->complete());
}

TEST(HostileHvd, AnUnknownOptionalRecordIsSkipped) {
  CraftedDump crafted;
  crafted.record(static_cast<Type>(99), kNoPartition, 0, as_bytes("x"), 0);
  const Bytes bytes = crafted.build();
  EXPECT_THAT(Dump::open(std::make_shared<BufferSource>(bytes), true)->problems(), IsEmpty());
  EXPECT_THAT(Dump::open(std::make_shared<BufferSource>(bytes))->problems(), IsEmpty());
}

TEST(HostileHvd, AnUnknownCriticalRecordIsToldByTheIndexToo) {
  // SPEC.md, "Records", type: unknown and critical means that the partition is not to be relied on.
  CraftedDump crafted;
  crafted.begin();
  crafted.record(static_cast<Type>(99), 0, 0, as_bytes("x"));
  crafted.end();
  const auto dump = crafted.open();
  ASSERT_THAT(dump, Succeeds());
  EXPECT_FALSE(dump->complete()) << "an intact index hides it";
}

TEST(HostileHvd, AnIndexThatRepeatsARecordCostsItOnce) {
  // (partition, type, sequence) is unique in a dump. An index of 16 MiB can name one note of 16 MiB
  // 700,000 times.
  CraftedDump crafted;
  crafted.begin();
  NoteHeader note{};
  note.name_size = 4;
  Bytes raw(bytes_of(note).begin(), bytes_of(note).end());
  append(raw, as_bytes("NOTE"));
  raw.resize(1u << 20);
  crafted.block(Type::kNote, 0, 0, raw);
  const auto repeated = crafted.entries().back();
  for (int i = 0; i < 200; ++i) crafted.entries().push_back(repeated);
  crafted.end();
  const auto image = image_of(crafted);
  ASSERT_THAT(image, Succeeds());
  EXPECT_THAT(image->notes, SizeIs(1));
}

TEST(HostileHvd, AnIndexThatLiesFallsBackOrIsToldOf) {
  const auto crafted_with = [](auto change) {
    CraftedDump crafted;
    crafted.begin().facts(kOneSegment).end();
    change(crafted);
    return crafted.open();
  };
  const auto wrong_type = crafted_with([](CraftedDump& c) { c.entries()[1].type = Type::kFacts; });
  ASSERT_THAT(wrong_type, Succeeds());
  EXPECT_FALSE(wrong_type->complete());
  const auto nowhere = crafted_with([](CraftedDump& c) { c.entries()[1].file_offset = 1u << 30; });
  EXPECT_FALSE(nowhere->complete());
  const auto twice = crafted_with([](CraftedDump& c) { c.entries().push_back(c.entries()[1]); });
  EXPECT_FALSE(twice->complete());
  EXPECT_THAT(twice->partitions(), SizeIs(1));
}

TEST(HostileHvd, ADescriptorThatLiesIsCorrupt) {
  struct Case {
    const char* what;
    std::vector<std::uint16_t> pages;
    std::size_t contents;
    std::uint32_t segment;
  };
  for (const Case& c : std::initializer_list<Case>{{"out of order", {9, 5}, 2, 0},
                                                   {"the same twice", {5, 5}, 2, 0},
                                                   {"beyond the segment", {5, 16384}, 2, 0},
                                                   {"no pages", {}, 0, 0},
                                                   {"too few bytes", {5, 9}, 1, 0},
                                                   {"too many bytes", {5, 9}, 3, 0}}) {
    CraftedDump crafted;
    crafted.begin().facts(kOneSegment);
    const auto chunk = crafted.chunk(c.segment, 0, PageClass::kKernel, c.pages,
                                     filled(c.contents * kPageBytes, 'k'));
    crafted
        .map_index(
            {{0, crafted.map(0, {entry(chunk, 2)}, {{5, kStoredKernel}, {9, kStoredKernel}})}})
        .end();
    const auto image = image_of(crafted);
    ASSERT_THAT(image, Succeeds());
    EXPECT_THAT(read_page(*image, 5), FailsWith(ErrorCode::kCorrupt, "")) << c.what;
  }
}

TEST(HostileHvd, PartitionHeadersThatAreNoneAreToldOf) {
  for (const char* header : {"", "null", "[]", "{}", R"({"name":"x","role":"king","sealed":false})",
                             "{\"name\":", "\xff\xfe"}) {
    CraftedDump crafted;
    crafted.begin(0, header).end();
    const auto dump = crafted.open();
    ASSERT_THAT(dump, Succeeds());
    EXPECT_THAT(dump->partitions(), IsEmpty()) << header;
    EXPECT_FALSE(dump->complete()) << header;
  }
}

TEST(HostileHvd, WhatDoesNotSayFalseIsSealed) {
  for (const char* sealed :
       {"", R"(,"sealed":true)", R"(,"sealed":0)", R"(,"sealed":"false")", R"(,"sealed":null)"}) {
    CraftedDump crafted;
    crafted.begin(0, std::string(R"({"name":"x","role":"guest")") + sealed + "}").end();
    const auto dump = crafted.open();
    ASSERT_THAT(dump->partitions(), SizeIs(1));
    EXPECT_TRUE(dump->partitions()[0].sealed) << sealed;
    EXPECT_THAT(dump->unlock(dump->partitions()[0], Keyring()), FailsWith(ErrorCode::kSealed, ""));
  }
}

TEST(HostileHvd, ASealedPartitionsRecordInTheClearIsNotTaken) {
  // Nobody but the agent can sign, but a thief of its key must not make a tenant believe foreign
  // facts.
  CraftedDump crafted;
  const X25519Identity owner = generate_identity().value();
  const PartitionKeys keys = PartitionKeys::generate().value();
  const auto slots =
      make_key_slots(keys, CraftedDump::kId, 0, {Recipient(owner.recipient())}).value();
  nlohmann::json header{{"name", "x"}, {"role", "guest"}, {"sealed", true}};
  for (const KeyName key : all_keys()) {
    const KeyCommitment commitment = keys.commitment(key).value();
    header["commitments"][std::string(name_of(key))] =
        hex_bytes(std::as_bytes(std::span(commitment)));
  }
  crafted.begin(0, header.dump());
  ByteWriter slot;
  slot.u16(static_cast<std::uint16_t>(slots[0].recipient.size()))
      .put(as_bytes(slots[0].recipient))
      .put(ByteView(slots[0].blob));
  crafted.record(Type::kKeySlot, 0, 0, slot.view());
  crafted.facts(kOneSegment);
  crafted.map_index({{0, crafted.map(0, {}, {{5, kStateAbsent}})}}).end();
  const auto dump = crafted.open();
  Keyring keyring;
  keyring.add(owner);
  const auto image = dump->image(dump->partitions()[0], keyring);
  ASSERT_THAT(image, Succeeds());
  EXPECT_FALSE(image->locked);
  EXPECT_THAT(image->problems, testing::Not(IsEmpty()))
      << "plaintext records in a sealed partition";
}

TEST(HostileHvd, ASizeInTheFileThatCannotBeIsUnknown) {
  const std::vector<std::pair<std::string, std::optional<std::uint64_t>>> cases{
      {"", std::nullopt},
      {R"(,"file_bytes":240)", 240},
      {R"(,"file_bytes":0)", std::nullopt},
      {R"(,"file_bytes":-1)", std::nullopt},
      {R"(,"file_bytes":"many")", std::nullopt},
      {R"(,"file_bytes":1000000)", std::nullopt}};
  for (const auto& [member, expected] : cases) {
    CraftedDump crafted;
    crafted.begin().facts(kOneSegment).end(0, R"({"state":"captured")" + member + "}");
    const auto dump = crafted.open();
    ASSERT_TRUE(dump) << member;
    EXPECT_EQ(dump->partitions().at(0).file_bytes, expected) << member;
  }
}

TEST(HostileHvd, FactsMayBeAnything) {
  for (const char* facts :
       {"[]", "null", "{", R"({"ranges":7})", R"({"ranges":[[]]})", R"({"ranges":[[1]]})",
        R"({"ranges":[[-1,5],["a",5],[5,1.5]]})", R"({"ranges":[[18446744073709551615,1]]})"}) {
    CraftedDump crafted;
    crafted.begin().facts(facts).end();
    const auto image = image_of(crafted);
    ASSERT_THAT(image, Succeeds()) << facts;
    EXPECT_FALSE(read_page(*image, 0)) << facts;
  }
}

TEST(HostileHvd, AddressesBeyondTheLimitAreNotThoseBelowIt) {
  // SPEC.md, "Limits": addresses are below 2^58. The segment number of one above is cut to 32 bits
  // and names another segment's pages.
  CraftedDump crafted;
  crafted.begin().facts(R"({"ranges":[[0,67108864],[288230376151711744,67108864]]})");
  const auto chunk = crafted.chunk(0, 0, PageClass::kKernel, {0}, filled(kPageBytes, 'k'));
  crafted.map_index({{0, crafted.map(0, {entry(chunk, 1)}, {{0, kStoredKernel}})}}).end();
  const auto image = image_of(crafted);
  ASSERT_THAT(image, Succeeds());
  EXPECT_TRUE(read_page(*image, 0));
  EXPECT_FALSE(read_page(*image, (std::uint64_t{1} << 58) / kPageBytes)) << "gives page 0";
}

TEST(HostileHvd, AVastRangeIsWalkedInFewSteps) {
  // Everything that walks a partition (triage's memory totals, finding VMCOREINFO, exports) goes by
  // extents.
  CraftedDump crafted;
  crafted.begin().facts(R"({"ranges":[[0,144115188075855872]]})").end();  // 2^57, within the limit
  const auto image = image_of(crafted);
  ASSERT_THAT(image, Succeeds());
  std::uint64_t at = 0;
  int steps = 0;
  for (; steps < 100000 && at < (std::uint64_t{1} << 57); ++steps)
    at += image->memory->extent_at(PhysAddr{at}).range.size;
  EXPECT_LT(steps, 100000) << "a file of a few hundred bytes costs 2^31 steps";
}

}  // namespace
}  // namespace hvd::format
