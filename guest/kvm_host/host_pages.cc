#include "guest/kvm_host/host_pages.h"

#include <algorithm>
#include <cstring>

namespace hvd::linux_guest {
namespace {

using Text = std::string_view;

constexpr struct {
  Text name, meaning;
} kKinds[] = {
    {"image", "kernel text and data"},
    {"modules", "text and data of modules"},
    {"per-cpu", "per-CPU variables of the kernel"},
    {"memory-map", "struct page and what leads to it"},
    {"page-tables", "page tables of the kernel and of processes"},
    {"log", "the kernel log"},
    {"objects", "object caches that hold the kernel's own structures only"},
    {"tasks", "struct task_struct; the FPU state in it is redacted"},
    {"stacks",
     "kernel stacks; what is stale and user registers are redacted, of VMM threads everything but "
     "addresses of code and of stacks"},
    {"virtual-machines",
     "KVM's structures; everything is redacted but what VMs, vCPUs and memory slots there are"},
    {"addresses-only",
     "kernel memory that nothing says the use of, and objects that may hold anybody's data: all "
     "but "
     "addresses in the kernel is redacted (level full)"},
    {"guest-state",
     "what KVM has of guests: VMCB or VMCS, FPU state, interrupt controller, kvm_run"},
    {"other-objects", "buffers, sockets, keys, inodes and others: may hold anybody's data"},
    {"processes", "anonymous memory, of VMs and of the host's processes"},
    {"page-cache", "contents of files, shared memory"},
    {"free", "what was there before is still in it"},
    {"poisoned", "the hardware failed there, or the page is offline: not read"},
    {"other", "nothing says what it is used for"},
};
static_assert(std::size(kKinds) == kHostKindCount);

// The first of sorted ranges that ends behind `at`.
std::vector<PhysRange>::const_iterator reaching(const std::vector<PhysRange>& ranges,
                                                std::uint64_t at) {
  return std::upper_bound(
      ranges.begin(), ranges.end(), at,
      [](std::uint64_t a, const PhysRange& r) { return a < r.begin.value + r.size; });
}

// Sorted ranges that do not overlap.
bool is_in(const std::vector<ModuleRange>& ranges, VirtAddr at) {
  const auto behind =
      std::upper_bound(ranges.begin(), ranges.end(), at,
                       [](VirtAddr a, const ModuleRange& range) { return a < range.begin; });
  return behind != ranges.begin() && std::prev(behind)->contains(at);
}

bool is_ours(PageUse use) { return use == PageUse::kReserved || use == PageUse::kOther; }

}  // namespace

std::string_view name_of(HostKind kind) { return kKinds[static_cast<std::size_t>(kind)].name; }
std::string_view meaning_of(HostKind kind) {
  return kKinds[static_cast<std::size_t>(kind)].meaning;
}

HostKind HostPages::kind_of(const PageFacts& facts) const {
  if (facts.poisoned) return HostKind::kPoisoned;
  switch (facts.use) {
    case PageUse::kNone: return HostKind::kOther;
    case PageUse::kOffline: return HostKind::kPoisoned;
    case PageUse::kTable: return HostKind::kPageTables;
    case PageUse::kAnonymous: return HostKind::kProcesses;
    case PageUse::kFile: return HostKind::kPageCache;
    case PageUse::kFree: return HostKind::kFree;
    case PageUse::kSlab: {
      const auto known = cache_kinds_.find(facts.cache.value);
      const HostKind kind = known == cache_kinds_.end() ? HostKind::kAddressesOnly : known->second;
      if (kind != HostKind::kAddressesOnly || addresses_of_unknown_) return kind;
      return HostKind::kOtherObjects;
    }
    case PageUse::kReserved:
    case PageUse::kOther: break;
  }
  if (facts.unused) return HostKind::kFree;
  return addresses_of_unknown_ ? HostKind::kAddressesOnly : HostKind::kOther;
}

std::vector<HostKind> HostPages::kinds(std::uint64_t first, std::size_t count) const {
  const std::vector<PageFacts> facts = pages_.read(first, count);
  std::vector<HostKind> out;
  out.reserve(count);
  for (const PageFacts& page : facts) out.push_back(kind_of(page));
  const std::uint64_t begin = first * kPageSize, end = begin + count * kPageSize;
  const auto each = [&](HostKind kind, auto apply) {
    const auto& ranges = ranges_[static_cast<std::size_t>(kind)];
    for (auto range = reaching(ranges, begin); range != ranges.end() && range->begin.value < end;
         ++range) {
      const std::uint64_t low = std::max(begin, range->begin.value),
                          high = std::min(end, range->begin.value + range->size);
      for (std::uint64_t at = low; at < high; at += kPageSize)
        apply(static_cast<std::size_t>((at - begin) / kPageSize));
    }
  };
  // The kernel says where these are, and struct page must not say that the page is something else.
  for (const HostKind kind :
       {HostKind::kImage, HostKind::kPerCpu, HostKind::kMemoryMap, HostKind::kLog,
        HostKind::kModules, HostKind::kStacks, HostKind::kPageTables}) {
    each(kind, [&](std::size_t i) {
      // Parts of the image were given back after the boot and may be anybody's now.
      const bool given_back = kind == HostKind::kImage && facts[i].use != PageUse::kReserved;
      if (!facts[i].poisoned && is_ours(facts[i].use) && !given_back) out[i] = kind;
    });
  }
  each(HostKind::kGuestState, [&](std::size_t i) {
    const bool kernels = out[i] == HostKind::kAddressesOnly || out[i] == HostKind::kOtherObjects ||
                         out[i] == HostKind::kOther;
    if (kernels) out[i] = HostKind::kGuestState;
  });
  // Known structures in pages that are otherwise left out.
  each(HostKind::kVirtualMachines, [&](std::size_t i) {
    const bool possible = out[i] == HostKind::kOtherObjects || out[i] == HostKind::kOther;
    if (possible) out[i] = HostKind::kVirtualMachines;
  });
  return out;
}

template <typename Apply>
void HostPages::between_kept(std::uint64_t begin, Apply apply) const {
  const std::uint64_t end = begin + kPageSize;
  std::uint64_t at = begin;
  for (auto r = reaching(kept_bytes_, begin); r != kept_bytes_.end() && r->begin.value < end; ++r) {
    apply(at, std::max(at, r->begin.value));
    at = std::min(end, r->begin.value + r->size);
  }
  apply(at, end);
}

std::size_t HostPages::redact(std::uint64_t page, HostKind kind, MutableBytes bytes) const {
  std::size_t blanked = 0;
  const std::uint64_t begin = page * kPageSize, end = begin + kPageSize;
  const auto blank = [&](std::uint64_t from, std::uint64_t to) {
    std::memset(bytes.data() + (from - begin), 0, to - from);
    blanked += to - from;
  };
  if (kind == HostKind::kVirtualMachines) {
    between_kept(begin, blank);
  } else if (kind == HostKind::kAddressesOnly) {
    blanked += redact_unknown(page, bytes);
  } else if (kind == HostKind::kTasks) {
    blanked += redact_tasks(page, bytes);
  } else if (kind == HostKind::kStacks) {
    const auto stack =
        std::lower_bound(stacks_.begin(), stacks_.end(), page,
                         [](const StackPage& s, std::uint64_t number) { return s.page < number; });
    if (stack == stacks_.end() || stack->page != page) blank(begin, end);
    else blanked += redact_stack(*stack, bytes);
  }
  for (auto r = reaching(secret_, begin); r != secret_.end() && r->begin.value < end; ++r)
    blank(std::max(begin, r->begin.value), std::min(end, r->begin.value + r->size));
  for (auto r = reaching(addresses_only_, begin);
       r != addresses_only_.end() && r->begin.value < end; ++r) {
    const std::uint64_t stop = std::min(end, r->begin.value + r->size);
    for (std::uint64_t at = std::max(begin, r->begin.value) / 8 * 8; at < stop; at += 8) {
      le64 word{};
      std::memcpy(&word, bytes.data() + (at - begin), sizeof word);
      if (word != 0 && !is_address(word)) blank(at, at + 8);
    }
  }
  return blanked;
}

bool HostPages::is_address(std::uint64_t word) const {
  const VirtAddr value{word};
  const auto holds = [&](const ModuleRange& range) { return range.contains(value); };
  return std::any_of(code_.begin(), code_.end(), holds) || is_in(stack_ranges_, value);
}

std::size_t HostPages::redact_unknown(std::uint64_t page, MutableBytes bytes) const {
  std::size_t blanked = 0;
  const std::uint64_t begin = page * kPageSize;
  const auto blank = [&](std::uint64_t from, std::uint64_t to) {
    for (std::uint64_t at = from; at < to;) {
      const std::uint64_t next = std::min(to, at / 8 * 8 + 8);
      le64 word{};
      std::memcpy(&word, bytes.data() + (at / 8 * 8 - begin), sizeof word);
      if (word != 0 && !is_in(kernel_, VirtAddr{word})) {
        std::memset(bytes.data() + (at - begin), 0, next - at);
        blanked += next - at;
      }
      at = next;
    }
  };
  between_kept(begin, blank);
  return blanked;
}

std::size_t HostPages::redact_tasks(std::uint64_t page, MutableBytes bytes) const {
  const PageFacts facts = pages_.read(page, 1).front();
  const auto cache = caches_.find(facts.cache.value);
  if (cache == caches_.end() || cache->second.stride <= fpu_at_) {
    std::memset(bytes.data(), 0, bytes.size());
    return bytes.size();
  }
  // Also in objects that are free or on no list: the FPU state of a dead task is still in them.
  std::size_t blanked = 0;
  const std::uint64_t offset = (page - facts.head) * kPageSize;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    const std::uint64_t at = offset + i;
    const bool keep =
        at >= cache->second.first && (at - cache->second.first) % cache->second.stride < fpu_at_;
    if (keep) continue;
    bytes[i] = std::byte{0};
    ++blanked;
  }
  return blanked;
}

std::size_t HostPages::redact_stack(const StackPage& stack, MutableBytes bytes) const {
  std::size_t blanked = 0;
  // At the end of a process's stack: its user registers, of which the last five words (rip, cs,
  // rflags, rsp, ss) say where it was and are kept.
  const VirtAddr user_end = stack.end - std::uint64_t{5} * 8;
  const VirtAddr user_begin = stack.user ? stack.end - user_registers_ : user_end;
  for (std::uint64_t i = 0; i + 8 <= bytes.size(); i += 8) {
    const VirtAddr at = stack.at + i;
    le64 word{};
    std::memcpy(&word, bytes.data() + i, sizeof word);
    if (word == 0) continue;
    bool keep = at >= stack.live && !(at >= user_begin && at < user_end);
    if (stack.addresses_only && keep) keep = is_address(word);
    if (keep) continue;
    std::memset(bytes.data() + i, 0, 8);
    blanked += 8;
  }
  return blanked;
}

}  // namespace hvd::linux_guest
