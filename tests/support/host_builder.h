// A KVM host with struct pages, tasks and object caches that a test fills in.
#pragma once

#include "guest/kvm_host/host_pages.h"
#include "tests/support/kvm_builder.h"
#include "tests/support/matchers.h"

namespace hvd::linux_guest {

inline constexpr std::uint64_t kReserved = 1u << 14, kSlab = 1u << 9, kPoisoned = 1u << 21;
inline constexpr std::uint64_t kPages = LinuxBuilder::kSize / kPageSize;
inline constexpr std::uint64_t kAnyValue = 0x4142434445464748;
inline constexpr std::uint64_t kPerCpuOffset = 0x100000;

/// A host of 8 MiB: the image from 2 MiB on, two tasks, and struct pages that a test fills in.
struct TestHost {
  LinuxBuilder builder;
  VirtAddr map, caches, stack, task;
  Image image;
  std::unique_ptr<Kernel> kernel;
  std::vector<VirtualMachine> machines;
  bool machines_known = true;

  TestHost() {
    builder.symbol("_text", VirtAddr{LinuxBuilder::kText});
    builder.symbol("_end", VirtAddr{LinuxBuilder::kText + 0x100000}, 'D');
    builder.write_u32(builder.place(4, "nr_cpu_ids"), 1);
    map = builder.place(kPages * 64, "", 4096);
    builder.write_u64(builder.place(8, "vmemmap_base"), map.value);
    builder.write_u64(builder.place(8, "max_pfn"), kPages);
    caches = builder.place(16, "slab_caches");
    builder.empty_list(caches);
    stack = builder.place(4096, "", 4096);
    builder.add_task(0, "swapper", 0);
    task = builder.add_task(7, "process");
    builder.write_u64(task + 112, stack.value);
    builder.write_u64(task + 120, kAnyValue);  // its mm: a process
    builder.write_u64(task + 96, (stack + 0x800).value);
    for (std::uint64_t at = 0; at < 4096; at += 8) builder.write_u64(stack + at, kAnyValue);
  }
  void page(std::uint64_t number, std::uint64_t flags, std::uint64_t mapping = 0,
            std::uint32_t type = 0xffffffff, std::uint64_t order = 0) {
    builder.write_u64(map + number * 64, flags);
    builder.write_u64(map + number * 64 + 24, mapping);
    builder.write_u64(map + number * 64 + 40, order);
    builder.write_u32(map + number * 64 + 48, type);
    builder.write_u32(map + number * 64 + 52, 1);
  }
  VirtAddr cache(const std::string& name, std::uint32_t size, std::uint32_t users) {
    const VirtAddr at = builder.place(64);
    builder.write_u32(at, size);
    builder.write_u32(at + 4, users);
    builder.write_u64(at + 16, builder.place(as_bytes(name + '\0')).value);
    builder.insert_before(caches, at + 24);
    return at;
  }
  std::uint64_t number(VirtAddr at) const { return LinuxBuilder::physical(at).value / kPageSize; }
  linux_guest::Host host(bool machines_are_all) const {
    return {*kernel, {}, machines, VmmProcesses(machines, machines_are_all)};
  }
  Result<HostPages> open(HostDetail detail = HostDetail::kSecure) {
    builder.add_btf(kernel_btf());
    builder.add_kallsyms(KallsymsOrder::kSince64, false, true);
    image = builder.build();
    kernel = Kernel::open(image).value();
    std::vector<std::string> problems;
    return HostPages::open(host(machines_known), detail, problems);
  }
  /// The only CPU, and the task it runs.
  void cpu(VirtAddr current) {
    builder.write_u64(builder.place(8, "__per_cpu_offset"), kPerCpuOffset);
    const VirtAddr at = builder.place(8);
    builder.symbol("current_task", VirtAddr{at.value - kPerCpuOffset}, 'D');
    builder.write_u64(at, current.value);
  }
  void registers(std::initializer_list<std::pair<Reg, std::uint64_t>> values) {
    image.registers.assign(1, {});
    for (std::size_t i = 0; i < kRegCount; ++i)
      image.registers[0].set(static_cast<Reg>(i), kAnyValue);
    image.registers[0].set(Reg::kCs, 0x10);
    for (const auto& [reg, value] : values) image.registers[0].set(reg, value);
    kernel = Kernel::open(image).value();
  }
};

inline HostKind kind(const HostPages& pages, std::uint64_t number) {
  return pages.kinds(number, 1).front();
}

}  // namespace hvd::linux_guest
