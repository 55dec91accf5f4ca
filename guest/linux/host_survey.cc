// HostPages::open: what the kernel itself says of where its structures are.
#include <algorithm>
#include <charconv>

#include "guest/linux/host_pages.h"

namespace hvd::linux_guest {
namespace {

using Text = std::string_view;

// Caches whose objects are structures of pointers, numbers and names of the kernel's own.
constexpr Text kObjectCaches[] = {
    "anon_vma",
    "anon_vma_chain",
    "cred_jar",
    "files_cache",
    "filp",
    "fs_cache",
    "kmem_cache",
    "kmem_cache_node",
    "kvm_mmu_page_header",
    "maple_node",
    "mm_struct",
    "mmu_page_header",
    "mnt_cache",
    "nsproxy",
    "pid",
    "pid_namespace",
    "pte_list_desc",
    "radix_tree_node",
    "sighand_cache",
    "signal_cache",
    "task_group",
    "uts_namespace",
    "vm_area_struct",
    "vma_lock",
    "vmap_area",
    "irq_desc",
    "taskstats",
    "pool_workqueue",
};

// What level full leaves out as well: caches of buffers, of things that have small contents within
// them, and of state that is a guest's.
constexpr Text kDeniedParts[] = {
    "kmalloc",   "dma",         "skb",     "names_cache", "inode",        "key",     "x86_",
    "fpu",       "bio",         "sense",   "sgpool",      "sock",         "TCP",     "UDP",
    "UNIX",      "tcp",         "dentry",  "pipe",        "tty",          "fuse",    "vhost",
    "virtio",    "crypt",       "mempool", "xfs",         "ext4",         "btrfs",   "nfs",
    "ceph",      "journal",     "buffer",  "kvm_vcpu",    "kvm_async_pf", "request", "page->ptl",
    "uid_cache", "user_struct",
};

// The state of the random number generator; both structures are smaller than that.
constexpr Text kSecretSymbols[] = {"base_crng", "input_pool"};
constexpr std::uint64_t kSecretBytes = 256;
// note_buf_t, two note headers and struct elf_prstatus, is allocated in a power of two.
constexpr std::uint64_t kCrashNoteBytes = 512;

constexpr std::size_t kMaxModuleSections = 16384;

}  // namespace

class HostPages::Builder {
 public:
  Builder(const Kernel& kernel, const VmmProcesses& vmms, HostPages& out,
          std::vector<std::string>& problems)
      : kernel_(kernel),
        tables_(kernel.memory().tables()),
        vmms_(vmms),
        out_(out),
        problems_(problems) {}

  Result<void> run(const std::vector<Module>& modules,
                   const std::vector<VirtualMachine>& machines) {
    types_ = HVD_TRY(kernel_.need_types());
    HVD_TRY(image());
    HVD_TRY(caches());
    tell("page tables", page_tables());
    tell("the memory map", memory_map());
    tell("per-CPU areas", per_cpu());
    tell("the log", log());
    if (const auto line = variable("saved_command_line")) {
      const auto text = kernel_.memory().read_string(VirtAddr{*line}, 8192);
      if (text) keep(VirtAddr{*line}, text->size() + 1);
    }
    for (const Module& module : modules) {
      for (const ModuleRange& range : module.ranges)
        add(HostKind::kModules, range.begin, range.size);
      if (!module.ranges.empty()) out_.code_.push_back(module.ranges.front());
    }
    tell("the modules' types", module_types());
    for (const Module& module : modules) tell("a module's sections", module_attributes(module));
    HVD_TRY(with_context(tasks(), "tasks"));
    tell("virtual machines", virtual_machines(modules, machines));
    HVD_TRY(with_context(secrets(), "secrets in the kernel's data"));
    for (auto& ranges : out_.ranges_) ranges = normalised(std::move(ranges));
    out_.kept_bytes_ = normalised(std::move(out_.kept_bytes_));
    out_.secret_ = normalised(std::move(out_.secret_));
    out_.addresses_only_ = normalised(std::move(out_.addresses_only_));
    std::sort(out_.stack_ranges_.begin(), out_.stack_ranges_.end(),
              [](const ModuleRange& a, const ModuleRange& b) { return a.begin < b.begin; });
    std::sort(out_.stacks_.begin(), out_.stacks_.end(),
              [](const StackPage& a, const StackPage& b) { return a.page < b.page; });
    return {};
  }

