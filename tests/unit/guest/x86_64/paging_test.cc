#include "guest/x86_64/virtual_memory.h"
#include "tests/support/matchers.h"
#include "tests/support/page_table_builder.h"

namespace hvd {
namespace {

using testing::IsEmpty;

std::string text_of(const std::vector<PageMapping>& mappings) {
  std::string out;
  for (const PageMapping& m : mappings) {
    out += hex(m.virt.value) + " -> " + hex(m.phys.value) + " " + hex(m.size) + " r" +
           (m.writable ? "w" : "") + (m.executable ? "x" : "") + "\n";
  }
  return out;
}

std::string all_of(const PageTables& tables, std::size_t limit = 1000) {
  std::size_t unreadable = 0;
  const auto mappings =
      tables.mappings(VirtAddr{0}, VirtAddr{~std::uint64_t{0}}, limit, unreadable);
  return text_of(mappings) + (unreadable ? std::to_string(unreadable) + " unreadable\n" : "");
}

TEST(PageTables, TranslateAllThreePageSizes) {
  FakeMemory memory(1u << 20);
  PageTableBuilder builder(memory, PhysAddr{0x1000});
  builder.map(R"(
    7f0000001000     -> 3000         4K rw
    7f0000002000     -> 9000         4K r
    ffffffff81000000 -> 1000000      2M rx
    ffff888040000000 -> 40000000     1G rw
  )");
  const PageTables tables = builder.tables();
  EXPECT_EQ(tables.translate(VirtAddr{0x7f0000001abc}).value(), PhysAddr{0x3abc});
  EXPECT_EQ(tables.translate(VirtAddr{0x7f0000002fff}).value(), PhysAddr{0x9fff});
  EXPECT_EQ(tables.translate(VirtAddr{0xffffffff811fffff}).value(), PhysAddr{0x11fffff});
  EXPECT_EQ(tables.translate(VirtAddr{0xffff88807fffffff}).value(), PhysAddr{0x7fffffff});
  EXPECT_THAT(tables.translate(VirtAddr{0x7f0000003000}),
              FailsWith(ErrorCode::kNotMapped, "0x7f0000003000"));
  EXPECT_THAT(tables.translate(VirtAddr{0xffffffff81200000}), FailsWith(ErrorCode::kNotMapped, ""));
  EXPECT_THAT(tables.translate(VirtAddr{0}), FailsWith(ErrorCode::kNotMapped, ""));
}

TEST(PageTables, FiveLevelsReachFurther) {
  FakeMemory memory(1u << 20);
  PageTableBuilder builder(memory, PhysAddr{0x1000}, true);
  builder.map(R"(
    ff11000001000000 -> 1000000 2M rw
    ffffffff81000000 -> 2000000 2M rx
    00fe000000003000 -> 5000    4K rw
  )");
  EXPECT_EQ(builder.tables().translate(VirtAddr{0xff11000001000010}).value(), PhysAddr{0x1000010});
  EXPECT_EQ(builder.tables().translate(VirtAddr{0x00fe000000003010}).value(), PhysAddr{0x5010});
  EXPECT_EQ(all_of(builder.tables()),
            "0xfe000000003000 -> 0x5000 0x1000 rw\n"
            "0xff11000001000000 -> 0x1000000 0x200000 rw\n"
            "0xffffffff81000000 -> 0x2000000 0x200000 rx\n");
}

TEST(PageTables, MappingsJoinWhatContinuesWithTheSameRights) {
  FakeMemory memory(1u << 20);
  PageTableBuilder builder(memory, PhysAddr{0x1000});
  builder.map(R"(
    1000 -> 5000 4K rw
    2000 -> 6000 4K rw
    3000 -> 7000 4K r
    4000 -> 8000 4K r
    5000 -> 1000 4K r
    ffffffffc0000000 -> 200000 2M rx
    ffffffffc0200000 -> 400000 2M rx
  )");
  EXPECT_EQ(all_of(builder.tables()),
            "0x1000 -> 0x5000 0x2000 rw\n"
            "0x3000 -> 0x7000 0x2000 r\n"
            "0x5000 -> 0x1000 0x1000 r\n"
            "0xffffffffc0000000 -> 0x200000 0x400000 rx\n");
}

TEST(PageTables, MappingsAreCutToWhatWasAskedFor) {
  FakeMemory memory(1u << 20);
  PageTableBuilder builder(memory, PhysAddr{0x1000});
  builder.map("ffffffff80000000 -> 200000 2M rw");
  std::size_t unreadable = 0;
  const PageTables tables = builder.tables();
  EXPECT_EQ(text_of(tables.mappings(VirtAddr{0xffffffff80001000}, VirtAddr{0xffffffff80002fff}, 10,
                                    unreadable)),
            "0xffffffff80001000 -> 0x201000 0x2000 rw\n");
  EXPECT_THAT(
      tables.mappings(VirtAddr{0xffffffff80200000}, VirtAddr{~std::uint64_t{0}}, 10, unreadable),
      IsEmpty());
  EXPECT_THAT(tables.mappings(VirtAddr{0}, VirtAddr{0xffffffff7fffffff}, 10, unreadable),
              IsEmpty());
  EXPECT_EQ(unreadable, 0u);
}

TEST(PageTables, RightsOfEveryLevelCount) {
  FakeMemory memory(1u << 20);
  PageTableBuilder builder(memory, PhysAddr{0x1000});
  builder.map("1000 -> 5000 4K rwx");
  const std::uint64_t directory = memory.read<le64>(PhysAddr{0x1000}).value();
  memory.write_u64(PhysAddr{0x1000}, (directory & ~std::uint64_t{2}) | std::uint64_t{1} << 63);
  EXPECT_EQ(all_of(builder.tables()), "0x1000 -> 0x5000 0x1000 r\n");
}

TEST(PageTables, TablesThatAreNotThereAreCounted) {
  FakeMemory memory(1u << 20);
  PageTableBuilder builder(memory, PhysAddr{0x1000});
  builder.map("1000 -> 5000 4K rw\nffffffff80000000 -> 200000 2M rw");
  memory.lose_page(PhysAddr{0x2000});
  EXPECT_EQ(all_of(builder.tables()), "0xffffffff80000000 -> 0x200000 0x200000 rw\n1 unreadable\n");
  EXPECT_THAT(builder.tables().translate(VirtAddr{0x1000}),
              FailsWith(ErrorCode::kNotCaptured, "page table"));
}

TEST(PageTables, StopAtTheLimitAndSaySo) {
  FakeMemory memory(1u << 20);
  PageTableBuilder builder(memory, PhysAddr{0x1000});
  builder.map("1000 -> 9000 4K rw\n3000 -> 7000 4K rw\n5000 -> 5000 4K rw");
  EXPECT_EQ(all_of(builder.tables(), 2),
            "0x1000 -> 0x9000 0x1000 rw\n0x3000 -> 0x7000 0x1000 rw\n1 unreadable\n");
}

TEST(PageTables, ATableThatNamesItselfEnds) {
  // Every entry of the root names the root: 512^4 walks, unless somebody counts.
  FakeMemory memory(1u << 20);
  for (std::uint64_t i = 0; i < 512; ++i) memory.write_u64(PhysAddr{0x1000 + 8 * i}, 0x1003);
  for (const bool five_level : {false, true}) {
    const PageTables tables(memory, PhysAddr{0x1000}, five_level);
    EXPECT_EQ(tables.translate(VirtAddr{0x123456}).value(), PhysAddr{0x1456});
    const std::size_t before = memory.reads();
    std::size_t unreadable = 0;
    tables.mappings(VirtAddr{0}, VirtAddr{~std::uint64_t{0}}, 1u << 20, unreadable);
    EXPECT_GT(unreadable, 0u) << "cut short, and told";
    EXPECT_LE(memory.reads() - before, 3u << 20);
  }
}

TEST(PageTables, ATreeOfTablesWithoutAMappingEnds) {
  // Upper levels name each other everywhere, the last level maps nothing: no mapping ever fills the
  // limit.
  FakeMemory memory(1u << 20);
  for (std::uint64_t table = 1; table <= 3; ++table) {
    for (std::uint64_t i = 0; i < 512; ++i)
      memory.write_u64(PhysAddr{0x1000 * table + 8 * i}, 0x1000 * (table + 1) + 3);
  }
  std::size_t unreadable = 0;
  const PageTables tables(memory, PhysAddr{0x1000}, false);
  EXPECT_THAT(tables.mappings(VirtAddr{0}, VirtAddr{~std::uint64_t{0}}, 100, unreadable),
              IsEmpty());
  EXPECT_EQ(unreadable, 1u);
}

TEST(PageTables, OfACpuNeedItsControlRegisters) {
  FakeMemory memory(1u << 20);
  Registers cpu;
  EXPECT_THAT(PageTables::of(memory, cpu), FailsWith(ErrorCode::kNotFound, "control registers"));
  cpu.set(Reg::kCr0, 0x80050033);
  cpu.set(Reg::kCr3, 0x1234007);
  cpu.set(Reg::kCr4, 0x20);
  ASSERT_THAT(PageTables::of(memory, cpu), Succeeds());
  EXPECT_EQ(PageTables::of(memory, cpu)->root(), PhysAddr{0x1234000});
  EXPECT_FALSE(PageTables::of(memory, cpu)->five_level());
  cpu.set(Reg::kCr4, 0x1020);
  EXPECT_TRUE(PageTables::of(memory, cpu)->five_level());
  cpu.set(Reg::kCr4, 0);
  EXPECT_THAT(PageTables::of(memory, cpu), FailsWith(ErrorCode::kNotFound, "long mode"));
  cpu.set(Reg::kCr4, 0x20);
  cpu.set(Reg::kCr0, 0x33);
  EXPECT_THAT(PageTables::of(memory, cpu), FailsWith(ErrorCode::kNotFound, "long mode"));
}

TEST(VirtualMemory, ReadsAcrossPagesThatLieApart) {
  FakeMemory memory(1u << 20);
  PageTableBuilder builder(memory, PhysAddr{0x10000});
  builder.map("1000 -> 5000 4K rw\n2000 -> 3000 4K rw");
  memory.write(PhysAddr{0x5ffc}, as_bytes("abcd"));
  memory.write(PhysAddr{0x3000}, as_bytes("efgh"));
  const VirtualMemory memory_of_cpu(memory, builder.tables());
  EXPECT_EQ(to_string(memory_of_cpu.read_bytes(VirtAddr{0x1ffc}, 8).value()), "abcdefgh");
  EXPECT_EQ(memory_of_cpu.read_string(VirtAddr{0x1ffc}, 100).value(), "abcdefgh");
  EXPECT_EQ(memory_of_cpu.read_string(VirtAddr{0x1ffc}, 6).value(), "abcdef") << "the limit";
  EXPECT_EQ(memory_of_cpu.read_u32(VirtAddr{0x1ffe}).value(), 0x66656463u);
  EXPECT_EQ(memory_of_cpu.read_unsigned(VirtAddr{0x1ffc}, 3).value(), 0x636261u);
  EXPECT_THAT(memory_of_cpu.read_unsigned(VirtAddr{0x1ffc}, 9),
              FailsWith(ErrorCode::kUnsupported, "9 bytes"));
  EXPECT_THAT(memory_of_cpu.read_bytes(VirtAddr{0x2ff0}, 17),
              FailsWith(ErrorCode::kNotMapped, "0x3000"));
  memory.write(PhysAddr{0x3000}, Bytes(kPageSize, std::byte{'x'}));
  EXPECT_THAT(memory_of_cpu.read_string(VirtAddr{0x2000}, 5000),
              FailsWith(ErrorCode::kNotMapped, ""))
      << "without an end";
}

}  // namespace
}  // namespace hvd
