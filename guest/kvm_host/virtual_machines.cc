#include "guest/kvm_host/virtual_machines.h"

#include <algorithm>

#include "base/text.h"
#include "guest/kvm_host/kvm_registers.h"
#include "guest/kvm_host/kvm_types.h"
#include "guest/linux/list_walk.h"
#include "guest/linux/xarray.h"

namespace hvd::linux_guest {
namespace {

constexpr std::size_t kMaxMachines = 16384;
constexpr std::size_t kMaxSlots = 32767;  // KVM_MEM_SLOTS_NUM is SHRT_MAX
constexpr std::size_t kMaxVcpus = 4096;   // KVM_MAX_VCPUS
constexpr std::size_t kMaxCommandLine = 256u << 10;
constexpr unsigned kMaxTreeDepth = 64;  // a red-black tree of kMaxSlots nodes is 30 deep at most

// What QEMU was told by `option`: the first of a comma-separated list, with or without "key=".
std::string option_value(const std::vector<std::string>& arguments, const std::string& option,
                         const std::string& key) {
  for (std::size_t i = 0; i + 1 < arguments.size(); ++i) {
    if (arguments[i] != "-" + option && arguments[i] != "--" + option) continue;
    std::string value = arguments[i + 1];
    if (const std::size_t at = value.find(key + "="); !key.empty() && at != std::string::npos)
      value = value.substr(at + key.size() + 1);
    return value.substr(0, value.find(','));
  }
  return {};
}

class Reader {
 public:
  /// `amd`: the types of kvm_amd, or null.
  Reader(const Kernel& kernel, const Types& types, const VcpuLayout& vcpus, const Types* amd)
      : kernel_(kernel), types_(types), vcpus_(vcpus), amd_(amd) {}

  Result<VirtualMachine> machine(VirtAddr at, std::vector<std::string>& problems) const {
    VirtualMachine out;
    out.struct_at = at;
    const std::uint64_t pid = HVD_TRY(field("kvm", at, "userspace_pid"));
    out.pid = static_cast<std::int32_t>(pid);
    out.mm = VirtAddr{HVD_TRY(field("kvm", at, "mm"))};
    const auto report_problem = [&](const char* what, const Result<void>& done) {
      // What a hypervisor image does not have, since it is a tenant's, is no damage.
      if (!done && done.error().code != ErrorCode::kNotCaptured)
        problems.push_back("VM of process " + std::to_string(out.pid) + ": " + what + ": " +
                           done.error().message);
    };
    report_problem("whether its memory is encrypted", encryption(at, out.encrypted));
    report_problem("its process", process(out.mm, out));
    report_problem("its memory", slots(at, out.slots));
    report_problem("its vCPUs", cpus(at, out.cpus, problems));
    return out;
  }

 private:
  Result<std::uint64_t> field(std::string_view type, VirtAddr at, std::string_view path) const {
    const Member member = HVD_TRY(types_.member(type, path));
    return kernel_.field(at, member);
  }

  Result<void> process(VirtAddr mm, VirtualMachine& out) const {
    const VirtAddr pgd{HVD_TRY(field("mm_struct", mm, "pgd"))};
    out.page_table_root = HVD_TRY(kernel_.memory().tables().translate(pgd));
    const VirtAddr begin{HVD_TRY(field("mm_struct", mm, "arg_start"))};
    const VirtAddr end{HVD_TRY(field("mm_struct", mm, "arg_end"))};
    if (end <= begin || end - begin > kMaxCommandLine)
      return Error{ErrorCode::kCorrupt, "its command line has no valid size"};
    const PhysicalMemory& memory = kernel_.memory().physical();
    const PageTables tables(memory, out.page_table_root, kernel_.memory().tables().five_level());
    const Bytes text = HVD_TRY(VirtualMemory(memory, tables).read_bytes(begin, end - begin));
    for (auto at = text.begin(); at != text.end();) {
      const auto stop = std::find(at, text.end(), std::byte{0});
      out.command_line.emplace_back(reinterpret_cast<const char*>(&*at),
                                    static_cast<std::size_t>(stop - at));
      at = stop == text.end() ? stop : stop + 1;
    }
    out.name = option_value(out.command_line, "name", "guest");
    out.uuid = option_value(out.command_line, "uuid", "");
    return {};
  }

  // Since v5.17 the slots of an address space hang in a tree by guest address, which of two node
  // sets is in use being node_idx ("KVM: Keep memslots in tree-based structures instead of
  // array-based ones"). Other address spaces are views of the same memory, as in system management
  // mode.
  Result<void> slots(VirtAddr kvm, std::vector<MemorySlot>& out) const {
    const Member spaces = HVD_TRY(types_.member("kvm", "memslots"));
    const VirtAddr active{HVD_TRY(kernel_.memory().read_u64(kvm + spaces.offset))};
    const Member tree = HVD_TRY(types_.member("kvm_memslots", "gfn_tree"));
    const std::uint64_t set = HVD_TRY(field("kvm_memslots", active, "node_idx"));
    const Member nodes = HVD_TRY(types_.member("kvm_memory_slot", "gfn_node"));
    const std::uint64_t node_size = HVD_TRY(types_.size_of("rb_node"));
    if (set >= nodes.elements)
      return Error{ErrorCode::kCorrupt, "node_idx is " + std::to_string(set)};
    const std::uint64_t node_at = nodes.offset + set * node_size;
    const VirtAddr root{HVD_TRY(kernel_.memory().read_u64(active + tree.offset))};
    HVD_TRY(walk_tree(root, node_at, 0, out));
    std::sort(out.begin(), out.end(),
              [](const MemorySlot& a, const MemorySlot& b) { return a.range < b.range; });
    return {};
  }

