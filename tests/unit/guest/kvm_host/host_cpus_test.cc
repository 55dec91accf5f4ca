// Which registers of a host's CPUs may be seen.
#include "guest/kvm_host/host_cpus.h"

#include "tests/support/host_builder.h"

namespace hvd::linux_guest {
namespace {

TEST(HostCpus, RegistersThatMayBeAProcesssAreNotSeen) {
  TestHost host;
  for (std::uint64_t page = 0; page < kPages; ++page) host.page(page, 0);
  host.cpu(host.task);
  const VirtAddr entry = VirtAddr{LinuxBuilder::kText} + 0x8000;
  host.builder.symbol("__entry_text_start", entry);
  host.builder.symbol("__entry_text_end", entry + 0x1000);
  ASSERT_THAT(host.open(), Succeeds());
  const auto seen = [&](bool known = true) {
    return visible_registers(host.host(known), 0).value();
  };
  const std::uint64_t inside = LinuxBuilder::kText + 0x100;
  host.registers({{Reg::kRip, inside}});
  EXPECT_EQ(seen().get(Reg::kR15), kAnyValue);
  EXPECT_EQ(seen(false).get(Reg::kR15), std::nullopt);
  EXPECT_EQ(seen(false).get(Reg::kRip), inside);
  host.registers({{Reg::kRip, inside}, {Reg::kCs, 0x33}});
  EXPECT_EQ(seen().get(Reg::kR15), std::nullopt);
  EXPECT_EQ(seen().get(Reg::kRbp), std::nullopt);
  // In the kernel already, but before it has put the registers away.
  host.registers({{Reg::kRip, entry.value + 0x20}});
  EXPECT_EQ(seen().get(Reg::kR15), std::nullopt);
  EXPECT_EQ(seen().get(Reg::kRsp), kAnyValue);
  host.registers({{Reg::kRip, inside}});
  // Neither says where it was.
  host.registers({{Reg::kRip, inside}});
  host.image.registers[0].forget(Reg::kCs);
  host.kernel = Kernel::open(host.image).value();
  EXPECT_EQ(seen().get(Reg::kR15), std::nullopt);
  host.registers({{Reg::kRip, inside}});
  host.image.registers[0].forget(Reg::kRip);
  host.kernel = Kernel::open(host.image).value();
  EXPECT_EQ(seen().get(Reg::kR15), std::nullopt);
  host.registers({{Reg::kRip, inside}});
  host.machines.emplace_back().mm = VirtAddr{kAnyValue};  // that of the task
  EXPECT_EQ(seen().get(Reg::kR15), std::nullopt);
  EXPECT_EQ(seen().get(Reg::kRbp), kAnyValue);
  // A process that exits has no memory any more, a kernel thread never had.
  host.machines.back().mm = VirtAddr{1};
  EXPECT_EQ(seen().get(Reg::kR15), kAnyValue);
  host.builder.write_u64(host.task + 120, 0);
  host.registers({{Reg::kRip, inside}});
  EXPECT_EQ(seen().get(Reg::kR15), std::nullopt);
  host.builder.write_u32(host.task + 108, 0x00200000);  // PF_KTHREAD
  host.registers({{Reg::kRip, inside}});
  EXPECT_EQ(seen().get(Reg::kR15), kAnyValue);
}

}  // namespace
}  // namespace hvd::linux_guest
