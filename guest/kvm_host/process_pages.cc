#include "guest/kvm_host/process_pages.h"

#include <algorithm>

#include "guest/kvm_host/vm_areas.h"
#include "guest/linux/tasks.h"

namespace hvd::linux_guest {
namespace {

constexpr std::size_t kMaxOpenFiles = 1u << 20;
constexpr std::size_t kMaxRoots = 1u << 16;  // remembered at a time

struct Layout {
  Member mm, files, table, capacity, descriptors, mapping;

  static Result<Layout> from(const Types& types) {
    Layout out;
    out.mm = HVD_TRY(types.member("task_struct", "mm"));
    out.files = HVD_TRY(types.member("task_struct", "files"));
    out.table = HVD_TRY(types.member("files_struct", "fdt"));
    out.capacity = HVD_TRY(types.member("fdtable", "max_fds"));
    out.descriptors = HVD_TRY(types.member("fdtable", "fd"));
    out.mapping = HVD_TRY(types.member("file", "f_mapping"));
    return out;
  }
};

using Set = std::unordered_set<std::uint64_t>;

bool overlap(const Set& a, const Set& b) {
  return std::any_of(a.begin(), a.end(), [&](std::uint64_t each) { return b.contains(each); });
}

// Whether the pages of an open file may be cached as those of another: of the lower file on an
// overlay, of the file behind a loop device.
Result<bool> hides_another(const Kernel& kernel, VirtAddr file) {
  constexpr std::uint64_t kLoopMajor = 7;  // LOOP_MAJOR; a dev_t has the minor in its lower 20 bits
  const Types& types = *HVD_TRY(kernel.need_types());
  const auto next = [&](const char* type, VirtAddr at, const char* name) -> Result<VirtAddr> {
    const Member member = HVD_TRY(types.member(type, name));
    return VirtAddr{HVD_TRY(kernel.field(at, member))};
  };
  const VirtAddr mapping = HVD_TRY(next("file", file, "f_mapping"));
  if (mapping.value == 0) return false;
  const VirtAddr host = HVD_TRY(next("address_space", mapping, "host"));
  if (host.value != 0) {
    const Member device = HVD_TRY(types.member("inode", "i_rdev"));
    if (HVD_TRY(kernel.field(host, device)) >> 20 == kLoopMajor) return true;
  }
  const VirtAddr inode = HVD_TRY(next("file", file, "f_inode"));
  const VirtAddr super = HVD_TRY(next("inode", inode, "i_sb"));
  const VirtAddr type = HVD_TRY(next("super_block", super, "s_type"));
  const VirtAddr name = HVD_TRY(next("file_system_type", type, "name"));
  return HVD_TRY(kernel.memory().read_string(name, 32)) == "overlay";
}

}  // namespace

// What one process, or several, lead to.
struct ProcessPages::Survey {
  Set anonymous, files, shared;  // shared: those of `files` that it may write to for others to see
  Set opened;                    // struct file

  Result<void> add_memory(const Kernel& kernel, const Layout& layout, const ProcessPages& pages,
                          VirtAddr mm) {
    const std::vector<VmArea> areas = HVD_TRY(read_vm_areas(kernel, mm));
    for (const VmArea& area : areas) {
      if (area.has_private_pages()) anonymous.insert(pages.root_of(area.anon_vma.value));
      if (area.file.value == 0) continue;
      opened.insert(area.file.value);
      const std::uint64_t mapping = HVD_TRY(kernel.field(area.file, layout.mapping));
      files.insert(mapping);
      if (area.shared()) shared.insert(mapping);
    }
    return {};
  }
  void add(const Survey& other) {
    anonymous.insert(other.anonymous.begin(), other.anonymous.end());
    files.insert(other.files.begin(), other.files.end());
    opened.insert(other.opened.begin(), other.opened.end());
    shared.insert(other.shared.begin(), other.shared.end());
  }
  // Disk images and the like, which need not be mapped.
  Result<void> add_open_files(const Kernel& kernel, const Layout& layout, VirtAddr files_at) {
    const VirtAddr table{HVD_TRY(kernel.field(files_at, layout.table))};
    const std::uint64_t count = HVD_TRY(kernel.field(table, layout.capacity));
    const VirtAddr descriptors{HVD_TRY(kernel.field(table, layout.descriptors))};
    if (count > kMaxOpenFiles)
      return Error{ErrorCode::kCorrupt, "a process has too many open files"};
    for (std::uint64_t i = 0; i < count; ++i) {
      const VirtAddr file{HVD_TRY(kernel.memory().read_u64(descriptors + i * 8))};
      if (file.value == 0) continue;
      opened.insert(file.value);
      files.insert(HVD_TRY(kernel.field(file, layout.mapping)));
    }
    return {};
  }
};

// All processes: those that run VMs, or share memory with one that does, together; each other by
// its struct mm_struct.
class ProcessPages::Processes {
 public:
  static Result<Processes> of(const Host& host, const Layout& layout, const ProcessPages& pages) {
    Processes out(host.kernel, layout, pages);
    std::vector<std::string> problems;
    const std::vector<Task> tasks = read_tasks(host.kernel, problems);
    if (!problems.empty()) return Error{ErrorCode::kCorrupt, problems.front()};
    // Of a VMM that is exiting, the VM still leads to its memory.
    for (const VirtualMachine& machine : host.machines)
      HVD_TRY(out.tenants_.add_memory(host.kernel, layout, pages, machine.mm));
    for (const Task& task : tasks) {
      const std::uint64_t mm = HVD_TRY(host.kernel.field(task.struct_at, layout.mm));
      const bool is_vmm = HVD_TRY(host.vmms.may_run(host.kernel, task.struct_at));
      if (mm == 0 && !is_vmm) continue;
      const auto added = out.add(task, mm, is_vmm);
      // Then nothing can be told from its memory. Of another process nothing is kept, though it may
      // be the back end of a VM's device.
      if (!added && is_vmm) return added.error();
      if (added) continue;
      if (pages.which_ == HostFiles::kAll)
        return with_context(added, "files of process " + std::to_string(task.pid)).error();
      out.unknown_.insert(mm);
    }
    out.join_sharers();
    return out;
  }

