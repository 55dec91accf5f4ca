#include "capture/host/host_user.h"

#include "guest/kvm_host/process_pages.h"

namespace hvd {

using linux_guest::HostFiles;

Result<void> write_host_user(CaptureSession& session, const linux_guest::Host& host) {
  PartitionPolicy policy;
  policy.recipients = session.policy().host_user();
  if (policy.recipients.empty()) return {};
  const auto refuse = [&](const std::string& why) {
    return session.not_written(kHostUserName, Role::kHypervisor, PartitionState::kFailed, why);
  };
  const auto pages = linux_guest::ProcessPages::open(
      host, session.policy().all_page_cache() ? HostFiles::kAll : HostFiles::kOfProcesses);
  if (!pages) return refuse("cannot determine page ownership: " + pages.error().message);
  const PhysicalMemory& memory = *host.kernel.image().memory;
  Facts facts;
  facts.contents = kHostUserName;
  for (const PhysRange& range : memory.ranges()) facts.ranges.push_back({range, "ram", {}});

  auto partition = session.begin(kHostUserName, Role::kHypervisor, policy);
  if (!partition) return refuse(partition.error().message);
  const auto write = [&]() -> Result<format::MemoryTotals> {
    HVD_TRY((*partition)->facts(facts));
    Progress progress("Capturing the host's processes", total_size(memory.ranges()));
    format::MemoryOptions options = session.memory_options();
    options.mark = [&pages](std::uint64_t first, std::size_t count) {
      std::vector<format::PageMark> marks(count);
      const auto classes = pages->classify(first, count);
      for (std::size_t i = 0; i < count; ++i) {
        if (classes[i]) marks[i].page_class = *classes[i];
        else marks[i].excluded = Absence::kFilteredClass;
      }
      return marks;
    };
    return write_memory(memory, **partition, options, progress);
  };
  return session.end(kHostUserName, **partition, write(), {});
}

}  // namespace hvd
