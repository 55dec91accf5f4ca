#include "capture/host/host_partition.h"

#include <mutex>

#include "base/json.h"
#include "base/lru_cache.h"
#include "base/text.h"
#include "guest/kvm_host/host_pages.h"

namespace hvd {
namespace {

using namespace linux_guest;
using nlohmann::json;

constexpr const char* kName = "hypervisor";
constexpr std::uint64_t kWindow = 4096;    // pages whose kinds are looked up at once
constexpr std::size_t kKeptWindows = 16;   // of a byte for each page
constexpr std::size_t kMaxListed = 65536;  // page runs in the ledger

Absence reason_of(HostKind kind) {
  switch (kind) {
    case HostKind::kFree: return Absence::kFilteredFree;
    case HostKind::kProcesses:
    case HostKind::kPageCache: return Absence::kFilteredClass;
    case HostKind::kPoisoned: return Absence::kRestricted;
    default: return Absence::kRedacted;
  }
}

// What became of each kind of page. Filled by several threads.
class Ledger {
 public:
  void excluded(HostKind kind, std::uint64_t pages) {
    const std::lock_guard lock(mutex_);
    entry(kind).pages += pages;
  }
  void kept(HostKind kind, std::uint64_t page, std::uint64_t redacted) {
    const std::lock_guard lock(mutex_);
    Entry& in = entry(kind);
    ++in.pages;
    in.redacted_bytes += redacted;
    if (redacted == 0) return;
    ++in.redacted_pages;
    if (listed_ == kMaxListed) {
      complete_ = false;
      return;
    }
    ++listed_;
    in.list.push_back(page);
  }
  std::string text() {
    json kinds = json::array();
    for (std::size_t i = 0; i < kHostKindCount; ++i) {
      const auto kind = static_cast<HostKind>(i);
      Entry& in = entries_[i];
      if (in.pages == 0) continue;
      json out{{"kind", name_of(kind)}, {"what", meaning_of(kind)}, {"pages", in.pages}};
      out["done"] = !is_kept(kind) ? "left-out" : in.redacted_bytes > 0 ? "redacted" : "kept";
      if (!is_kept(kind)) out["reason"] = name_of(reason_of(kind));
      if (in.redacted_bytes > 0) {
        out["redacted_bytes"] = in.redacted_bytes;
        out["redacted_pages"] = runs(in.list);
        out["redacted_page_count"] = in.redacted_pages;
      }
      kinds.push_back(std::move(out));
    }
    return json{{"ledger", 1}, {"kinds", std::move(kinds)}, {"lists_complete", complete_}}.dump();
  }

 private:
  struct Entry {
    std::uint64_t pages = 0, redacted_bytes = 0, redacted_pages = 0;
    std::vector<std::uint64_t> list;
  };
  Entry& entry(HostKind kind) { return entries_[static_cast<std::size_t>(kind)]; }
  // [address, bytes] of each run.
  static json runs(std::vector<std::uint64_t>& pages) {
    std::sort(pages.begin(), pages.end());
    json out = json::array();
    for (std::size_t i = 0; i < pages.size();) {
      std::size_t n = 1;
      while (i + n < pages.size() && pages[i + n] == pages[i] + n) ++n;
      out.push_back({pages[i] * kPageSize, n * kPageSize});
      i += n;
    }
    return out;
  }

  std::mutex mutex_;
  std::array<Entry, kHostKindCount> entries_;
  std::size_t listed_ = 0;
  bool complete_ = true;
};

// What the host's pages are marked as and what in them is redacted; notes both in the ledger.
// Safe to use from several threads.
class HostFilter {
 public:
  HostFilter(const HostPages& pages, Ledger& ledger)
      : pages_(pages), ledger_(ledger), windows_(kKeptWindows) {}

  std::vector<format::PageMark> marks(std::uint64_t first, std::size_t count) const {
    std::vector<format::PageMark> out(count, {PageClass::kKernel, {}});
    for_each_run(first, count, [&](std::size_t i, std::size_t pages, HostKind kind) {
      if (is_kept(kind)) return;
      for (std::size_t n = 0; n < pages; ++n) out[i + n].excluded = reason_of(kind);
    });
    return out;
  }

