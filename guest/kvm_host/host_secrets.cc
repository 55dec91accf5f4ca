// What in a host's kernel must not be seen, and where nothing else can be.
#include <algorithm>

#include "base/text.h"
#include "guest/kvm_host/host_survey.h"

namespace hvd::linux_guest {
namespace {

using Text = std::string_view;

// The state of the random number generator; both structures are smaller than that.
constexpr Text kSecretSymbols[] = {"base_crng", "input_pool"};
constexpr std::uint64_t kSecretBytes = 256;
// note_buf_t, two note headers and struct elf_prstatus, is allocated in a power of two.
constexpr std::uint64_t kCrashNoteBytes = 512;

}  // namespace

// Where pointers of the kernel's lead, once it is known where no such thing may be looked for.
Result<void> HostPages::Builder::unknown_memory() {
  if (!host_.vmms.complete())
    return Error{ErrorCode::kNotFound, "there may be VMs that are not known"};
  if (guest_state_) return *guest_state_;
  const VirtAddr direct{HVD_TRY(variable("page_offset_base"))};
  const std::uint64_t max_pfn = HVD_TRY(variable("max_pfn"));
  const VirtAddr map{HVD_TRY(variable("vmemmap_base"))};
  const std::uint64_t page = HVD_TRY(types_->size_of("page"));
  const VirtAddr text = HVD_TRY(kernel_.symbol("_text")), end = HVD_TRY(kernel_.symbol("_end"));
  const std::vector<PhysRange>& memory = kernel_.memory().physical().ranges();
  const std::uint64_t end_page =
      memory.empty() ? 0 : (memory.back().begin.value + memory.back().size) / kPageSize + 1;
  const std::uint64_t count = std::min(max_pfn, end_page);
  auto& ranges = out_.kernel_;
  ranges = {{direct, count * kPageSize}, {map, count * page}, {text, end - text}};
  for (const ModuleRange& range : ranges) {
    if (range.begin.value >> 63 == 0 || range.begin.value + range.size < range.begin.value)
      return Error{ErrorCode::kCorrupt,
                   "the kernel's memory cannot begin at " + hex(range.begin.value)};
  }
  ranges.insert(ranges.end(), out_.stack_ranges_.begin(), out_.stack_ranges_.end());
  for (const Module& module : host_.modules)
    ranges.insert(ranges.end(), module.ranges.begin(), module.ranges.end());
  std::sort(ranges.begin(), ranges.end(),
            [](const ModuleRange& a, const ModuleRange& b) { return a.begin < b.begin; });
  // Stacks may lie in the direct map.
  std::size_t last = 0;
  for (std::size_t i = 1; i < ranges.size(); ++i) {
    const std::uint64_t into = ranges[i].begin - ranges[last].begin;
    if (into > ranges[last].size) ranges[++last] = ranges[i];
    else ranges[last].size = std::max(ranges[last].size, into + ranges[i].size);
  }
  ranges.resize(last + 1);
  return {};
}

Result<void> HostPages::Builder::secrets() {
  // Device data on its way through memory that the device can reach (kernel/dma/swiotlb.c); the
  // pool has been a member since v6.6.
  if (const auto pool = kernel_.symbol("io_tlb_default_mem")) {
    const Member begin = HVD_TRY(types_->first_member_of("io_tlb_mem", {"defpool.start", "start"}));
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
  for (unsigned cpu = 0; cpu < kernel_.cpu_count(); ++cpu) HVD_TRY(own_stacks(cpu, stack_pointers));
  for (const Text name : kSecretSymbols) {
    if (const auto at = kernel_.symbol(name)) blank(*at, kSecretBytes);
  }
  return {};
}

// What comes from user mode passes a CPU's entry stack, and exceptions and interrupts have stacks
// of their own: user registers stay there. Those that no CPU is on have nothing to tell.
Result<void> HostPages::Builder::own_stacks(unsigned cpu,
                                            const std::vector<PhysAddr>& stack_pointers) {
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
    for (const PageMapping& piece : pieces(at, size)) list.push_back({piece.phys, piece.size});
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

}  // namespace hvd::linux_guest
