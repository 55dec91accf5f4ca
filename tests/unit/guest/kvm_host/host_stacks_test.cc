// What of a kernel stack is kept.
#include "tests/support/host_builder.h"

namespace hvd::linux_guest {
namespace {

TEST(HostStacks, OfAStackOnlyWhatIsAliveAndTheKernels) {
  TestHost host;
  for (std::uint64_t page = 0; page < kPages; ++page) host.page(page, 0);
  const auto pages = host.open();
  ASSERT_THAT(pages, Succeeds());
  const std::uint64_t number = host.number(host.stack);
  ASSERT_EQ(kind(*pages, number), HostKind::kStacks);
  Bytes page(kPageSize, std::byte{0x77});
  pages->redact(number, HostKind::kStacks, page);
  for (std::size_t at = 0; at < kPageSize; at += 8) {
    const bool live = at >= 0x800, user = at >= kPageSize - 168 && at < kPageSize - 40;
    EXPECT_EQ(page[at] != std::byte{0}, live && !user) << at;
  }
}

// A list of VMs that is cut off may lack the one that this process runs.
TEST(HostStacks, OfAStackThatMayBeAVmmsOnlyAddresses) {
  TestHost host;
  for (std::uint64_t page = 0; page < kPages; ++page) host.page(page, 0);
  host.builder.write_u64(host.stack + 0x900, LinuxBuilder::kText + 0x1234);
  host.builder.write_u64(host.stack + 0x908, host.stack.value + 0x930);
  host.machines_known = false;
  const auto pages = host.open();
  ASSERT_THAT(pages, Succeeds());
  const std::uint64_t number = host.number(host.stack);
  Bytes page(kPageSize);
  ASSERT_THAT(host.image.memory->read(LinuxBuilder::physical(host.stack), page), Succeeds());
  pages->redact(number, HostKind::kStacks, page);
  for (std::size_t at = 0; at < kPageSize; at += 8)
    EXPECT_EQ(page[at] != std::byte{0}, at == 0x900 || at == 0x908) << at;
}

// The CPU may be at any place of it, or on another stack for now.
TEST(HostStacks, OfARunningTasksStackWhatItsCpuSays) {
  TestHost host;
  for (std::uint64_t page = 0; page < kPages; ++page) host.page(page, 0);
  host.cpu(host.task);
  host.builder.write_u32(host.task + 104, 1);  // on_cpu
  ASSERT_THAT(host.open(), Succeeds());
  const std::uint64_t number = host.number(host.stack);
  const auto kept_from = [&]() -> std::size_t {
    std::vector<std::string> problems;
    const auto pages = HostPages::open(host.host(true), HostDetail::kSecure, problems);
    EXPECT_THAT(pages, Succeeds());
    Bytes page(kPageSize, std::byte{0x77});
    pages->redact(number, HostKind::kStacks, page);
    std::size_t at = 0;
    while (at < kPageSize && page[at] == std::byte{0}) at += 8;
    return at;
  };
  host.registers({{Reg::kRsp, host.stack.value + 0x400}});
  EXPECT_EQ(kept_from(), 0x400u);
  host.registers({{Reg::kRsp, host.stack.value + 0x400}, {Reg::kCs, 0x33}});  // in user mode
  EXPECT_EQ(kept_from(), kPageSize);
  host.registers({{Reg::kRsp, 0xfffffe0000000100}});  // on a stack that nobody knows
  EXPECT_EQ(kept_from(), kPageSize);
}

}  // namespace
}  // namespace hvd::linux_guest