  // `bytes` is empty where there are none.
  void redact(std::uint64_t first, std::size_t count, MutableBytes bytes) const {
    for_each_run(first, count, [&](std::size_t i, std::size_t pages, HostKind kind) {
      if (!is_kept(kind)) return ledger_.excluded(kind, pages);
      for (const std::size_t end = i + pages; i < end; ++i) {
        const MutableBytes page = bytes.empty() ? bytes : bytes.subspan(i * kPageSize, kPageSize);
        ledger_.kept(kind, first + i, page.empty() ? 0 : pages_.redact(first + i, kind, page));
      }
    });
  }

 private:
  // Calls `apply` with each run of pages of one kind: its first, counted from `first`, and its
  // length.
  template <typename Apply>
  void for_each_run(std::uint64_t first, std::size_t count, Apply apply) const {
    for (std::size_t i = 0; i < count;) {
      const std::uint64_t window = (first + i) / kWindow * kWindow;
      auto kinds = windows_.find(window);
      if (!kinds) kinds = windows_.insert(window, pages_.kinds(window, kWindow));
      const auto begin = static_cast<std::size_t>(first + i - window);
      const std::size_t stop = std::min<std::size_t>(kWindow, begin + (count - i));
      std::size_t end = begin + 1;
      while (end < stop && (*kinds)[end] == (*kinds)[begin]) ++end;
      apply(i, end - begin, (*kinds)[begin]);
      i += end - begin;
    }
  }

  const HostPages& pages_;
  Ledger& ledger_;
  mutable LruCache<std::uint64_t, std::vector<HostKind>> windows_;
};

Facts facts_of(const Host& host, const Policy& policy) {
  Facts facts;
  for (const PhysRange& range : host.kernel.image().memory->ranges())
    facts.ranges.push_back({range, "ram", {}});
  for (const VirtualMachine& machine : host.machines)
    facts.vms.push_back({machine.name, machine.uuid, machine.pid});
  facts.level = policy.hypervisor_level() == HypervisorLevel::kFull ? "full" : "secure";
  facts.restricted = restricted_facts(policy.restricted());
  facts.host_kernel = host.kernel.info().release();
  return facts;
}

}  // namespace

Result<void> write_host(CaptureSession& session, const Host& host) {
  const PartitionPolicy& policy = session.policy().for_hypervisor();
  const HypervisorLevel level = session.policy().hypervisor_level();
  const auto refuse = [&](const std::string& why) {
    return session.not_written(kName, Role::kHypervisor, PartitionState::kFailed, why);
  };
  if (level == HypervisorLevel::kFull && policy.recipients.empty())
    return refuse("level full needs a recipient for the hypervisor");
  std::vector<std::string> problems;
  const auto pages = HostPages::open(
      host, level == HypervisorLevel::kFull ? HostDetail::kFull : HostDetail::kSecure, problems);
  if (!pages) return refuse("cannot determine page ownership: " + pages.error().message);

  const auto partition = HVD_TRY(session.begin(kName, Role::kHypervisor, policy));
  const auto write = [&]() -> Result<format::MemoryTotals> {
    HVD_TRY(partition->facts(facts_of(host, session.policy())));
    HVD_TRY(partition->note(host.kernel.info_note()));
    for (unsigned cpu = 0; cpu < host.kernel.cpu_count(); ++cpu) {
      if (const auto registers = visible_registers(host, cpu))
        HVD_TRY(partition->registers(*registers));
    }
    Progress progress("Capturing the hypervisor", total_size(host.kernel.image().memory->ranges()));
    Ledger ledger;
    const HostFilter filter(*pages, ledger);
    format::MemoryOptions options = session.memory_options();
    options.mark = [&filter](std::uint64_t first, std::size_t count) {
      return filter.marks(first, count);
    };
    options.redact = [&filter](std::uint64_t first, std::size_t count, MutableBytes bytes) {
      filter.redact(first, count, bytes);
    };
    const PhysicalMemory& memory = *host.kernel.image().memory;
    const format::MemoryTotals totals =
        HVD_TRY(write_memory(memory, *partition, options, progress));
    const std::string text = ledger.text();
    HVD_TRY(partition->note({format::kLedgerNote, format::kLedgerType,
                             Bytes(as_bytes(text).begin(), as_bytes(text).end())}));
    return totals;
  };
  return session.end(kName, *partition, write(), std::move(problems));
}

}  // namespace hvd