 private:
  void tell(const char* what, const Result<void>& done) {
    if (!done) problems_.push_back(std::string(what) + " may be missing: " + done.error().message);
  }

  // Calls `found` with the physical pieces of [at, at + size).
  template <typename Found>
  void pieces(VirtAddr at, std::uint64_t size, Found found) const {
    constexpr std::size_t kMaxPieces = 1u << 20;
    if (size == 0 || size - 1 > ~at.value) return;
    std::size_t unreadable = 0;
    for (const PageMapping& mapped : tables_.mappings(at, at + (size - 1), kMaxPieces, unreadable))
      found(mapped.virt, PhysRange{mapped.phys, mapped.size});
  }
  void add(HostKind kind, VirtAddr at, std::uint64_t size) {
    const VirtAddr begin{at.value / kPageSize * kPageSize};
    const std::uint64_t whole = (at - begin + size + kPageSize - 1) / kPageSize * kPageSize;
    pieces(begin, whole, [&](VirtAddr, const PhysRange& range) {
      out_.ranges_[static_cast<std::size_t>(kind)].push_back(range);
    });
  }
  Result<std::uint64_t> variable(const char* name) const {
    const VirtAddr at = HVD_TRY(kernel_.symbol(name));
    return kernel_.memory().read_u64(at);
  }
  // Of KVM's structures and the like, exactly these bytes.
  void keep(VirtAddr at, std::uint64_t size) {
    pieces(at, size, [&](VirtAddr, const PhysRange& range) {
      out_.kept_bytes_.push_back(range);
      const std::uint64_t begin = range.begin.value / kPageSize * kPageSize;
      const std::uint64_t last = (range.begin.value + range.size - 1) / kPageSize * kPageSize;
      out_.ranges_[static_cast<std::size_t>(HostKind::kVirtualMachines)].push_back(
          {PhysAddr{begin}, last - begin + kPageSize});
    });
  }

  void blank(VirtAddr at, std::uint64_t size) {
    pieces(at, size, [&](VirtAddr, const PhysRange& range) { out_.secret_.push_back(range); });
  }

  Result<void> image() {
    const VirtAddr text = HVD_TRY(kernel_.symbol("_text"));
    const VirtAddr end = HVD_TRY(kernel_.symbol("_end"));
    const VirtAddr stext = HVD_TRY(kernel_.symbol("_stext"));
    const VirtAddr etext = HVD_TRY(kernel_.symbol("_etext"));
    if (end <= text || end - text > (std::uint64_t{1} << 30) || etext <= stext)
      return Error{ErrorCode::kCorrupt, "the kernel image has no valid size"};
    add(HostKind::kImage, text, end - text);
    out_.code_.push_back({stext, etext - stext});
    return {};
  }

  Result<void> caches() {
    out_.caches_ = read_slab_caches(kernel_, problems_);
    for (const auto& [at, cache] : out_.caches_) {
      HostKind kind = HostKind::kOtherObjects;
      const auto is = [&](Text name) { return cache.name == name; };
      const bool listed = std::any_of(std::begin(kObjectCaches), std::end(kObjectCaches), is);
      const bool denied =
          std::any_of(std::begin(kDeniedParts), std::end(kDeniedParts),
                      [&](Text part) { return cache.name.find(part) != std::string::npos; });
      // A merged cache holds objects of caches that are not named.
      if (!cache.merged && cache.name == "task_struct") kind = HostKind::kTasks;
      else if (!cache.merged && (listed || (out_.detail_ == HostDetail::kFull && !denied)))
        kind = HostKind::kObjects;
      out_.cache_kinds_[at] = kind;
    }
    // Newer kernels keep the FPU state behind the structure.
    const auto fpu = types_->member("task_struct", "thread.fpu");
    out_.fpu_at_ = fpu ? fpu->offset : HVD_TRY(types_->size_of("task_struct"));
    return {};
  }

