// The synthetic kernel that guest_fuzz patches.
#pragma once

#include "tests/support/kvm_builder.h"

namespace hvd::fuzz {

struct SyntheticGuest {
  Image image;
  std::shared_ptr<FakeMemory> memory;

  SyntheticGuest() {
    LinuxBuilder builder;
    builder.add_log({{1, 6, "Linux version"},
                     {2, 4, "BUG: unable to handle page fault"},
                     {3, 0, "Kernel panic - not syncing: x"}});
    const VirtAddr stack = builder.place(4096, "", 4096);
    builder.add_task(0, "swapper/0", 0);
    const VirtAddr task = builder.add_task(1, "init", 2);
    builder.write_u64(task + 96, (stack + 0x100).value);
    builder.write_u64(stack + 0x108, LinuxBuilder::kText + 0x48);
    builder.add_task(2, "thread", 1, task);
    const VirtAddr modules = builder.place(16, "modules"), module = builder.place(256);
    builder.empty_list(modules);
    builder.write(module + 24, as_bytes("ext4"));
    builder.write_u64(module + 104, LinuxBuilder::kText + 0x1800000);
    builder.write_u32(module + 112, 0x1000);
    builder.insert_before(modules, module + 8);
    builder.write_u32(builder.place(4, "panic_cpu"), 0);
    builder.write_u32(builder.place(4, "nr_cpu_ids"), 1);
    builder.symbol("here", VirtAddr{LinuxBuilder::kText + 0x40});
    const VirtAddr ips = builder.place(8, "__start_orc_unwind_ip");
    builder.symbol("__stop_orc_unwind_ip", ips + 8, 'D');
    builder.write_u32(ips, static_cast<std::uint32_t>(LinuxBuilder::kText - ips.value));
    builder.write_u32(ips + 4,
                      static_cast<std::uint32_t>(LinuxBuilder::kText + 0x80000 - (ips.value + 4)));
    const VirtAddr entries = builder.place(16, "__start_orc_unwind");
    builder.write(entries, ByteWriter().u16(8).u16(0).u8(5).u8(2).u16(8).u16(0).u8(5).u8(2).view());
    // Of a host: what it says of its pages, and one object cache.
    builder.symbol("_text", VirtAddr{LinuxBuilder::kText});
    builder.symbol("_end", VirtAddr{LinuxBuilder::kText + 0x200000}, 'D');
    const VirtAddr map = builder.place(2048 * 64, "", 64);
    builder.write_u64(builder.place(8, "vmemmap_base"), map.value);
    builder.write_u64(builder.place(8, "max_pfn"), 2048);
    for (std::uint64_t page = 512; page < 1024; ++page)
      builder.write_u64(map + page * 64, page % 3 == 0 ? 1u << 9 : 1u << 14);
    const VirtAddr caches = builder.place(16, "slab_caches"), cache = builder.place(64);
    builder.empty_list(caches);
    builder.write_u32(cache, 160);
    builder.write_u64(cache + 16, builder.place(as_bytes(std::string("task_struct") + '\0')).value);
    builder.insert_before(caches, cache + 24);
    builder.write_u64(map + 513 * 64 + 24, cache.value);
    // And a VM, with what must not be kept of it.
    builder.write_u64(builder.place(8, "page_offset_base"), 0xffff888000000000);
    const KvmBuilder kvm(builder, KvmBuilder::Vendor::kAmd);
    builder.add_btf(KvmBuilder::types());
    builder.add_kallsyms(KallsymsOrder::kSince64, false, true);
    image = builder.build();
    Registers cpu;
    cpu.set(Reg::kRip, LinuxBuilder::kText + 0x48);
    cpu.set(Reg::kRsp, (stack + 0x100).value);
    cpu.set(Reg::kCs, 0x10);
    image.registers = {cpu};
    memory = std::make_shared<FakeMemory>(builder.memory());
  }
};

}  // namespace hvd::fuzz
