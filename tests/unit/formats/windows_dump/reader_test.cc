// Windows dumps: what is written is read again, and what cannot be true is refused.
#include "formats/windows_dump/reader.h"

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "base/json.h"
#include "base/text.h"
#include "formats/windows_dump/triage_writer.h"
#include "formats/windows_dump/writer.h"
#include "tests/support/fake_memory.h"
#include "tests/support/matchers.h"
#include "tests/support/temporary_folder.h"

namespace hvd::windows {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

Header64 header() {
  Header64 out{};
  std::memcpy(out.signature, kHeaderSignature.data(), sizeof out.signature);
  out.machine = kMachineAmd64;
  out.bugcheck_code = 0xd1;
  out.bugcheck_parameters[3] = 0x1234;
  Registers registers;
  registers.set(Reg::kRip, 0xfffff80000001000);
  registers.set(Reg::kR15, 0x15);
  registers.set(Reg::kRflags, 0x246);
  const Context64 context = context_of(registers);
  std::memcpy(out.context, &context, sizeof context);
  return out;
}

struct Written {
  FakeMemory memory{{{PhysAddr{0}, 0x10000}, {PhysAddr{0x40000}, 0x8000}}};
  MemoryDumpPlan plan;
  TemporaryFolder folder;
  std::vector<std::string> damage;