  Result<void> page_tables() {
    constexpr VirtAddr kKernelHalf{0xff00000000000000};
    auto& ranges = out_.ranges_[static_cast<std::size_t>(HostKind::kPageTables)];
    ranges = tables_.table_pages(kKernelHalf, VirtAddr{~std::uint64_t{0}});
    return {};
  }

  Result<void> memory_map() {
    const VirtAddr base{HVD_TRY(variable("vmemmap_base"))};
    const std::uint64_t page = HVD_TRY(types_->size_of("page"));
    const std::uint64_t count = HVD_TRY(variable("max_pfn"));
    if (count >= (std::uint64_t{1} << 40))
      return Error{ErrorCode::kCorrupt, "max_pfn is " + std::to_string(count)};
    add(HostKind::kMemoryMap, base, count * page);
    // SPARSEMEM_EXTREME: an array of pointers to pages of struct mem_section.
    if (const auto sections = kernel_.symbol("mem_section")) {
      const std::string length = kernel_.info().text("LENGTH(mem_section)").value_or("");
      std::uint64_t roots = 0;
      (void)std::from_chars(length.data(), length.data() + length.size(), roots);
      roots = std::min<std::uint64_t>(roots, 1u << 20);
      const VirtAddr array{HVD_TRY(kernel_.memory().read_u64(*sections))};
      add(HostKind::kMemoryMap, array, roots * 8);
      for (std::uint64_t i = 0; i < roots; ++i) {
        const auto root = kernel_.memory().read_u64(array + i * 8);
        if (root && *root != 0) add(HostKind::kMemoryMap, VirtAddr{*root}, kPageSize);
      }
    }
    const auto nodes = kernel_.symbol("node_data");
    const auto node_size = types_->size_of("pglist_data");
    if (!nodes || !node_size) return {};
    for (std::uint64_t i = 0; i < 64; ++i) {
      const auto node = kernel_.memory().read_u64(*nodes + i * 8);
      if (!node || *node >> 63 == 0) break;
      add(HostKind::kMemoryMap, VirtAddr{*node}, *node_size);
    }
    return {};
  }

  Result<void> per_cpu() {
    const VirtAddr start = HVD_TRY(kernel_.symbol("__per_cpu_start"));
    const VirtAddr end = HVD_TRY(kernel_.symbol("__per_cpu_end"));
    std::uint64_t size = end - start;
    // The first chunk also has what modules and the kernel allocate.
    if (const auto unit = kernel_.symbol("pcpu_unit_size")) {
      const std::uint64_t bytes = HVD_TRY(kernel_.memory().read_u32(*unit));
      size = std::max(size, bytes);
    }
    if (size > (64u << 20)) return Error{ErrorCode::kCorrupt, "they have no valid size"};
    for (unsigned cpu = 0; cpu < kernel_.cpu_count(); ++cpu) {
      const auto at = kernel_.per_cpu("__per_cpu_start", cpu);
      if (at && at->value >> 63) add(HostKind::kPerCpu, *at, size);
    }
    return {};
  }

  Result<void> log() {
    const VirtAddr ring{HVD_TRY(variable("prb"))};
    const auto field = [&](const char* path) -> Result<std::uint64_t> {
      const Member member = HVD_TRY(types_->member("printk_ringbuffer", path));
      return kernel_.field(ring, member);
    };
    const std::uint64_t count_bits = HVD_TRY(field("desc_ring.count_bits"));
    const std::uint64_t size_bits = HVD_TRY(field("text_data_ring.size_bits"));
    if (count_bits > 30 || size_bits > 34)
      return Error{ErrorCode::kCorrupt, "it has no valid size"};
    const std::uint64_t count = std::uint64_t{1} << count_bits;
    const std::uint64_t descriptors = HVD_TRY(field("desc_ring.descs"));
    const std::uint64_t infos = HVD_TRY(field("desc_ring.infos"));
    const std::uint64_t text = HVD_TRY(field("text_data_ring.data"));
    const std::uint64_t descriptor_size = HVD_TRY(types_->size_of("prb_desc"));
    const std::uint64_t info_size = HVD_TRY(types_->size_of("printk_info"));
    add(HostKind::kLog, VirtAddr{descriptors}, count * descriptor_size);
    add(HostKind::kLog, VirtAddr{infos}, count * info_size);
    add(HostKind::kLog, VirtAddr{text}, std::uint64_t{1} << size_bits);
    return {};
  }

