// VMCOREINFO: parsing, and finding the one that is true.
#include "guest/linux/find_vmcoreinfo.h"
#include "tests/support/damage.h"
#include "tests/support/linux_builder.h"
#include "tests/support/matchers.h"

namespace hvd::linux_guest {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

TEST(VmcoreInfo, ReadsEveryKindOfLine) {
  const auto info = VmcoreInfo::parse(std::string_view(
      "OSRELEASE=6.1.0\nSYMBOL(x)=ffffffff81000000\nNUMBER(phys_base)=-16777216\n"
      "NUMBER(mask)=0x10\nOFFSET(list_head.next)=8\nSIZE(page)=64\nKERNELOFFSET=2a000000\n"
      "no mark\n=empty name\nTAIL=1\0GARBAGE=1\n",
      190));
  ASSERT_THAT(info, Succeeds());
  EXPECT_EQ(info->release(), "6.1.0");
  EXPECT_EQ(info->symbol("x"), VirtAddr{0xffffffff81000000});
  EXPECT_EQ(info->phys_base(), -16777216);
  EXPECT_EQ(info->number("mask"), 16);
  EXPECT_EQ(info->offset("list_head.next"), 8u);
  EXPECT_EQ(info->size("page"), 64u);
  EXPECT_EQ(info->kaslr_offset(), 0x2a000000u);
  EXPECT_EQ(info->text("TAIL"), "1");
  EXPECT_EQ(info->text("GARBAGE"), std::nullopt) << "behind a NUL";
  EXPECT_EQ(info->symbol("absent"), std::nullopt);
  EXPECT_EQ(info->build_id(), "");
}

TEST(VmcoreInfo, TakesNoHalfNumbers) {
  for (const char* value :
       {"", " 1", "1 ", "1x", "0x", "--1", "99999999999999999999", "-", "1\r"}) {
    const auto info = VmcoreInfo::parse("OSRELEASE=x\nNUMBER(n)=" + std::string(value) +
                                        "\nSIZE(n)=" + value + "\n");
    ASSERT_THAT(info, Succeeds());
    EXPECT_EQ(info->number("n"), std::nullopt) << value;
    EXPECT_EQ(info->size("n"), std::nullopt) << value;
  }
}

TEST(VmcoreInfo, BeginsWithOsreleaseOrIsNone) {
  EXPECT_THAT(VmcoreInfo::parse(""), FailsWith(ErrorCode::kCorrupt, "OSRELEASE"));
  EXPECT_THAT(VmcoreInfo::parse("PAGESIZE=4096\nOSRELEASE=x\n"),
              FailsWith(ErrorCode::kCorrupt, "OSRELEASE"));
}

TEST(FindVmcoreInfo, BelievesAnHonestNote) {
  LinuxBuilder builder;
  const auto found = find_vmcoreinfo(builder.build());
  ASSERT_THAT(found, Succeeds());
  EXPECT_EQ(found->info.release(), builder.kRelease);
  EXPECT_THAT(found->where, HasSubstr("note"));
  EXPECT_THAT(found->rejected, IsEmpty());
}

TEST(FindVmcoreInfo, FindsTheOneInMemoryWhenTheNoteIsMissing) {
  LinuxBuilder builder;
  const auto found = find_vmcoreinfo(builder.build(false));
  ASSERT_THAT(found, Succeeds());
  EXPECT_THAT(found->where, HasSubstr("guest memory at 0x"));
}

TEST(FindVmcoreInfo, ALyingNoteLosesToTheTruthInMemory) {
  LinuxBuilder builder;
  Image image = builder.build();
  image.notes[0].contents =
      to_bytes(replaced(builder.vmcoreinfo(), builder.kRelease, "6.6.7-test"));
  const auto found = find_vmcoreinfo(image);
  ASSERT_THAT(found, Succeeds());
  EXPECT_EQ(found->info.release(), builder.kRelease);
  ASSERT_THAT(found->rejected, SizeIs(1));
  EXPECT_THAT(found->rejected[0], HasSubstr("6.6.7-test"));
}

TEST(FindVmcoreInfo, OfTwoInMemoryTheTrueOneIsTaken) {
  // The first page is what a guest inside the guest, or the kernel before a kexec, left behind.
  LinuxBuilder builder;
  builder.memory().write(PhysAddr{0x3000},
                         as_bytes(replaced(builder.vmcoreinfo(), "SYMBOL(init_uts_ns)=ffffffff80",
                                           "SYMBOL(init_uts_ns)=ffffffff8f")));
  const auto found = find_vmcoreinfo(builder.build(false));
  ASSERT_THAT(found, Succeeds());
  EXPECT_EQ(found->info.release(), builder.kRelease);
  EXPECT_THAT(found->rejected, SizeIs(1));
  EXPECT_THAT(found->rejected[0], HasSubstr("0x3000"));
}

TEST(FindVmcoreInfo, LiesAreRejectedAndToldWhy) {
  struct Case {
    const char* what;
    std::string from, to;
  };
  LinuxBuilder builder;
  const Image honest = builder.build(false);
  for (const Case& c : std::initializer_list<Case>{
           {"another root", "swapper_pg_dir)=ffffffff80010000", "swapper_pg_dir)=ffffffff80020000"},
           {"root below the kernel", "swapper_pg_dir)=ffffffff80010000", "swapper_pg_dir)=1000"},
           {"no root", "SYMBOL(swapper_pg_dir)", "SYMBOL(other)"},
           {"no uts", "SYMBOL(init_uts_ns)", "SYMBOL(other)"},
           {"another phys_base", "phys_base)=0", "phys_base)=4096"},
           {"five levels", "l5_enabled)=0", "l5_enabled)=1"},
           {"another name offset", "uts_namespace.name)=8", "uts_namespace.name)=9"},
           {"offset beyond", "uts_namespace.name)=8",
            "uts_namespace.name)=18446744073709551615"}}) {
    const auto info = VmcoreInfo::parse(replaced(builder.vmcoreinfo(), c.from, c.to));
    ASSERT_THAT(info, Succeeds());
    EXPECT_FALSE(prove(*info, honest)) << c.what;
  }
  EXPECT_THAT(prove(VmcoreInfo::parse(builder.vmcoreinfo()).value(), honest), Succeeds());
}

TEST(FindVmcoreInfo, ACpuInTheKernelMustAgree) {
  LinuxBuilder builder;
  Image image = builder.build();
  // The CPU's own tables put init_uts_ns elsewhere: the note's tables are a forgery or another
  // kernel's.
  PageTableBuilder other(builder.memory(), PhysAddr{0x700000});
  other.map("ffffffff80400000 -> 200000 2M rw");
  Registers cpu;
  cpu.set(Reg::kCr0, 0x80000001);
  cpu.set(Reg::kCr3, 0x700000);
  cpu.set(Reg::kCr4, 0x20);
  cpu.set(Reg::kCs, 0x10);
  cpu.set(Reg::kRip, LinuxBuilder::kText);
  image.registers = {cpu};
  EXPECT_THAT(find_vmcoreinfo(image), FailsWith(ErrorCode::kNotFound, "CPU 0"));
  image.registers[0].set(Reg::kRip, 0x400000);
  EXPECT_THAT(find_vmcoreinfo(image), Succeeds()) << "in user mode its tables may lack the kernel";
}

TEST(FindVmcoreInfo, MemoryWithoutAnyIsNotFound) {
  Image image;
  image.memory = std::make_shared<FakeMemory>(1u << 20);
  EXPECT_THAT(find_vmcoreinfo(image), FailsWith(ErrorCode::kNotFound, "no true VMCOREINFO"));
}

TEST(FindVmcoreInfo, AThousandLiesInMemoryAreBounded) {
  auto memory = std::make_shared<FakeMemory>(64u << 20);
  for (std::uint64_t at = 0; at < (64u << 20); at += 16 * kPageSize)
    memory->write(PhysAddr{at}, as_bytes("OSRELEASE=lie\n"));
  Image image;
  image.memory = memory;
  EXPECT_THAT(find_vmcoreinfo(image), FailsWith(ErrorCode::kNotFound, "page table"));
}

/// One absent range that ends where addresses do.
class MemoryAtTheTop final : public PhysicalMemory {
 public:
  const std::vector<PhysRange>& ranges() const override { return ranges_; }
  Extent extent_at(PhysAddr at) const override {
    if (++asked_ > 1000) throw std::runtime_error("asked without end");
    Extent extent;
    if (ranges_[0].contains(at)) {
      extent.kind = Extent::Kind::kAbsent;
      extent.range = {at, ranges_[0].size - (at.value - ranges_[0].begin.value)};
    } else {
      extent.range = {at, ranges_[0].begin.value - at.value};
    }
    return extent;
  }

 private:
  Result<std::size_t> read_some(PhysAddr at, MutableBytes) const override {
    return Error{ErrorCode::kNotCaptured, hex(at.value)};
  }
  const std::vector<PhysRange> ranges_{{PhysAddr{0xfffffffffff00000}, 0xfffff}};
  mutable int asked_ = 0;
};

TEST(FindVmcoreInfo, ARangeAtTheTopOfTheAddressSpaceEnds) {
  // Rounding the next address up to a page wraps to 0: the walk begins anew, for ever. An ELF core
  // with one PT_LOAD at 0xfffffffffff00000 and filesz 0 is enough.
  Image image;
  image.memory = std::make_shared<MemoryAtTheTop>();
  EXPECT_THAT(find_vmcoreinfo(image), FailsWith(ErrorCode::kNotFound, ""));
}

}  // namespace
}  // namespace hvd::linux_guest
