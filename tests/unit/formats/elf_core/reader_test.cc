// ELF notes and core files, honest, cut short and hostile.
#include "formats/elf_core/reader.h"

#include "tests/support/damage.h"
#include "tests/support/elf_builder.h"
#include "tests/support/matchers.h"

namespace hvd::elf {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

constexpr std::uint64_t kTop = ~std::uint64_t{0};

Result<Image> open(Bytes bytes) {
  return open_core(std::make_shared<BufferSource>(std::move(bytes)), "core");
}
Result<Core> read(Bytes bytes) { return read_core(BufferSource(std::move(bytes))); }

std::string text_at(const Image& image, std::uint64_t at, std::size_t size) {
  Bytes out(size);
  const auto done = image.memory->read(PhysAddr{at}, out);
  return done ? to_string(out) : error_code_name(done.error().code);
}

ProgramHeader header_of(std::uint32_t type, std::uint64_t paddr, std::uint64_t offset,
                        std::uint64_t filesz, std::uint64_t memsz) {
  ProgramHeader out{};
  out.type = type;
  out.paddr = paddr;
  out.offset = offset;
  out.filesz = filesz;
  out.memsz = memsz;
  return out;
}

Registers some_registers(std::uint32_t id) {
  Registers registers;
  registers.id = id;
  registers.set(Reg::kRip, 0xffffffff81000000 + id);
  registers.set(Reg::kRsp, 0xffffc90000000000);
  registers.set(Reg::kCs, 0x10);
  return registers;
}

TEST(ElfNotes, ComeBackWhateverTheirSizes) {
  Bytes segment;
  std::vector<Note> notes;
  for (const char* name : {"", "A", "CORE", "VMCOREINFO", "QEMU"}) {
    for (const std::size_t size : {0u, 1u, 3u, 4u, 5u, 100u}) {
      notes.push_back({name, static_cast<std::uint32_t>(notes.size()), filled(size, 'n')});
      append_note(segment, notes.back());
      EXPECT_EQ(segment.size() % 4, 0u);
    }
  }
  const auto parsed = parse_notes(segment);
  ASSERT_THAT(parsed, Succeeds());
  ASSERT_EQ(parsed->size(), notes.size());
  for (std::size_t i = 0; i < notes.size(); ++i) {
    EXPECT_EQ((*parsed)[i].name, notes[i].name);
    EXPECT_EQ((*parsed)[i].type, notes[i].type);
    EXPECT_EQ((*parsed)[i].contents, notes[i].contents);
  }
}

TEST(ElfNotes, AreExactBytes) {
  Bytes segment;
  append_note(segment, {"CORE", 1, to_bytes("xyz")});
  EXPECT_EQ(to_string(segment), std::string("\x05\0\0\0\x03\0\0\0\x01\0\0\0"
                                            "CORE\0\0\0\0"
                                            "xyz\0",
                                            24));
}

TEST(ElfNotes, OneThatRunsPastTheEndIsCorrupt) {
  Bytes segment;
  append_note(segment, {"CORE", 1, filled(8, 'x')});
  for (const std::uint32_t lie : {9u, 1000u, 0x7fffffffu, 0xffffffffu, 0xfffffffdu}) {
    Bytes long_contents = segment, long_name = segment;
    set_field(long_contents, 0, &NoteHeader::descsz, lie);
    set_field(long_name, 0, &NoteHeader::namesz, lie + 16);
    EXPECT_THAT(parse_notes(long_contents), FailsWith(ErrorCode::kCorrupt, "ELF notes")) << lie;
    if (lie < 0xfffffff0u) {
      EXPECT_THAT(parse_notes(long_name), FailsWith(ErrorCode::kCorrupt, "ELF notes")) << lie;
    }
  }
  EXPECT_THAT(parse_notes(truncated_at(segment, segment.size() - 1)),
              FailsWith(ErrorCode::kCorrupt, ""));
  EXPECT_THAT(parse_notes(filled(11, 'x')), Succeeds()) << "less than a header is padding";
}

TEST(ElfNotes, TheLastPaddingMayBeMissing) {
  Bytes segment;
  append_note(segment, {"CORE", 1, filled(5, 'x')});
  EXPECT_THAT(parse_notes(truncated_at(segment, segment.size() - 3)), Succeeds());
}

TEST(ElfNotes, RegistersComeBackThroughPrstatus) {
  Registers in = some_registers(0);
  for (const Reg reg : kUserOrder) in.set(reg, 0x1000 + static_cast<std::uint64_t>(reg));
  in.set(Reg::kCs, 0x33);
  const auto out = registers_from({prstatus_note(in, 42)});
  ASSERT_EQ(out.size(), 1u);
  EXPECT_EQ(out[0], in) << "each register in its own place";
}

// As a kernel that dies saves its CPUs: what it was on has the kernel's own base in place.
TEST(ElfNotes, InTheKernelPrstatusHasTheSwappedGsBase) {
  Registers in;
  in.set(Reg::kCs, 0x10);
  in.set(Reg::kGsBase, 0x7000);
  const auto out = registers_from({prstatus_note(in, 42)});
  EXPECT_FALSE(out[0].knows(Reg::kGsBase));
  EXPECT_EQ(out[0].get(Reg::kKernelGsBase), 0x7000u);
}

TEST(ElfNotes, ShortOrForeignOnesAreNoRegisters) {
  Note note = prstatus_note(some_registers(0), 1);
  note.contents.pop_back();
  EXPECT_THAT(registers_from({note}), IsEmpty());
  note = prstatus_note(some_registers(0), 1);
  note.name = "LINUX";
  EXPECT_THAT(registers_from({note}), IsEmpty());
}

TEST(ElfNotes, QemuCompletesPrstatusInOrder) {
  QemuCpuState state{};
  state.version = 1;
  state.size = sizeof state;
  state.cr[3] = 0x1234000;
  state.kernel_gs_base = 77;
  const Note first{"QEMU", 0, Bytes(bytes_of(state).begin(), bytes_of(state).end())};
  state.cr[3] = 0x5678000;
  Bytes second(bytes_of(state).begin(), bytes_of(state).end());
  second.resize(second.size() - 8);  // older QEMU: without kernel_gs_base
  const auto cpus = registers_from({prstatus_note(some_registers(0), 1),
                                    prstatus_note(some_registers(1), 2),
                                    first,
                                    {"QEMU", 0, second},
                                    first});
  ASSERT_EQ(cpus.size(), 2u) << "a QEMU note without a PRSTATUS is nothing";
  EXPECT_EQ(cpus[0][Reg::kCr3], 0x1234000u);
  EXPECT_EQ(cpus[0].get(Reg::kKernelGsBase), 77u);
  EXPECT_EQ(cpus[1][Reg::kCr3], 0x5678000u);
  EXPECT_FALSE(cpus[1].knows(Reg::kKernelGsBase));
}

TEST(ElfNotes, WhatIsNotKnownStaysSo) {
  Registers some, all = some_registers(1);
  some.set(Reg::kRax, 7);
  some.set(Reg::kKernelGsBase, 8);
  const std::vector<Note> notes{prstatus_note(some, 1), prstatus_note(all, 2), qemu_note(some),
                                qemu_note(all)};
  EXPECT_TRUE(registers_from(notes)[0].knows(Reg::kRip)) << "as others write it";
  std::vector<Note> ours = notes;
  ours.push_back(known_note({some, all}));
  const auto cpus = registers_from(ours);
  ASSERT_EQ(cpus.size(), 2u);
  EXPECT_EQ(cpus[0].known(), some.known());
  EXPECT_EQ(cpus[0].get(Reg::kKernelGsBase), 8u);
  EXPECT_EQ(cpus[1].get(Reg::kRip), all.get(Reg::kRip));
  ours.back() = known_note({some});  // of other CPUs than these
  EXPECT_TRUE(registers_from(ours)[0].knows(Reg::kRip));
}

TEST(ElfCore, GivesMemoryByPhysicalAddress) {
  const auto image = open(ElfCoreBuilder()
                              .load(0x2000, as_bytes("second"))
                              .load(0x1000, as_bytes("first"), 16)
                              .note({"VMCOREINFO", 0, to_bytes("OSRELEASE=x")})
                              .note(prstatus_note(some_registers(0), 1))
                              .build());
  ASSERT_THAT(image, Succeeds());
  EXPECT_THAT(image->problems, IsEmpty());
  EXPECT_EQ(text_at(*image, 0x1001, 4), "irst");
  EXPECT_EQ(text_at(*image, 0x2000, 6), "second");
  EXPECT_EQ(text_at(*image, 0x1004, 2), "not captured") << "memsz beyond filesz was not written";
  EXPECT_EQ(text_at(*image, 0x1800, 1), "not captured");
  EXPECT_EQ(image->memory->extent_at(PhysAddr{0x1008}).kind, Extent::Kind::kAbsent);
  EXPECT_EQ(image->memory->extent_at(PhysAddr{0x1800}).kind, Extent::Kind::kHole);
  EXPECT_THAT(image->registers, SizeIs(1));
  EXPECT_THAT(image->notes, SizeIs(2));
}

TEST(ElfCore, RefusesWhatIsNone) {
  struct Case {
    const char* what;
    std::function<void(ElfCoreBuilder&)> change;
    ErrorCode code;
  };
  for (const Case& c : std::initializer_list<Case>{
           {"32 bit", [](auto& b) { b.header.ident[4] = 1; }, ErrorCode::kUnsupported},
           {"big endian", [](auto& b) { b.header.ident[5] = 2; }, ErrorCode::kUnsupported},
           {"program", [](auto& b) { b.header.type = 2; }, ErrorCode::kUnsupported},
           {"other machine", [](auto& b) { b.header.machine = 183; }, ErrorCode::kUnsupported},
           {"entry size", [](auto& b) { b.header.phentsize = 32; }, ErrorCode::kCorrupt},
           {"headers behind the end", [](auto& b) { b.header.phoff = 1u << 30; },
            ErrorCode::kCorrupt},
           {"headers at the end of the world", [](auto& b) { b.header.phoff = kTop; },
            ErrorCode::kCorrupt},
           {"more headers than bytes", [](auto& b) { b.header.phnum = 0xfffe; },
            ErrorCode::kCorrupt},
           {"extended count without a section",
            [](auto& b) {
              b.header.phnum = kPhnumExtended;
              b.header.shoff = kTop;
            },
            ErrorCode::kCorrupt}}) {
    ElfCoreBuilder builder;
    builder.load(0, as_bytes("abc"));
    c.change(builder);
    EXPECT_THAT(open(builder.build()), FailsWith(c.code, "")) << c.what;
  }
  EXPECT_THAT(open({}), FailsWith(ErrorCode::kCorrupt, ""));
  EXPECT_THAT(open(truncated_at(ElfCoreBuilder().build(), 63)), FailsWith(ErrorCode::kCorrupt, ""));
}

TEST(ElfCore, TakesTheExtendedHeaderCount) {
  ElfCoreBuilder builder;
  builder.load(0x1000, as_bytes("abc"));
  builder.header.phnum = kPhnumExtended;
  Bytes bytes = builder.build();
  SectionHeader section{};
  section.info = 1;
  set_field(bytes, 0, &FileHeader::shoff, bytes.size());
  append(bytes, bytes_of(section));
  const auto image = open(bytes);
  ASSERT_THAT(image, Succeeds());
  EXPECT_EQ(text_at(*image, 0x1000, 3), "abc");
  set_field(bytes, bytes.size() - sizeof section, &SectionHeader::info, 0xffffffffu);
  EXPECT_THAT(open(bytes), FailsWith(ErrorCode::kCorrupt, "4294967295"));
  set_field(bytes, bytes.size() - sizeof section, &SectionHeader::info, 1000u);
  EXPECT_THAT(open(bytes), FailsWith(ErrorCode::kCorrupt, "program headers"));
}

TEST(ElfCore, EveryPrefixIsToldToBeCutShort) {
  const Bytes whole =
      ElfCoreBuilder().load(0x1000, filled(500, 'a')).load(0x2000, filled(500, 'b')).build();
  const std::size_t headers = sizeof(FileHeader) + 2 * sizeof(ProgramHeader);
  for (std::size_t size = 0; size < whole.size(); size += 7) {
    const auto image = open(truncated_at(whole, size));
    if (size < headers) {
      EXPECT_FALSE(image) << size;
      continue;
    }
    ASSERT_THAT(image, Succeeds()) << size;
    EXPECT_EQ(image->state, PartitionState::kIncomplete);
    EXPECT_THAT(image->problems, testing::Contains(HasSubstr("cut short"))) << size;
    const std::size_t first = std::min<std::size_t>(size - headers, 500);
    EXPECT_EQ(text_at(*image, 0x1000, first), std::string(first, 'a'));
    EXPECT_EQ(text_at(*image, 0x1000 + first, 1), first < 500 ? "not captured" : "not captured");
  }
}

TEST(ElfCore, OverlappingLoadsKeepTheFirst) {
  const auto image = open(ElfCoreBuilder()
                              .load(0x1000, filled(100, 'a'))
                              .load(0x1032, filled(100, 'b'))
                              .load(0x1010, filled(10, 'c'))
                              .build());
  ASSERT_THAT(image, Succeeds());
  EXPECT_EQ(text_at(*image, 0x1000, 100), std::string(100, 'a'));
  EXPECT_EQ(text_at(*image, 0x1064, 50), std::string(50, 'b'));
  EXPECT_EQ(text_at(*image, 0x1010, 10) + text_at(*image, 0x1032, 10), std::string(20, 'a'))
      << "also where another begins";
  EXPECT_EQ(text_at(*image, 0x1096, 1), "not captured");
  EXPECT_THAT(image->memory->ranges(), testing::ElementsAre(PhysRange{PhysAddr{0x1000}, 150}));
}

TEST(ElfCore, LyingLoadsAreBounded) {
  const auto image =
      open(ElfCoreBuilder()
               .load(0x1000, as_bytes("good"))
               .lie(header_of(kLoad, 0x10000, 0, kTop, kTop / 2))              // more than the file
               .lie(header_of(kLoad, 0x8000000000000000, kTop - 5, 100, 100))  // offset wraps
               .lie(header_of(kLoad, kTop - 10, 64, 100, 100))                 // address wraps
               .lie(header_of(kLoad, 0x3000, 64, 200, 8))                      // filesz above memsz
               .build());
  ASSERT_THAT(image, Succeeds());
  EXPECT_EQ(image->state, PartitionState::kIncomplete);
  EXPECT_THAT(image->problems, testing::Contains(HasSubstr("out of range")));
  EXPECT_EQ(text_at(*image, 0x1000, 4), "good");
  EXPECT_EQ(text_at(*image, 0x3008, 1), "not captured");
  EXPECT_EQ(text_at(*image, 0x8000000000000000, 1), "not captured");
  EXPECT_EQ(text_at(*image, kTop - 10, 1), "not captured");
  EXPECT_EQ(text_at(*image, kTop, 2), "not captured");
}

TEST(ElfCore, NotesThatLieAreRefused) {
  EXPECT_THAT(read(ElfCoreBuilder().lie(header_of(kNote, 0, 0, 1u << 30, 0)).build()),
              FailsWith(ErrorCode::kCorrupt, "notes"));
  EXPECT_THAT(read(ElfCoreBuilder().lie(header_of(kNote, 0, kTop, 16, 0)).build()),
              FailsWith(ErrorCode::kCorrupt, "notes"));
  EXPECT_THAT(read(ElfCoreBuilder().lie(header_of(kNote, 0, 64, 4096, 0)).build()),
              FailsWith(ErrorCode::kCorrupt, "notes"));
}

TEST(ElfCore, NotesAreBoundedInAll) {
  // Each PT_NOTE may be 64 MiB, and 2^20 headers may name the same bytes.
  Bytes segment;
  append_note(segment, {"X", 1, Bytes(1u << 20)});
  ElfCoreBuilder builder;
  ProgramHeader program{};
  program.type = kNote;
  builder.segment(program, segment);
  Bytes bytes = builder.build();
  // 200 further headers, all pointing at the one segment.
  ProgramHeader first{};
  std::memcpy(&first, bytes.data() + sizeof(FileHeader), sizeof first);
  const std::uint64_t table = bytes.size();
  for (int i = 0; i < 200; ++i) append(bytes, bytes_of(first));
  set_field(bytes, 0, &FileHeader::phoff, table);
  set_field(bytes, 0, &FileHeader::phnum, std::uint16_t{200});
  const auto core = read(bytes);
  std::size_t total = 0;
  if (core) {
    for (const Note& note : core->notes) total += note.contents.size();
  }
  EXPECT_LE(total, std::size_t{64} << 20) << "a file of 1 MiB gives 200 MiB of notes";
}

TEST(ElfCore, ManyLoadsAreWalkedInTime) {
  // 2^20 headers are allowed; extent_at looks through all ranges for each address outside a load.
  ElfCoreBuilder builder;
  constexpr std::uint64_t kLoads = 60000;
  for (std::uint64_t i = 0; i < kLoads; ++i)
    builder.lie(header_of(kLoad, i * 0x2000, 0, 0, 0x1000));
  const auto image = open(builder.build());
  ASSERT_THAT(image, Succeeds());
  const auto start = std::chrono::steady_clock::now();
  for (const PhysRange& range : image->memory->ranges()) image->memory->extent_at(range.begin);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(1))
      << "quadratic: 2^20 headers take minutes";
}

}  // namespace
}  // namespace hvd::elf
