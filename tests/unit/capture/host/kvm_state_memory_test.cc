// What KVM had of a guest, as memory of its partition.
#include "capture/host/kvm_state_memory.h"

#include "tests/support/kvm_builder.h"
#include "tests/support/matchers.h"

namespace hvd {
namespace {

using namespace linux_guest;

constexpr std::uint64_t kPages = LinuxBuilder::kSize / kPageSize;

struct Host {
  LinuxBuilder builder;
  KvmBuilder kvm{builder, KvmBuilder::Vendor::kAmd};
  VirtAddr map = builder.place(kPages * 64, "", 4096);
  Image image;
  std::unique_ptr<Kernel> kernel;

  Host() {
    builder.write_u64(builder.place(8, "vmemmap_base"), map.value);
    for (std::uint64_t number = 0; number < kPages; ++number) {
      builder.write_u32(map + number * 64 + 48, 0xffffffff);
      builder.write_u32(map + number * 64 + 52, 1);
    }
    for (const VirtAddr at : {kvm.state.run, kvm.state.fpu, kvm.state.vmcb})
      builder.write(at, Bytes(kPageSize, std::byte{0x41}));
    builder.write_u32(kvm.state.fpu, KvmBuilder::kFpuBytes);
    builder.write(kvm.state.fpu + kPageSize, Bytes(kPageSize, std::byte{0x42}));
  }
  VirtAddr page_struct(VirtAddr at) const {
    return map + LinuxBuilder::physical(at).value / kPageSize * 64;
  }
  KvmStateMemory memory() {
    builder.add_btf(KvmBuilder::types());
    builder.add_kallsyms(KallsymsOrder::kSince64, false, true);
    image = builder.build();
    kernel = Kernel::open(image).value();
    std::vector<std::string> problems;
    const auto machines = read_virtual_machines(*kernel, {}, problems);
    const auto types = KvmTypes::open(*kernel, {}).value();
    return KvmStateMemory(*kernel, PageStructs::open(*kernel).value(),
                          read_kvm_state(*kernel, *types, machines.at(0)).value());
  }
};

// By its type as the list has it.
PhysAddr place_of(const KvmStateMemory& memory, std::uint32_t type) {
  for (const auto& part : memory.list())
    if (part.type == type) return part.address;
  ADD_FAILURE() << "no part of type " << type;
  return {};
}

TEST(KvmStateMemory, EachPartIsInItsPlaceAndNoMore) {
  Host host;
  const KvmStateMemory memory = host.memory();
  ASSERT_EQ(memory.ranges().size(), 5u);
  Bytes page(kPageSize);
  EXPECT_THAT(memory.read(place_of(memory, 1), page), Succeeds());
  EXPECT_EQ(page, Bytes(kPageSize, std::byte{0x41}));
  EXPECT_EQ(memory.extent_at(place_of(memory, 1)).page_class, PageClass::kVmm);
  // The FPU state ends within its second page, and something else may follow.
  EXPECT_THAT(memory.read(place_of(memory, 3) + kPageSize, page), Succeeds());
  constexpr std::uint64_t kEnd = 64 + KvmBuilder::kFpuBytes - kPageSize;
  for (std::size_t i = 0; i < page.size(); ++i)
    EXPECT_EQ(page[i], i < kEnd ? std::byte{0x42} : std::byte{0}) << i;
  EXPECT_EQ(memory.extent_at(place_of(memory, 3) + 2 * kPageSize).kind, Extent::Kind::kHole);
  EXPECT_EQ(memory.extent_at(PhysAddr{0x1000}).kind, Extent::Kind::kHole);
}

TEST(KvmStateMemory, PagesOfOthersAndPoisonedOnesAreNotRead) {
  Host host;
  host.builder.write_u64(host.page_struct(host.kvm.state.run), 1u << 21);  // PG_hwpoison
  // Anonymous memory: the pointer cannot be true.
  host.builder.write_u64(host.page_struct(host.kvm.state.vmcb) + 24, 0xffff000000000001);
  const KvmStateMemory memory = host.memory();
  Bytes page(kPageSize);
  for (const std::uint32_t type : {1u, 5u}) {
    const Extent extent = memory.extent_at(place_of(memory, type));
    EXPECT_EQ(extent.kind, Extent::Kind::kAbsent) << type;
    EXPECT_EQ(extent.reason, Absence::kRestricted) << type;
    EXPECT_FALSE(memory.read(place_of(memory, type), page)) << type;
  }
  EXPECT_THAT(memory.read(place_of(memory, 3), page), Succeeds());
}

}  // namespace
}  // namespace hvd
