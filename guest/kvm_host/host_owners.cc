// What objects, tasks and VMs a host's memory holds, and which of their bytes are the kernel's own.
#include <algorithm>

#include "guest/kvm_host/host_survey.h"
#include "guest/kvm_host/kvm_state.h"

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

// Left out at any level: a guest's state, secrets and what secrets pass through.
constexpr Text kDeniedParts[] = {"kvm_vcpu", "kvm_async_pf", "x86_",   "fpu",
                                 "key",      "vhost",        "virtio", "crypt"};

}  // namespace

Result<void> HostPages::Builder::caches() {
  out_.caches_ = read_slab_caches(kernel_, problems_);
  for (const auto& [at, cache] : out_.caches_) {
    const auto is = [&](Text name) { return cache.name == name; };
    const auto has = [&](Text part) { return cache.name.find(part) != std::string::npos; };
    const bool listed = std::any_of(std::begin(kObjectCaches), std::end(kObjectCaches), is);
    const bool denied = std::any_of(std::begin(kDeniedParts), std::end(kDeniedParts), has);
    HostKind kind = HostKind::kAddressesOnly;
    if (denied && !listed) kind = HostKind::kOtherObjects;
    else if (cache.merged) kind = HostKind::kAddressesOnly;  // holds what is not named
    else if (cache.name == "task_struct") kind = HostKind::kTasks;
    else if (listed) kind = HostKind::kObjects;
    out_.cache_kinds_[at] = kind;
  }
  // Newer kernels keep the FPU state behind the structure.
  const auto fpu = types_->member("task_struct", "thread.fpu");
  out_.fpu_at_ = fpu ? fpu->offset : HVD_TRY(types_->size_of("task_struct"));
  return {};
}

Result<void> HostPages::Builder::tasks() {
  out_.user_registers_ = HVD_TRY(types_->size_of("pt_regs"));
  const std::uint64_t stack_size = types_->size_of("thread_union").value_or(std::uint64_t{16384});
  const Member stack = HVD_TRY(types_->member("task_struct", "stack"));
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
    const auto kernel_thread = is_kernel_thread(kernel_, task.struct_at);
    const auto for_vmm = host_.vmms.may_run(kernel_, task.struct_at);
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
    if (begin.value >> 63 == 0) continue;
    StackPage page;
    page.begin = begin, page.end = begin + stack_size;
    const LivePart live = live_part(kernel_, task, page.begin, page.end);
    page.user = !kernel_thread || !*kernel_thread;
    page.live = live.begin;
    page.addresses_only = !for_vmm || *for_vmm || !live.known;
    out_.stack_ranges_.push_back({begin, stack_size});
    for (const PageMapping& piece : pieces(begin, stack_size)) {
      for (std::uint64_t done = 0; done < piece.size; done += kPageSize) {
        page.page = (piece.phys.value + done) / kPageSize;
        page.at = piece.virt + done;
        out_.stacks_.push_back(page);
      }
      out_.ranges_[static_cast<std::size_t>(HostKind::kStacks)].push_back({piece.phys, piece.size});
    }
  }
  return {};
}

Result<void> HostPages::Builder::virtual_machines() {
  if (host_.machines.empty()) return {};
  const auto kvm = HVD_TRY(KvmTypes::open(kernel_, host_.modules));
  if (!kvm) return {};
  const Types& types = kvm->kvm();
  const std::uint64_t slot_size = HVD_TRY(types.size_of("kvm_memory_slot"));
  const auto keep_members = [&](VirtAddr at, const char* type,
                                std::initializer_list<const char*> names) {
    for (const char* name : names) {
      if (const auto member = types.member(type, name)) keep(at + member->offset, member->size);
    }
  };
  for (const VirtualMachine& machine : host_.machines) {
    keep_members(machine.struct_at, "kvm",
                 {"mm", "memslots", "__memslots", "vcpu_array", "created_vcpus", "online_vcpus",
                  "last_boosted_vcpu", "vm_list", "users_count", "userspace_pid",
                  "nr_memslot_pages", "max_vcpus", "vm_bugged", "vm_dead"});
    for (const VirtualCpu& cpu : machine.cpus)
      keep_members(
          cpu.struct_at, "kvm_vcpu",
          {"kvm", "cpu", "vcpu_id", "vcpu_idx", "mode", "requests", "pid", "ready", "preempted"});
    for (const MemorySlot& slot : machine.slots) keep(slot.struct_at, slot_size);
    auto state = read_kvm_state(kernel_, *kvm, machine);
    if (!state) guest_state_ = state.error();
    for (const KvmState& part : state ? *state : std::vector<KvmState>())
      add(HostKind::kGuestState, part.at.begin, part.at.size);
  }
  return {};
}

}  // namespace hvd::linux_guest
