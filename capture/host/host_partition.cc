#include "capture/host/host_partition.h"

#include <mutex>

#include "base/json.h"
#include "base/lru_cache.h"
#include "base/text.h"
#include "capture/memory_pages.h"
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
  void left_out(HostKind kind, std::uint64_t pages) {
    const std::lock_guard lock(mutex_);
    entry(kind).pages += pages;
  }
  void kept(HostKind kind, std::uint64_t page, std::uint64_t blanked) {
    const std::lock_guard lock(mutex_);
    Entry& in = entry(kind);
    ++in.pages;
    in.blanked_bytes += blanked;
    if (blanked == 0) return;
    ++in.blanked_pages;
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
      out["done"] = !is_kept(kind) ? "left-out" : in.blanked_bytes > 0 ? "redacted" : "kept";
      if (!is_kept(kind)) out["reason"] = name_of(reason_of(kind));
      if (in.blanked_bytes > 0) {
        out["redacted_bytes"] = in.blanked_bytes;
        out["redacted_pages"] = runs(in.list);
        out["redacted_page_count"] = in.blanked_pages;
      }
      kinds.push_back(std::move(out));
    }
    return json{{"ledger", 1}, {"kinds", std::move(kinds)}, {"lists_complete", complete_}}.dump();
  }

 private:
  struct Entry {
    std::uint64_t pages = 0, blanked_bytes = 0, blanked_pages = 0;
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

// The host's memory with everything left out and blanked that is not the kernel's own.
class HostSource final : public PageSource {
 public:
  HostSource(const PhysicalMemory& memory, const HostPages& pages, Ledger& ledger)
      : memory_(memory), pages_(pages), ledger_(ledger), windows_(kKeptWindows) {}
  const std::vector<PhysRange>& ranges() const override { return memory_.ranges(); }

  PageRun fetch(PhysAddr at, std::uint64_t max_pages, MutableBytes scratch) const override {
    const std::uint64_t page = at.value / kPageSize;
    const std::uint64_t first = page / kWindow * kWindow;
    auto kinds = windows_.find(first);
    if (!kinds) kinds = windows_.insert(first, pages_.kinds(first, kWindow));
    const std::size_t begin = page - first;
    const HostKind kind = (*kinds)[begin];
    const std::size_t stop =
        static_cast<std::size_t>(std::min<std::uint64_t>(kWindow, begin + max_pages));
    std::size_t end = begin + 1;
    while (end < stop && (*kinds)[end] == kind) ++end;
    if (!is_kept(kind)) {
      ledger_.left_out(kind, end - begin);
      return {PageRun::Kind::kAbsent, end - begin, {}, reason_of(kind)};
    }
    PageRun run = memory_.fetch(at, end - begin, scratch);
    if (run.kind != PageRun::Kind::kBytes) {
      for (std::uint64_t i = 0; i < run.pages; ++i) ledger_.kept(kind, page + i, 0);
      return run;
    }
    for (std::uint64_t i = 0; i < run.pages; ++i) {
      const MutableBytes bytes = scratch.subspan(i * kPageSize, kPageSize);
      ledger_.kept(kind, page + i, pages_.redact(page + i, kind, bytes));
    }
    return run;
  }

 private:
  const MemoryPages memory_;
  const HostPages& pages_;
  Ledger& ledger_;
  mutable LruCache<std::uint64_t, std::vector<HostKind>> windows_;
};

std::string facts_of(const Host& host, const Policy& policy) {
  json ranges = json::array(), vms = json::array();
  for (const PhysRange& range : host.kernel.image().memory->ranges())
    ranges.push_back({range.begin.value, range.size, "ram"});
  for (const VirtualMachine& machine : host.machines)
    vms.push_back({{"name", machine.name}, {"uuid", machine.uuid}, {"pid", machine.pid}});
  const json facts{
      {"address_space", "physical"},
      {"level", policy.hypervisor_level() == HypervisorLevel::kFull ? "full" : "secure"},
      {"restricted", restricted_json(policy.restricted())},
      {"host_kernel", host.kernel.info().release()},
      {"vms", std::move(vms)},
      {"ranges", std::move(ranges)}};
  return to_text(facts);
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
  if (!pages) return refuse("whose pages are whose cannot be told: " + pages.error().message);

  const auto partition = HVD_TRY(session.begin(kName, Role::kHypervisor, policy));
  const auto write = [&]() -> Result<PipelineResult> {
    HVD_TRY(partition->facts(facts_of(host, session.policy())));
    HVD_TRY(partition->note(host.kernel.info_note()));
    for (unsigned cpu = 0; cpu < host.kernel.cpu_count(); ++cpu) {
      if (const auto registers = visible_registers(host, cpu))
        HVD_TRY(partition->registers(*registers));
    }
    Progress progress("Capturing the hypervisor", total_size(host.kernel.image().memory->ranges()));
    Ledger ledger;
    const HostSource source(*host.kernel.image().memory, *pages, ledger);
    PipelineOptions options = session.pipeline();
    options.mark = [](std::uint64_t, std::size_t count) {
      return std::vector<PageMark>(count, {PageClass::kKernel, {}});
    };
    const PipelineResult result = HVD_TRY(write_memory(source, *partition, options, progress));
    const std::string text = ledger.text();
    HVD_TRY(partition->note({format::kLedgerNote, format::kLedgerType,
                             Bytes(as_bytes(text).begin(), as_bytes(text).end())}));
    return result;
  };
  return session.end(kName, *partition, write(), std::move(problems));
}

}  // namespace hvd