  Result<void> tasks() {
    out_.user_registers_ = HVD_TRY(types_->size_of("pt_regs"));
    const std::uint64_t stack_size = types_->size_of("thread_union").value_or(std::uint64_t{16384});
    const Member stack = HVD_TRY(types_->member("task_struct", "stack"));
    const Member mm = HVD_TRY(types_->member("task_struct", "mm"));
    // What a task leads to, should its cache be merged with others: how a process is found, and its
    // threads.
    std::vector<std::pair<Member, std::uint64_t>> linked;
    for (const auto& [name, type] : {std::pair{"thread_pid", "pid"},
                                     {"signal", "signal_struct"},
                                     {"sighand", "sighand_struct"},
                                     {"mm", "mm_struct"}}) {
      const auto member = types_->member("task_struct", name);
      const auto size = types_->size_of(type);
      if (member && size) linked.emplace_back(*member, *size);
    }
    const auto signal = types_->member("task_struct", "signal");
    const auto pids = types_->member("signal_struct", "pids");
    const auto pid_size = types_->size_of("pid");
    const std::uint64_t task_size = HVD_TRY(types_->size_of("task_struct"));
    if (stack_size > (1u << 20) || out_.user_registers_ > 512)
      return Error{ErrorCode::kUnsupported, "kernel stacks have an unknown size"};
    for (const Task& task : read_tasks(kernel_, problems_)) {
      const auto its_mm = kernel_.field(task.struct_at, mm);
      for (const auto& [member, size] : linked) {
        if (const auto at = kernel_.field(task.struct_at, member); at && *at != 0)
          keep(VirtAddr{*at}, size);
      }
      // Of its group and session too, whose first process may be gone.
      const auto its_signal =
          signal ? kernel_.field(task.struct_at, *signal) : Result<std::uint64_t>(0);
      for (std::uint64_t i = 0; pids && pid_size && its_signal && i < pids->elements; ++i) {
        const auto at = kernel_.memory().read_u64(VirtAddr{*its_signal} + pids->offset + i * 8);
        if (at && *at != 0) keep(VirtAddr{*at}, *pid_size);
      }
      keep(task.struct_at, std::min(task_size, out_.fpu_at_));
      if (!task.has_stack) continue;
      const VirtAddr begin{HVD_TRY(kernel_.field(task.struct_at, stack))};
      StackPage page;
      page.begin = begin, page.end = begin + stack_size;
      const LivePart live = live_part(kernel_, task, page.begin, page.end);
      page.user = !its_mm || *its_mm != 0;
      page.live = live.begin;
      page.addresses_only = !its_mm || vmms_.may_include(*its_mm) || !live.known;
      out_.stack_ranges_.push_back({begin, stack_size});
      pieces(begin, stack_size, [&](VirtAddr at, const PhysRange& range) {
        for (std::uint64_t done = 0; done < range.size; done += kPageSize) {
          page.page = (range.begin.value + done) / kPageSize;
          page.at = at + done;
          out_.stacks_.push_back(page);
        }
        out_.ranges_[static_cast<std::size_t>(HostKind::kStacks)].push_back(range);
      });
    }
    return {};
  }