  Written() {
    for (std::uint64_t at = 0; at < 0x50000; at += kPageSize)
      memory.write(PhysAddr{at}, Bytes(kPageSize, static_cast<std::byte>(at >> 12)));
    plan.header = header();
    plan.pieces = {{PhysAddr{0}, 0x10000}, {PhysAddr{0x40000}, 0x8000}};
    plan.replaced[0x41] = Bytes(kPageSize, std::byte{0xee});
  }
  std::string write(bool full, bool kernel = false) {
    const std::string path = folder.path("x.dmp");
    OutputFile file = OutputFile::create(path, "").value();
    Progress progress("test", 1);
    const auto done = full ? write_full_dump(plan, memory, file, progress, damage)
                           : write_bitmap_dump(plan, kernel, memory, file, progress, damage);
    EXPECT_THAT(done, Succeeds());
    EXPECT_THAT(file.commit(), Succeeds());
    return folder.read("x.dmp");
  }
};

Result<Image> open(const std::string& bytes) {
  return open_windows_dump(
      std::make_shared<BufferSource>(Bytes(as_bytes(bytes).begin(), as_bytes(bytes).end())), "x");
}

template <WireStruct T>
void set(std::string& bytes, std::size_t at, T value) {
  std::memcpy(bytes.data() + at, &value, sizeof value);
}

TEST(WindowsDump, FullAndBitmapAreReadAgain) {
  for (const bool full : {true, false}) {
    Written written;
    const std::string bytes = written.write(full);
    EXPECT_GE(bytes.size(), 16u << 20);  // LeechCore
    const auto image = open(bytes);
    ASSERT_THAT(image, Succeeds());
    EXPECT_THAT(image->problems, IsEmpty());
    EXPECT_THAT(image->memory->ranges(), testing::ElementsAreArray(written.plan.pieces));
    for (std::uint64_t at = 0; at < 0x50000; at += kPageSize) {
      Bytes page(kPageSize);
      const bool there = at < 0x10000 || (at >= 0x40000 && at < 0x48000);
      ASSERT_EQ(image->memory->read(PhysAddr{at}, page).has_value(), there) << at;
      const std::byte expected = at == 0x41000 ? std::byte{0xee} : static_cast<std::byte>(at >> 12);
      if (there) {
        EXPECT_EQ(page, Bytes(kPageSize, expected)) << at;
      }
    }
    ASSERT_THAT(image->registers, SizeIs(1));
    EXPECT_EQ(image->registers[0][Reg::kR15], 0x15u);
    ASSERT_THAT(image->notes, SizeIs(1));
    EXPECT_EQ(image->notes[0].contents.size(), sizeof(Header64));
  }
}

// What independent readers insist on.
TEST(WindowsDump, BitmapsKeepToWhatReadersDemand) {
  Written written;
  const std::string bytes = written.write(false, true);
  BitmapHeader head{};
  std::memcpy(&head, bytes.data() + sizeof(Header64), sizeof head);
  EXPECT_EQ(std::string(head.signature, 8), "SDMPDUMP");
  EXPECT_EQ(head.first_page % kPageSize, 0u);
  EXPECT_LE(head.first_page, 16u << 20);
  EXPECT_EQ(head.pages % 64, 0u);
  EXPECT_EQ(head.present_pages, 24u);
  Context64 context{};
  std::memcpy(&context, bytes.data() + offsetof(Header64, context), sizeof context);
  le32 copy;
  std::memcpy(&copy, context.float_save + 0x18, sizeof copy);
  EXPECT_EQ(context.mx_csr, copy);
  Header64 read{};
  std::memcpy(&read, bytes.data(), sizeof read);
  EXPECT_EQ(read.dump_type, 6u);
  EXPECT_EQ(read.run_count, 2u);
  EXPECT_EQ(read.page_count, 24u);
}

TEST(WindowsDump, WhatCannotBeTrueIsRefused) {
  Written written;
  const std::string full = written.write(true), bitmap = written.write(false);
  const auto refused = [](std::string bytes, auto change, ErrorCode code, const char* what) {
    change(bytes);
    EXPECT_THAT(open(bytes), FailsWith(code, what));
  };
  refused(full, [](std::string& b) { b.replace(4, 4, "DUMP"); }, ErrorCode::kUnsupported, "32-bit");
  refused(
      full, [](std::string& b) { set(b, 0x30, le32(0x14c)); }, ErrorCode::kUnsupported, "0x14c");
  refused(full, [](std::string& b) { set(b, 0xf98, le32(2)); }, ErrorCode::kUnsupported, "type 2");
  refused(full, [](std::string& b) { set(b, 0x88, le32(43)); }, ErrorCode::kCorrupt, "43 runs");
  refused(full, [](std::string& b) { set(b, 0x98, le64(~0ull)); }, ErrorCode::kCorrupt, "run of");
  refused(full, [](std::string& b) { b.resize(0x1000); }, ErrorCode::kCorrupt, "");
  refused(bitmap, [](std::string& b) { b[0x2000] = 'X'; }, ErrorCode::kCorrupt, "bitmap header");
  refused(
      bitmap, [](std::string& b) { set(b, 0x2030, le64(~0ull >> 8)); }, ErrorCode::kCorrupt,
      "pages");
  refused(
      bitmap, [](std::string& b) { set(b, 0x2020, le64(0x2010)); }, ErrorCode::kCorrupt,
      "in the bitmap");
}

TEST(WindowsDump, ACountThatIsWrongAndAFileCutShortAreTold) {
  Written written;
  std::string bytes = written.write(false);
  set(bytes, 0x2028, le64(7));
  auto image = open(bytes);
  ASSERT_THAT(image, Succeeds());
  EXPECT_THAT(image->problems, testing::ElementsAre(HasSubstr("24 pages")));
  bytes.resize(0x3000 + 5 * kPageSize);
  image = open(bytes);
  ASSERT_THAT(image, Succeeds());
  EXPECT_THAT(image->problems, SizeIs(2));
  Bytes page(kPageSize);
  EXPECT_THAT(image->memory->read(PhysAddr{0x4000}, page), Succeeds());
  EXPECT_FALSE(image->memory->read(PhysAddr{0x5000}, page));
}

TEST(WindowsDump, RunsAreRead) {
  std::string bytes(0x2030, '\0');
  Header64 head = header();
  head.dump_type = 10;
  std::memcpy(bytes.data(), &head, sizeof head);
  RunsHeader runs{};
  runs.size = 0x40;
  std::memcpy(runs.signature, "RDMPDUMP", 8);
  runs.first_page = 0x3000;
  std::memcpy(bytes.data() + 0x2000, &runs, sizeof runs);
  for (const PhysicalRun& run : {PhysicalRun{5, 2}, PhysicalRun{0x100, 1}})
    bytes += to_string(bytes_of(run));
  bytes.resize(0x3000);
  bytes += std::string(0x1000, 'a') + std::string(0x1000, 'b') + std::string(0x1000, 'c');
  const auto image = open(bytes);
  ASSERT_THAT(image, Succeeds());
  EXPECT_THAT(image->problems, IsEmpty());
  EXPECT_EQ(std::uint64_t{image->memory->read<le64>(PhysAddr{0x6ff8}).value()},
            0x6262626262626262u);
  EXPECT_EQ(std::uint64_t{image->memory->read<le64>(PhysAddr{0x100000}).value()},
            0x6363636363636363u);
  EXPECT_FALSE(image->memory->read<le64>(PhysAddr{0x101000}));
}

TriagePlan triage_plan() {
  TriagePlan plan;
  plan.header = header();
  plan.prcb = Bytes(64, std::byte{1}), plan.process = Bytes(64, std::byte{2});
  plan.thread = Bytes(64, std::byte{3});
  plan.stack_at = VirtAddr{0xffffa00000001000};
  plan.stack = Bytes(256, std::byte{4});
  plan.debugger_data = Bytes(0x380, std::byte{5});
  plan.header.debugger_data = 0xfffff80000008000;
  plan.drivers = {{"ntoskrnl.exe", VirtAddr{0xfffff80000000000}, 0x1000, 7, 8},
                  {"b.sys", {}, 1, 2, 3}};
  plan.unloaded = {{"gone.sys", VirtAddr{0x10}, VirtAddr{0x20}}};
  plan.blocks = {{VirtAddr{0xfffff80000003000}, Bytes(100, std::byte{6})},
                 {VirtAddr{0xfffff80000003020}, Bytes(200, std::byte{6})}};
  return plan;
}

TEST(WindowsDump, TriageIsReadAgain) {
  const Bytes file = triage_dump(triage_plan()).value();
  const auto image = open(to_string(file));
  ASSERT_THAT(image, Succeeds());
  EXPECT_THAT(image->problems, IsEmpty());
  const Facts& facts = image->facts;
  EXPECT_EQ(facts.address_space, AddressKind::kVirtual);
  ASSERT_EQ(facts.drivers.size(), 2u);
  EXPECT_EQ(facts.drivers[0].name, "ntoskrnl.exe");
  EXPECT_EQ(facts.drivers[1].timestamp, 3u);
  ASSERT_FALSE(facts.unloaded_drivers.empty());
  EXPECT_EQ(facts.unloaded_drivers[0].name, "gone.sys");
  Bytes bytes(0xe0);
  ASSERT_THAT(image->memory->read(PhysAddr{0xfffff80000003000}, bytes), Succeeds());
  EXPECT_EQ(bytes, Bytes(0xe0, std::byte{6}));
  bytes.resize(256);
  ASSERT_THAT(image->memory->read(PhysAddr{0xffffa00000001000}, bytes), Succeeds());
  EXPECT_EQ(bytes, Bytes(256, std::byte{4}));
}

TEST(WindowsDump, ATriageDumpOfHostileOffsetsIsNoCrash) {
  const std::string good = to_string(triage_dump(triage_plan()).value());
  for (std::size_t at = 0x2000; at < 0x2080; at += 4) {
    for (const std::uint32_t value : {~0u, 0x7fffffffu, 0x2001u, 0u}) {
      std::string bytes = good;
      set(bytes, at, le32(value));
      const auto image = open(bytes);
      if (!image) continue;
      for (const PhysRange& range : image->memory->ranges()) {
        Bytes page(std::min<std::uint64_t>(range.size, kPageSize));
        EXPECT_THAT(image->memory->read(range.begin, page), Succeeds()) << at << " " << value;
      }
    }
  }
}

// A dump that Windows 10 wrote, where it is at hand.
TEST(WindowsDump, ARealOneHasWhatAnotherReaderFound) {
  const char* folder = std::getenv("HVDUMP_TEST_DATA");
  const std::string path =
      (folder ? std::string(folder) : std::string(HVD_SOURCE_FOLDER) + "/../shared/data") +
      "/triage_x64.dmp";
  const auto source = FileSource::open(path);
  if (!source) GTEST_SKIP() << path << " is not there";
  const auto image = open_windows_dump(*source, "x");
  ASSERT_THAT(image, Succeeds());
  EXPECT_THAT(image->problems, IsEmpty());
  EXPECT_EQ(image->facts.drivers.size(), 151u);
  EXPECT_EQ(image->facts.data_blocks, 1831u);
  EXPECT_GT(image->facts.secondary_data.size(), 0u);
  // The header has the exception's registers.
  EXPECT_EQ(image->registers[0][Reg::kRip], 0xfffff8048b58334cu);
  // Every block is where the file says.
  const auto at = [&](std::uint64_t address) {
    return std::uint64_t{image->memory->read<le64>(PhysAddr{address}).value()};
  };
  EXPECT_EQ(at(0xffff850429890ee8), 0xfffff8047be0f4e1u);
  EXPECT_EQ(at(0xfffff8047c600b20 + 0x18), 0xfffff8047ba00000u);
}

}  // namespace
}  // namespace hvd::windows