  Survey& tenants() { return tenants_; }
  const std::unordered_map<std::uint64_t, Survey>& others() const { return others_; }

 private:
  Processes(const Kernel& kernel, const Layout& layout, const ProcessPages& pages)
      : kernel_(kernel), layout_(layout), pages_(pages) {}

  // Threads of a process may have files of their own.
  Result<void> add(const Task& task, std::uint64_t mm, bool is_vmm) {
    Survey* to = &tenants_;
    if (!is_vmm) {
      const auto [at, is_new] = others_.try_emplace(mm);
      to = &at->second;
      if (is_new) HVD_TRY(to->add_memory(kernel_, layout_, pages_, VirtAddr{mm}));
    }
    const std::uint64_t files = HVD_TRY(kernel_.field(task.struct_at, layout_.files));
    if (files != 0 && (is_vmm ? tenants_seen_files_ : seen_files_).insert(files).second)
      HVD_TRY(to->add_open_files(kernel_, layout_, VirtAddr{files}));
    return {};
  }

  // Whoever shares memory with a VMM, or with one that does, counts as one.
  void join_sharers() {
    for (bool again = true; again;) {
      again = false;
      for (auto each = others_.begin(); each != others_.end();) {
        const Survey& survey = each->second;
        if (!unknown_.contains(each->first) && !overlap(survey.shared, tenants_.shared) &&
            !overlap(survey.anonymous, tenants_.anonymous)) {
          ++each;
          continue;
        }
        tenants_.add(survey);
        each = others_.erase(each);
        again = true;
      }
    }
  }

  const Kernel& kernel_;
  const Layout& layout_;
  const ProcessPages& pages_;
  Survey tenants_;
  std::unordered_map<std::uint64_t, Survey> others_;
  Set seen_files_, tenants_seen_files_, unknown_;
};

Result<ProcessPages> ProcessPages::open(const Host& host, HostFiles which) {
  const Kernel& kernel = host.kernel;
  if (!host.vmms.complete())
    return Error{ErrorCode::kNotFound, "which processes run VMs is not known for sure"};
  const Types& types = *HVD_TRY(kernel.need_types());
  const Layout layout = HVD_TRY(Layout::from(types));
  const PageStructs structs = HVD_TRY(PageStructs::open(kernel));
  const Member root = HVD_TRY(types.member("anon_vma", "root"));
  ProcessPages out(kernel, structs, root);
  out.which_ = which;
  Processes processes = HVD_TRY(Processes::of(host, layout, out));
  Survey& tenants = processes.tenants();
  if (which == HostFiles::kAll) {
    for (const std::uint64_t file : tenants.opened) {
      if (!HVD_TRY(hides_another(kernel, VirtAddr{file}))) continue;
      return Error{ErrorCode::kUnsupported,
                   "a VM's process has a file open by way of an overlay or a loop device, so that "
                   "its pages cannot be told apart from others"};
    }
  }
  for (const auto& [mm, each] : processes.others()) {
    out.anonymous_.insert(each.anonymous.begin(), each.anonymous.end());
    for (const std::uint64_t file : each.files)
      if (!tenants.files.contains(file)) out.files_.insert(file);
  }
  out.anonymous_.erase(0);
  out.files_.erase(0);
  out.tenants_files_ = std::move(tenants.files);
  return out;
}

std::uint64_t ProcessPages::root_of(std::uint64_t anon_vma) const {
  const std::lock_guard lock(*mutex_);
  const auto known = roots_.find(anon_vma);
  if (known != roots_.end()) return known->second;
  if (roots_.size() >= kMaxRoots) roots_.clear();
  const auto root = kernel_->field(VirtAddr{anon_vma}, root_);
  return roots_[anon_vma] = root ? *root : 0;
}

bool ProcessPages::is_hosts(std::uint64_t file) const {
  return which_ == HostFiles::kAll ? !tenants_files_.contains(file) : files_.contains(file);
}

std::vector<std::optional<PageClass>> ProcessPages::classify(std::uint64_t first,
                                                             std::size_t count) const {
  std::vector<std::optional<PageClass>> out(count);
  const std::vector<PageFacts> pages = pages_.read(first, count);
  for (std::size_t i = 0; i < count; ++i) {
    const PageFacts& page = pages[i];
    if (page.poisoned) continue;
    if (page.use == PageUse::kAnonymous && anonymous_.contains(root_of(page.mapping)))
      out[i] = PageClass::kUser;
    else if (page.use == PageUse::kFile && is_hosts(page.mapping)) out[i] = PageClass::kPageCache;
  }
  return out;
}

}  // namespace hvd::linux_guest
