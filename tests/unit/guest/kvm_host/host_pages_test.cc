// Which pages of a host are kept, and what in them is blanked.
#include "base/text.h"
#include "tests/support/host_builder.h"

namespace hvd::linux_guest {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::Not;

TEST(HostPages, OnlyWhatIsKnownIsKept) {
  TestHost host;
  for (std::uint64_t page = 0; page < kPages; ++page) host.page(page, 0);
  const std::uint64_t text = host.number(VirtAddr{LinuxBuilder::kText});
  host.page(text, kReserved);
  host.page(text + 1, 0);                       // given back after the boot
  host.page(1, 0, 0xffff000000000001);          // anonymous
  host.page(2, 0, 0xffff000000000000);          // page cache
  host.page(8, 0, 0, ~std::uint32_t{0x80}, 2);  // a free block of four
  host.page(20, kReserved | kPoisoned);
  host.page(21, 0, 0, ~std::uint32_t{0x200});  // a page table
  host.page(22, kReserved);                    // reserved, by whom nobody says
  const auto pages = host.open();
  ASSERT_THAT(pages, Succeeds());
  EXPECT_EQ(kind(*pages, text), HostKind::kImage);
  EXPECT_EQ(kind(*pages, text + 1), HostKind::kOther);
  EXPECT_EQ(kind(*pages, 1), HostKind::kProcesses);
  EXPECT_EQ(kind(*pages, 2), HostKind::kPageCache);
  const auto block = pages->kinds(7, 6);
  EXPECT_EQ(block[0], HostKind::kOther);
  for (std::size_t i = 1; i < 5; ++i) EXPECT_EQ(block[i], HostKind::kFree) << i;
  EXPECT_EQ(block[5], HostKind::kOther);
  EXPECT_EQ(kind(*pages, 20), HostKind::kPoisoned);
  EXPECT_EQ(kind(*pages, 21), HostKind::kPageTables);
  EXPECT_EQ(kind(*pages, 22), HostKind::kOther);
}

TEST(HostPages, ObjectsByTheirCache) {
  TestHost host;
  for (std::uint64_t page = 0; page < kPages; ++page) host.page(page, 0);
  const VirtAddr good = host.cache("mm_struct", 1024, 1), merged = host.cache("pid", 128, 3),
                 buffers = host.cache("kmalloc-1k", 1024, 1),
                 new_one = host.cache("whatever", 64, 1);
  host.page(30, kSlab, good.value);
  host.page(31, kSlab, merged.value);
  host.page(32, kSlab, buffers.value);
  host.page(33, kSlab, new_one.value);
  host.page(34, kSlab, 0x1234);  // no cache at all
  {
    const auto pages = host.open();
    ASSERT_THAT(pages, Succeeds());
    EXPECT_EQ(kind(*pages, 30), HostKind::kObjects);
    for (const std::uint64_t page : {31u, 32u, 33u, 34u})
      EXPECT_EQ(kind(*pages, page), HostKind::kOtherObjects) << page;
  }
  std::vector<std::string> problems;
  const auto full = HostPages::open(host.host(true), HostDetail::kFull, problems);
  ASSERT_THAT(full, Succeeds());
  for (const std::uint64_t page : {31u, 32u, 33u, 34u})
    EXPECT_EQ(kind(*full, page), HostKind::kOtherObjects) << page;
  EXPECT_THAT(problems, Contains(HasSubstr("level full excludes")));  // for want of symbols
}

// A host that level full can be had of: with a VM, so that there is what must not be kept.
struct FullHost : TestHost {
  KvmBuilder kvm{builder, KvmBuilder::Vendor::kAmd};
  static constexpr std::uint64_t kDirectMap = 0xffff888000000000;
  std::vector<std::string> problems;