  Result<void> walk_tree(VirtAddr node, std::uint64_t node_at, unsigned depth,
                         std::vector<MemorySlot>& out) const {
    if (node.value == 0) return {};
    if (depth > kMaxTreeDepth || out.size() >= kMaxSlots)
      return Error{ErrorCode::kCorrupt, "the tree of memory slots does not end"};
    const std::uint64_t left = HVD_TRY(field("rb_node", node, "rb_left"));
    const std::uint64_t right = HVD_TRY(field("rb_node", node, "rb_right"));
    HVD_TRY(walk_tree(VirtAddr{left}, node_at, depth + 1, out));
    const VirtAddr at = node - node_at;
    const std::uint64_t first = HVD_TRY(field("kvm_memory_slot", at, "base_gfn"));
    const std::uint64_t pages = HVD_TRY(field("kvm_memory_slot", at, "npages"));
    const std::uint64_t flags = HVD_TRY(field("kvm_memory_slot", at, "flags"));
    MemorySlot slot;
    slot.host = VirtAddr{HVD_TRY(field("kvm_memory_slot", at, "userspace_addr"))};
    // Nothing is wider than an address of 52 bits.
    if (first >= kMaxPage || pages == 0 || pages > kMaxPage - first)
      return Error{ErrorCode::kCorrupt, "a memory slot claims pages beyond all addresses"};
    slot.range = {PhysAddr{first * kPageSize}, pages * kPageSize};
    slot.struct_at = at;
    slot.read_only = (flags & kReadOnly) != 0;
    out.push_back(slot);
    return walk_tree(VirtAddr{right}, node_at, depth + 1, out);
  }

  Result<void> cpus(VirtAddr kvm, std::vector<VirtualCpu>& out,
                    std::vector<std::string>& problems) const {
    // An xarray since v5.17 ("KVM: Convert the kvm->vcpus array to a xarray").
    const Member array = HVD_TRY(types_.member("kvm", "vcpu_array"));
    return walk_xarray(kernel_, kvm + array.offset, 0, kMaxVcpus, kMaxVcpus,
                       [&](const XarrayEntry& entry) {
                         auto cpu = vcpus_.read(VirtAddr{entry.value});
                         if (cpu) out.push_back(*cpu);
                         else
                           problems.push_back("a vCPU at " + hex(entry.value) +
                                              " cannot be read: " + cpu.error().message);
                         return true;
                       });
  }

  // struct kvm_svm has the struct kvm in it, and what is known of SEV beside it; with neither there
  // is no SEV.
  Result<void> encryption(VirtAddr kvm, bool& out) const {
    if (!amd_) return {};
    const auto within = amd_->member("kvm_svm", "kvm");
    const auto info = amd_->member("kvm_svm", "sev_info");
    const auto active = amd_->member("kvm_sev_info", "active");
    if (!within || !info || !active) return {};
    const VirtAddr at = kvm - within->offset + info->offset;
    out = HVD_TRY(kernel_.field(at, *active)) != 0;
    return {};
  }

  static constexpr std::uint64_t kMaxPage = std::uint64_t{1} << 40;
  static constexpr std::uint64_t kReadOnly = 1u << 1;  // KVM_MEM_READONLY (uapi/linux/kvm.h)

  const Kernel& kernel_;
  const Types& types_;
  const VcpuLayout& vcpus_;
  const Types* const amd_;
};

}  // namespace

std::vector<VirtualMachine> read_virtual_machines(const Kernel& kernel,
                                                  const std::vector<Module>& modules,
                                                  std::vector<std::string>& problems) {
  std::vector<VirtualMachine> machines;
  const auto read_all = [&]() -> Result<void> {
    const auto kvm = HVD_TRY(KvmTypes::open(kernel, modules));
    if (!kvm) return {};
    const auto vcpus = HVD_TRY(VcpuLayout::from(kernel, *kvm));
    const Member list = HVD_TRY(kvm->kvm().member("kvm", "vm_list"));
    const Reader reader(kernel, kvm->kvm(), vcpus, kvm->amd());
    return walk_list(kernel.memory(), kvm->vm_list(), kMaxMachines, [&](VirtAddr node) {
      auto machine = reader.machine(node - list.offset, problems);
      if (machine) machines.push_back(std::move(*machine));
      else
        problems.push_back("the VM at " + hex(node.value) +
                           " cannot be read: " + machine.error().message);
      return true;
    });
  };
  if (auto done = read_all(); !done)
    problems.push_back("virtual machines: " + done.error().message);
  return machines;
}

}  // namespace hvd::linux_guest
