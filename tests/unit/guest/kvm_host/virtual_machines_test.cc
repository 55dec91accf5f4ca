// Virtual machines of a host whose KVM is built in, and what KVM has of their guests.
#include "guest/kvm_host/virtual_machines.h"

#include "guest/kvm_host/kvm_state.h"
#include "tests/support/kvm_builder.h"
#include "tests/support/matchers.h"

namespace hvd::linux_guest {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;
using Vendor = KvmBuilder::Vendor;

struct Host {
  LinuxBuilder builder;
  KvmBuilder kvm;
  Image image;
  std::unique_ptr<Kernel> kernel;
  std::vector<std::string> problems;

  explicit Host(Vendor vendor) : kvm(builder, vendor) {}
  std::vector<VirtualMachine> machines() {
    builder.add_btf(KvmBuilder::types());
    builder.add_kallsyms(KallsymsOrder::kSince64, false, true);
    image = builder.build();
    kernel = Kernel::open(image).value();
    return read_virtual_machines(*kernel, {}, problems);
  }
  VirtAddr arch(std::uint64_t offset) const { return kvm.vcpu + KvmBuilder::kArch + offset; }
};

TEST(Kvm, BuiltIntoTheKernel) {
  Host host(Vendor::kAmd);
  host.builder.write_u32(host.arch(KvmBuilder::kAvailable), 0xffff);
  host.builder.write_u64(host.arch(15 * 8), 0x1515);
  host.builder.write_u64(host.kvm.state.vmcb + 64 + 160 + 2 * 8, 0xffffffff81001234);  // save.rip
  const auto machines = host.machines();
  EXPECT_THAT(host.problems, IsEmpty());
  ASSERT_THAT(machines, SizeIs(1));
  const VirtualMachine& machine = machines.front();
  EXPECT_EQ(machine.name, "alpha");
  EXPECT_EQ(machine.uuid, "u-u-i-d");
  EXPECT_EQ(machine.pid, 77);
  ASSERT_THAT(machine.slots, SizeIs(1));
  EXPECT_EQ(machine.slots[0].range.begin.value, 0x100000u);
  EXPECT_EQ(machine.slots[0].range.size, 0x40000u);
  EXPECT_EQ(machine.slots[0].host.value, 0x7f0000000000u);
  ASSERT_THAT(machine.cpus, SizeIs(1));
  EXPECT_EQ(machine.cpus[0].pid, 78);
  EXPECT_TRUE(machine.cpus[0].in_guest);
  EXPECT_EQ(machine.cpus[0].registers.get(Reg::kR15), 0x1515u);
  EXPECT_EQ(machine.cpus[0].registers.get(Reg::kRip), 0xffffffff81001234u);
}

// It cannot be asked yet, and without it nothing can have made a VM.
TEST(Kvm, WhileItsModuleIsLoadedThereAreNoMachines) {
  Host host(Vendor::kAmd);
  (void)host.machines();
  Module kvm;
  kvm.name = "kvm";
  EXPECT_THAT(KvmTypes::open(*host.kernel, {kvm}), FailsWith(ErrorCode::kNotFound, "vm_list"));
  kvm.live = false;
  Module amd;
  amd.name = "kvm_amd";
  EXPECT_FALSE(KvmTypes::open(*host.kernel, {kvm, amd}));  // somebody uses it, whatever its state
  const auto types = KvmTypes::open(*host.kernel, {kvm});
  ASSERT_THAT(types, Succeeds());
  EXPECT_EQ(*types, nullptr);
}

// A VMCS is for the CPU alone: what KVM has not read out of it is not known.
TEST(Kvm, OfIntelsGuestsWhatKvmHasReadItself) {
  Host host(Vendor::kIntel);
  host.builder.write_u32(host.arch(KvmBuilder::kAvailable), 0xffef | 1u << 18);  // not rsp; cr3
  host.builder.write_u64(host.arch(15 * 8), 0x1515);
  host.builder.write_u64(host.arch(16 * 8), 0x7777);  // rip, stale
  host.builder.write_u64(host.arch(144), 0x1000);
  host.builder.write_u64(host.arch(152), 0xd01);
  host.builder.write_u64(host.kvm.vcpu + 608, 0xffff888007c00000);
  const auto machines = host.machines();
  EXPECT_THAT(host.problems, IsEmpty());
  ASSERT_THAT(machines, SizeIs(1));
  const Registers& cpu = machines[0].cpus.at(0).registers;
  EXPECT_EQ(cpu.get(Reg::kR15), 0x1515u);
  EXPECT_EQ(cpu.get(Reg::kCr3), 0x1000u);
  EXPECT_EQ(cpu.get(Reg::kEfer), 0xd01u);
  EXPECT_EQ(cpu.get(Reg::kKernelGsBase), 0xffff888007c00000u);
  for (const Reg reg : {Reg::kRsp, Reg::kRip, Reg::kRflags, Reg::kCr0, Reg::kGsBase, Reg::kCs})
    EXPECT_EQ(cpu.get(reg), std::nullopt) << static_cast<int>(reg);
}

TEST(Kvm, AnMsrThatIsInTheCpuIsNotKnown) {
  Host host(Vendor::kIntel);
  host.builder.write_u32(host.kvm.vcpu + 600, 1);  // guest_state_loaded
  const auto machines = host.machines();
  ASSERT_THAT(machines, SizeIs(1));
  EXPECT_EQ(machines[0].cpus.at(0).registers.get(Reg::kKernelGsBase), std::nullopt);
}

std::vector<std::pair<KvmState::What, ModuleRange>> state_of(Host& host) {
  const auto machines = host.machines();
  const auto types = KvmTypes::open(*host.kernel, {});
  EXPECT_THAT(types, Succeeds());
  const auto found = read_kvm_state(*host.kernel, **types, machines.at(0));
  EXPECT_THAT(found, Succeeds());
  std::vector<std::pair<KvmState::What, ModuleRange>> out;
  for (const KvmState& part : found ? *found : std::vector<KvmState>())
    out.emplace_back(part.what, part.at);
  return out;
}

auto part(KvmState::What what, VirtAddr at, std::uint64_t size = kPageSize) {
  return testing::Pair(what, testing::AllOf(testing::Field(&ModuleRange::begin, at),
                                            testing::Field(&ModuleRange::size, size)));
}

TEST(KvmState, WhereAGuestsStateIs) {
  using What = KvmState::What;
  Host amd(Vendor::kAmd);
  const KvmBuilder::State& at = amd.kvm.state;
  EXPECT_THAT(state_of(amd),
              ElementsAre(part(What::kRun, at.run), part(What::kPortData, at.port_data),
                          part(What::kFpu, at.fpu, 64 + KvmBuilder::kFpuBytes),
                          part(What::kLocalApic, at.local_apic), part(What::kVmcb, at.vmcb)));
  Host intel(Vendor::kIntel);
  EXPECT_THAT(state_of(intel).back(), part(What::kVmcs, intel.kvm.state.vmcs));
}

TEST(KvmState, OfNoKnownVendorNothingIsKnown) {
  Host host(Vendor::kNone);
  const auto machines = host.machines();
  const auto types = KvmTypes::open(*host.kernel, {});
  ASSERT_THAT(types, Succeeds());
  EXPECT_THAT(read_kvm_state(*host.kernel, **types, machines.at(0)),
              FailsWith(ErrorCode::kUnsupported, ""));
}

TEST(KvmState, WhatCannotBeTrueIsAnError) {
  Host host(Vendor::kAmd);
  host.builder.write_u32(host.kvm.state.fpu, 0x7fffffff);
  const auto machines = host.machines();
  const auto types = KvmTypes::open(*host.kernel, {});
  ASSERT_THAT(types, Succeeds());
  EXPECT_THAT(read_kvm_state(*host.kernel, **types, machines.at(0)),
              FailsWith(ErrorCode::kCorrupt, "FPU"));
}

}  // namespace
}  // namespace hvd::linux_guest