  FullHost() {
    for (std::uint64_t number = 0; number < kPages; ++number) page(number, 0);
    builder.write_u64(builder.place(8, "page_offset_base"), kDirectMap);
    cache("something else", 64, 1);
  }
  Result<HostPages> open_full() {
    builder.add_btf(KvmBuilder::types());
    builder.add_kallsyms(KallsymsOrder::kSince64, false, true);
    image = builder.build();
    kernel = Kernel::open(image).value();
    machines = read_virtual_machines(*kernel, {}, problems);
    return HostPages::open(host(machines_known), HostDetail::kFull, problems);
  }
};

TEST(HostPages, LevelFullKeepsAddressesOfWhatMayHoldAnything) {
  FullHost host;
  const VirtAddr kmalloc = host.cache("kmalloc-1k", 1024, 1), fpu = host.cache("x86_fpu", 512, 1),
                 keys = host.cache("key_jar", 256, 1), merged = host.cache("pid", 128, 3);
  host.page(30, kSlab, kmalloc.value);
  host.page(31, kSlab, merged.value);
  host.page(32, kSlab, 0x1234);  // no cache at all
  host.page(33, kReserved);
  host.page(34, kSlab, fpu.value);
  host.page(35, kSlab, keys.value);
  host.page(36, 0, 0xffff000000000001);  // anonymous
  const VirtAddr unknown = host.cache("whatever", 64, 1), merged_fpu = host.cache("x86_fpu", 64, 2);
  host.page(37, kSlab, unknown.value);
  host.page(38, kSlab, merged_fpu.value);
  host.builder.write_u32(host.map + 39 * 64 + 52, 0);  // on a CPU's list of free pages
  const auto pages = host.open_full();
  ASSERT_THAT(pages, Succeeds());
  EXPECT_THAT(host.problems, Not(Contains(HasSubstr("level full"))));
  for (const std::uint64_t page : {30u, 31u, 32u, 33u, 37u, 40u})
    EXPECT_EQ(kind(*pages, page), HostKind::kAddressesOnly) << page;
  EXPECT_EQ(kind(*pages, 39), HostKind::kFree);
  for (const std::uint64_t page : {34u, 35u, 38u})
    EXPECT_EQ(kind(*pages, page), HostKind::kOtherObjects) << page;
  EXPECT_EQ(kind(*pages, 36), HostKind::kProcesses);

  const std::vector<std::pair<std::uint64_t, bool>> words{
      {LinuxBuilder::kText + 0x1234, true},
      {host.map.value + 5 * 64, true},  // a struct page
      {FullHost::kDirectMap + 0x1000, true},
      {FullHost::kDirectMap + LinuxBuilder::kSize, false},  // behind all memory
      {FullHost::kDirectMap - 1, false},
      {kAnyValue, false},
      {1, false},
      {0x7f0012345678, false},
      {0xffffc90000001000, false}};
  Bytes page(kPageSize, std::byte{0x41});
  for (std::size_t i = 0; i < words.size(); ++i)
    std::memcpy(page.data() + i * 8, &words[i].first, 8);
  EXPECT_EQ(pages->redact(30, HostKind::kAddressesOnly, page), kPageSize - 3 * 8);
  for (std::size_t i = 0; i < kPageSize / 8; ++i) {
    std::uint64_t word = 0;
    std::memcpy(&word, page.data() + i * 8, 8);
    EXPECT_EQ(word, i < words.size() && words[i].second ? words[i].first : 0) << i;
  }
}

TEST(HostPages, APoisonedPageOfAGuestsStateStaysPoisoned) {
  FullHost host;
  host.page(host.number(host.kvm.state.run), kPoisoned);
  const auto pages = host.open_full();
  ASSERT_THAT(pages, Succeeds());
  EXPECT_EQ(kind(*pages, host.number(host.kvm.state.run)), HostKind::kPoisoned);
}

TEST(HostPages, WhatKvmHasOfAGuestIsKeptAtNoLevel) {
  FullHost host;
  const auto full = host.open_full();
  ASSERT_THAT(full, Succeeds());
  std::vector<std::string> problems;
  const auto secure = HostPages::open(host.host(true), HostDetail::kSecure, problems);
  ASSERT_THAT(secure, Succeeds());
  const KvmBuilder::State& at = host.kvm.state;
  for (const auto& pages : {*full, *secure}) {
    for (const VirtAddr state :
         {at.run, at.port_data, at.fpu, at.fpu + kPageSize, at.local_apic, at.vmcb})
      EXPECT_EQ(kind(pages, host.number(state)), HostKind::kGuestState) << hex(state.value);
  }
  // The structures that say what there is are kept by their bytes.
  Bytes page(kPageSize, std::byte{0x41});
  const std::uint64_t number = host.number(host.kvm.machine);
  EXPECT_EQ(kind(*secure, number), HostKind::kVirtualMachines);
  EXPECT_EQ(kind(*full, number), HostKind::kAddressesOnly);
  full->redact(number, HostKind::kAddressesOnly, page);
  const std::uint64_t offset = host.kvm.machine.value % kPageSize;
  EXPECT_EQ(page[offset], std::byte{0x41});     // mm
  EXPECT_EQ(page[offset + 128], std::byte{0});  // nothing that is known
}

TEST(HostPages, LevelFullIsNoMoreThanSecureWhileAVmMayBeHidden) {
  FullHost host;
  host.machines_known = false;
  host.page(30, kSlab, host.cache("whatever", 64, 1).value);
  const auto pages = host.open_full();
  ASSERT_THAT(pages, Succeeds());
  EXPECT_THAT(host.problems, Contains(HasSubstr("there may be VMs")));
  EXPECT_EQ(kind(*pages, 30), HostKind::kOtherObjects);
  EXPECT_EQ(kind(*pages, 40), HostKind::kOther);
}

TEST(HostPages, LevelFullIsNoMoreThanSecureWhileAGuestsStateMayBeAnywhere) {
  FullHost host;
  host.builder.write_u64(host.kvm.vcpu + KvmBuilder::kArch + 168, 0x1234);  // of no FPU state
  host.page(30, kSlab, host.cache("whatever", 64, 1).value);
  const auto pages = host.open_full();
  ASSERT_THAT(pages, Succeeds());
  EXPECT_THAT(host.problems, Contains(HasSubstr("level full excludes")));
  EXPECT_EQ(kind(*pages, 30), HostKind::kOtherObjects);
  EXPECT_EQ(kind(*pages, 40), HostKind::kOther);
}

TEST(HostPages, BehindATaskIsItsFpuState) {
  TestHost host;
  for (std::uint64_t page = 0; page < kPages; ++page) host.page(page, 0);
  const VirtAddr tasks = host.cache("task_struct", 1000, 1);
  host.page(40, kSlab, tasks.value);
  host.page(41, 0);
  host.builder.write_u64(host.map + 41 * 64 + 8, (host.map + 40 * 64).value | 1);  // its tail
  const auto pages = host.open();
  ASSERT_THAT(pages, Succeeds());
  ASSERT_EQ(kind(*pages, 41), HostKind::kTasks);
  Bytes page(kPageSize, std::byte{0x77});
  EXPECT_GT(pages->redact(41, HostKind::kTasks, page), 3000u);
  // Objects of 1000 bytes from page 40 on, of which the first 160 are the structure.
  for (std::size_t i = 0; i < kPageSize; ++i)
    EXPECT_EQ(page[i] != std::byte{0}, (kPageSize + i) % 1000 < 160) << i;
}

}  // namespace
}  // namespace hvd::linux_guest