  // So that read_module_types() finds them in what is kept.
  Result<void> module_types() {
    if (!kernel_.symbol("btf_modules")) return {};
    const std::uint64_t entry_size = HVD_TRY(types_->size_of("btf_module"));
    const std::uint64_t btf_size = HVD_TRY(types_->size_of("btf"));
    const std::vector<ModuleBtf> all = HVD_TRY(list_module_btfs(kernel_));
    for (const ModuleBtf& module : all) {
      keep(module.entry, entry_size);
      const auto data = btf_data(kernel_, module.btf);
      if (!data) continue;
      keep(module.btf, btf_size);
      keep(data->first, data->second);
    }
    return {};
  }

  // By these, debuggers find a module's file and place it (kernel/module/sysfs.c): structures and
  // names in memory that otherwise holds anything.
  Result<void> module_attributes(const Module& module) {
    const auto table = [&](const char* member, const char* type, const char* count_name,
                           const char* entry, const char* name_path) -> Result<void> {
      const Member pointer = HVD_TRY(types_->member("module", member));
      const Member count = HVD_TRY(types_->member(type, count_name));
      const Member first = HVD_TRY(types_->member(type, "attrs"));
      const std::uint64_t stride = HVD_TRY(types_->size_of(entry));
      const Member name = HVD_TRY(types_->member(entry, name_path));
      const VirtAddr at{HVD_TRY(kernel_.field(module.struct_at, pointer))};
      const std::uint64_t entries = HVD_TRY(kernel_.field(at, count));
      if (entries > kMaxModuleSections) return Error{ErrorCode::kCorrupt, "it has too many"};
      keep(at, first.offset + entries * stride);
      for (std::uint64_t i = 0; i < entries; ++i) {
        const VirtAddr text{HVD_TRY(kernel_.field(at + first.offset + i * stride, name))};
        const std::string said = HVD_TRY(kernel_.memory().read_string(text, 128));
        keep(text, said.size() + 1);
      }
      return {};
    };
    HVD_TRY(table("sect_attrs", "module_sect_attrs", "nsections", "module_sect_attr",
                  "battr.attr.name"));
    return table("notes_attrs", "module_notes_attrs", "notes", "bin_attribute", "attr.name");
  }

  Result<void> virtual_machines(const std::vector<Module>& modules,
                                const std::vector<VirtualMachine>& machines) {
    const Module* kvm = module_named(modules, "kvm");
    if (!kvm || machines.empty()) return {};
    const Types types = HVD_TRY(read_module_types(kernel_, *kvm));
    const std::uint64_t slot_size = HVD_TRY(types.size_of("kvm_memory_slot"));
    const auto keep_members = [&](VirtAddr at, const char* type,
                                  std::initializer_list<const char*> names) {
      for (const char* name : names) {
        if (const auto member = types.member(type, name)) keep(at + member->offset, member->size);
      }
    };
    for (const VirtualMachine& machine : machines) {
      keep_members(machine.struct_at, "kvm",
                   {"mm", "memslots", "__memslots", "vcpu_array", "created_vcpus", "online_vcpus",
                    "last_boosted_vcpu", "vm_list", "users_count", "userspace_pid",
                    "nr_memslot_pages", "max_vcpus", "vm_bugged", "vm_dead"});
      for (const VirtualCpu& cpu : machine.cpus)
        keep_members(
            cpu.struct_at, "kvm_vcpu",
            {"kvm", "cpu", "vcpu_id", "vcpu_idx", "mode", "requests", "pid", "ready", "preempted"});
      for (const MemorySlot& slot : machine.slots) keep(slot.struct_at, slot_size);
    }
    return {};
  }

