// The kernel log out of a synthetic ring buffer: wrap, records without text, damage, and sizes that
// lie.
#include "guest/linux/log.h"

#include "tests/support/damage.h"
#include "tests/support/linux_builder.h"
#include "tests/support/matchers.h"

namespace hvd::linux_guest {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

struct Log {
  LinuxBuilder builder;
  LinuxBuilder::LogPlaces places;
  Image image;
  std::unique_ptr<Kernel> kernel;
  std::vector<std::string> problems;

  void open() {
    builder.add_kallsyms(KallsymsOrder::kSince64, false, true);
    image = builder.build();
    auto opened = Kernel::open(image);
    ASSERT_THAT(opened, Succeeds());
    kernel = std::move(*opened);
  }
  Result<std::vector<LogRecord>> read() {
    if (!kernel) open();
    return read_log(*kernel, problems);
  }
  std::vector<std::string> texts() {
    const auto records = read();
    EXPECT_THAT(records, Succeeds());
    std::vector<std::string> out;
    for (const LogRecord& record : records.value_or(std::vector<LogRecord>()))
      out.push_back(record.text);
    return out;
  }
};

TEST(Log, ComesOutInOrderWithTimesAndLevels) {
  Log log;
  log.places = log.builder.add_log(
      {{1000, 5, "Linux version"}, {2000, 4, "two\nlines"}, {3000, 0, "panic"}});
  const auto records = log.read();
  ASSERT_THAT(records, Succeeds());
  ASSERT_THAT(*records, SizeIs(3));
  EXPECT_EQ((*records)[0].text, "Linux version");
  EXPECT_EQ((*records)[0].time_ns, 1000u);
  EXPECT_EQ((*records)[0].level, 5u);
  EXPECT_EQ((*records)[1].text, "two\nlines");
  EXPECT_EQ((*records)[2].level, 0u);
  EXPECT_THAT(log.problems, IsEmpty());
}

TEST(Log, OfAFullRingKeepsTheNewest) {
  Log log;
  std::vector<LinuxBuilder::LogLine> lines;
  for (int i = 0; i < 20; ++i)
    lines.push_back({static_cast<std::uint64_t>(i), 6, "line " + std::to_string(i)});
  log.places = log.builder.add_log(lines, 3, 10);
  EXPECT_THAT(log.texts(), ElementsAre("line 12", "line 13", "line 14", "line 15", "line 16",
                                       "line 17", "line 18", "line 19"));
}

TEST(Log, ATextThatDidNotFitAtTheEndBeginsAnewAtTheStart) {
  // 128 bytes of text ring: blocks of 48, 48, and one that wraps over the first.
  Log log;
  log.places = log.builder.add_log(
      {{1, 6, std::string(40, 'a')}, {2, 6, std::string(40, 'b')}, {3, 6, std::string(40, 'c')}}, 3,
      7);
  const auto texts = log.texts();
  EXPECT_THAT(texts, ElementsAre(std::string(40, 'b'), std::string(40, 'c')))
      << "the first one's text was overwritten";
  EXPECT_THAT(log.problems, ElementsAre(testing::HasSubstr("1 log records")));
}

TEST(Log, ABlockThatEndsExactlyAtTheEndIsWhole) {
  // Since Linux commit 67e1b0052f6b ("printk: ringbuffer: don't needlessly wrap data blocks
  // around", v6.18).
  Log log;
  log.places =
      log.builder.add_log({{1, 6, std::string(56, 'a')}, {2, 6, std::string(56, 'b')}}, 3, 7);
  EXPECT_THAT(log.texts(), ElementsAre(std::string(56, 'a'), std::string(56, 'b')));
}

TEST(Log, BeforeLinux618SuchABlockBeganAnew) {
  Log log;
  log.places =
      log.builder.add_log({{1, 6, std::string(56, 'a')}, {2, 6, std::string(56, 'b')}}, 3, 7);
  // Its text stands at the start, and `next` is behind it in the following wrap.
  const VirtAddr desc = log.places.descs + (101 % 8) * LinuxBuilder::kDescSize;
  log.builder.write_u64(desc + 16, 128 + 64);
  log.builder.write_u64(log.places.data, 101);
  log.builder.write(log.places.data + 8, as_bytes(std::string(56, 'c')));
  EXPECT_THAT(log.texts(), ElementsAre(std::string(56, 'c')))
      << "and the first one's text was overwritten";
}

TEST(Log, RecordsWithoutTextAreKept) {
  Log log;
  log.places = log.builder.add_log({{1, 6, "a"}, {2, 6, ""}, {3, 6, "c"}});
  EXPECT_THAT(log.texts(), ElementsAre("a", "", "c"));
}

TEST(Log, RecordsBeingWrittenOrGoneAreSkipped) {
  for (const auto& [state, kept] :
       {std::pair<std::uint64_t, bool>{0, false}, {1, true}, {2, true}, {3, false}}) {
    Log log;
    log.places = log.builder.add_log({{1, 6, "a"}, {2, 6, "b"}});
    log.builder.write_u64(log.places.descs + (101 % 32) * LinuxBuilder::kDescSize,
                          101 | state << 62);
    EXPECT_THAT(log.texts(), SizeIs(kept ? 2 : 1)) << state;
  }
}

TEST(Log, ATextLengthThatLiesIsCutToItsBlock) {
  Log log;
  log.places = log.builder.add_log({{1, 6, "abc"}, {2, 6, "next"}});
  log.builder.write_u32(log.places.infos + (100 % 32) * LinuxBuilder::kInfoSize + 16, 0xffff);
  const auto texts = log.texts();
  ASSERT_THAT(texts, SizeIs(2));
  EXPECT_EQ(texts[0].size(), 8u) << "no byte of the next record";
}

TEST(Log, PositionsThatLieAreDamage) {
  for (const auto& [begin, next] :
       {std::pair<std::uint64_t, std::uint64_t>{8, 8}, {8, 0}, {512, 16}, {1000, 1004}}) {
    Log log;
    log.places = log.builder.add_log({{1, 6, "abc"}, {2, 6, "next"}});
    const VirtAddr desc = log.places.descs + (100 % 32) * LinuxBuilder::kDescSize;
    log.builder.write_u64(desc + 8, begin);
    log.builder.write_u64(desc + 16, next);
    EXPECT_THAT(log.texts(), ElementsAre("next")) << begin;
    EXPECT_THAT(log.problems, SizeIs(1)) << begin;
  }
}

TEST(Log, SizesThatLieAreCorrupt) {
  struct Case {
    const char* what;
    std::uint64_t offset;
    std::uint32_t value;
  };
  for (const Case& c : std::initializer_list<Case>{{"records", 0, 25},
                                                   {"records", 0, 64},
                                                   {"records", 0, 0xffffffff},
                                                   {"bytes", 48, 32},
                                                   {"bytes", 48, 0xffffffff}}) {
    Log log;
    log.places = log.builder.add_log({{1, 6, "abc"}});
    log.builder.write_u32(log.places.ring + c.offset, c.value);
    EXPECT_THAT(log.read(), FailsWith(ErrorCode::kCorrupt, "log buffer")) << c.what << c.value;
  }
}

TEST(Log, ARingThatEndsOutsideMemoryIsNotRead) {
  Log log;
  log.places = log.builder.add_log({{1, 6, "abc"}});
  log.builder.write_u32(log.places.ring, 20);
  const auto records = log.read();
  EXPECT_THAT(records, FailsWith(ErrorCode::kNotMapped, "log buffer"));
}

TEST(Log, ARingLargerThanAnyLogIsNotAllocated) {
  // Only the first and the last page of each array are looked up before all of it is allocated.
  // With page tables of its own making a guest maps both ends: here 2^24 descriptors of 4096 bytes,
  // 64 GiB.
  Log log;
  log.places = log.builder.add_log({{1, 6, "abc"}});
  log.builder.vmcoreinfo() =
      replaced(log.builder.vmcoreinfo(), "SIZE(prb_desc)=24", "SIZE(prb_desc)=4096");
  log.builder.write_u32(log.places.ring, 24);
  log.builder.write_u64(log.places.ring + 8, 0xffffc00000000000);
  log.builder.write_u64(log.places.ring + 16, 0xffffc00000000000);
  log.builder.tables().map("ffffc00000000000 -> 0 4K rw");
  log.builder.tables().map(hex(0xffffc00000000000 + (std::uint64_t{1} << 36) - 4096).substr(2) +
                           " -> 0 4K rw");
  log.builder.tables().map(hex(0xffffc00000000000 + (std::uint64_t{88} << 24) - 4096).substr(2) +
                           " -> 0 4K rw");
  EXPECT_THAT(log.read(), FailsWith(ErrorCode::kCorrupt, ""))
      << "std::bad_alloc, or the machine's memory";
}

TEST(Log, WithoutItsDescriptionIsNotFound) {
  Log log;
  log.places = log.builder.add_log({{1, 6, "abc"}});
  log.builder.vmcoreinfo() =
      replaced(log.builder.vmcoreinfo(), "OFFSET(prb_desc.state_var)", "OFFSET(other)");
  EXPECT_THAT(log.read(), FailsWith(ErrorCode::kNotFound, "prb_desc.state_var"));
}

}  // namespace
}  // namespace hvd::linux_guest