  Result<void> secrets() {
    // Device data on its way through memory that the device can reach (kernel/dma/swiotlb.c); the
    // pool has been a member since v6.6.
    if (const auto pool = kernel_.symbol("io_tlb_default_mem")) {
      const Member begin =
          HVD_TRY(types_->first_member_of("io_tlb_mem", {"defpool.start", "start"}));
      const Member end = HVD_TRY(types_->first_member_of("io_tlb_mem", {"defpool.end", "end"}));
      const std::uint64_t from = HVD_TRY(kernel_.field(*pool, begin));
      const std::uint64_t to = HVD_TRY(kernel_.field(*pool, end));
      if (to > from) out_.secret_.push_back({PhysAddr{from}, to - from});
    }
    // Where each CPU left its registers when the host died, a process's if it was in one. The dump
    // has them without those.
    if (const auto notes = kernel_.symbol("crash_notes")) {
      const std::uint64_t offset = HVD_TRY(kernel_.memory().read_u64(*notes));
      for (unsigned cpu = 0; cpu < kernel_.cpu_count(); ++cpu) {
        const auto area = kernel_.per_cpu("__per_cpu_start", cpu);
        if (area) blank(*area + offset, kCrashNoteBytes);
      }
    }
    std::vector<PhysAddr> stack_pointers;
    for (unsigned cpu = 0; cpu < kernel_.cpu_count(); ++cpu) {
      const Registers* registers = kernel_.registers_of(cpu);
      const auto sp = registers ? registers->get(Reg::kRsp) : std::nullopt;
      const auto at = sp ? tables_.translate(VirtAddr{*sp}) : Result<PhysAddr>(PhysAddr{});
      if (at) stack_pointers.push_back(*at);
    }
    for (unsigned cpu = 0; cpu < kernel_.cpu_count(); ++cpu)
      HVD_TRY(own_stacks(cpu, stack_pointers));
    for (const Text name : kSecretSymbols) {
      if (const auto at = kernel_.symbol(name)) blank(*at, kSecretBytes);
    }
    return {};
  }

  // What comes from user mode passes a CPU's entry stack, and exceptions and interrupts have stacks
  // of their own: user registers stay there. Those that no CPU is on have nothing to tell.
  Result<void> own_stacks(unsigned cpu, const std::vector<PhysAddr>& stack_pointers) {
    const auto in_use = [&](VirtAddr at, std::uint64_t size) -> std::optional<std::uint64_t> {
      const auto begin = tables_.translate(at);
      const PhysRange range{begin ? *begin : PhysAddr{}, size};
      const auto sp = std::find_if(stack_pointers.begin(), stack_pointers.end(),
                                   [&](PhysAddr each) { return range.contains(each); });
      if (!begin || sp == stack_pointers.end()) return std::nullopt;
      return sp->value - begin->value;
    };
    const auto entry_stack = [&](VirtAddr at, std::uint64_t size) {
      auto& list = in_use(at, size) ? out_.addresses_only_ : out_.secret_;
      pieces(at, size, [&](VirtAddr, const PhysRange& range) { list.push_back(range); });
    };
    if (const auto entry = kernel_.per_cpu("entry_stack_storage", cpu))
      entry_stack(*entry, kPageSize);
    if (const auto stacks = kernel_.per_cpu("exception_stacks", cpu)) {
      for (const char* name :
           {"DF_stack", "NMI_stack", "DB_stack", "MCE_stack", "VC_stack", "VC2_stack"}) {
        const auto member = types_->member("exception_stacks", name);
        if (member) entry_stack(*stacks + member->offset, member->size);
      }
    }
    if (const auto irq = kernel_.per_cpu("irq_stack_backing_store", cpu)) {
      const std::uint64_t size = HVD_TRY(types_->size_of("irq_stack"));
      blank(*irq, in_use(*irq, size).value_or(size));
    }
    return {};
  }

  const Kernel& kernel_;
  const PageTables& tables_;
  const VmmProcesses& vmms_;
  HostPages& out_;
  std::vector<std::string>& problems_;
  const Types* types_ = nullptr;
};

Result<HostPages> HostPages::open(const Kernel& kernel, const std::vector<Module>& modules,
                                  const std::vector<VirtualMachine>& machines,
                                  const VmmProcesses& vmms, HostDetail detail,
                                  std::vector<std::string>& problems) {
  const PageStructs pages = HVD_TRY(PageStructs::open(kernel));
  HostPages out(pages);
  out.detail_ = detail;
  HVD_TRY(Builder(kernel, vmms, out, problems).run(modules, machines));
  return out;
}

}  // namespace hvd::linux_guest
