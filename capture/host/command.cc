#include "capture/host/command.h"

#include <algorithm>
#include <numeric>
#include <set>

#include "base/heap.h"
#include "base/output_file.h"
#include "capture/cached_memory.h"
#include "capture/host/host_partition.h"
#include "capture/host/host_user.h"
#include "capture/host/tenant.h"
#include "envelope/keyring.h"
#include "formats/open_dump.h"

namespace hvd {
namespace {

using namespace linux_guest;

// The host's memory with its pages kept for a while: page tables and structures are read again and
// again, each time by a few bytes.
struct HostMemory {
  OpenedDump dump;
  std::unique_ptr<const PhysicalMemory> allowed;
  Image image;
};

Result<std::unique_ptr<HostMemory>> open_memory(const MachineOptions& options,
                                                const Policy& policy) {
  const Keyring keys = HVD_TRY(Keyring::load(options.identities, {}));
  auto host = std::make_unique<HostMemory>();
  host->dump = HVD_TRY(open_dump(options.memory, keys, options.partition));
  if (host->dump.partitions.size() != 1) {
    return Error{
        ErrorCode::kInvalidArgument,
        options.memory + " holds several partitions; say with --partition which is the host"};
  }
  host->image = host->dump.partitions.front();
  if (host->image.locked || !host->image.memory)
    return Error{ErrorCode::kSealed, options.memory + ": no memory of the host can be read"};
  host->allowed = std::make_unique<RestrictedMemory>(*host->dump.partitions.front().memory,
                                                     policy.restricted());
  host->image.memory = std::make_shared<CachedMemory>(*host->allowed);
  return host;
}

// Two VMs may have one name, and a VM one that means something else.
std::vector<std::string> partition_names(const std::vector<VirtualMachine>& machines) {
  std::vector<std::string> names;
  std::set<std::string> taken{"*", "hypervisor", kHostUserName};
  for (const VirtualMachine& machine : machines) {
    std::string name = tenant_name(machine);
    if (!taken.insert(name).second || name.starts_with("hypervisor:")) {
      name += "-" + std::to_string(machine.pid);
      taken.insert(name);
    }
    names.push_back(std::move(name));
  }
  return names;
}

Result<void> capture(CaptureSession& session, const HostMemory& memory) {
  const auto kernel = Kernel::open(memory.image);
  if (!kernel) {
    // Without it nobody can say whose a page is.
    return session.not_written("hypervisor", Role::kHypervisor, PartitionState::kFailed,
                               kernel.error().message);
  }
  std::vector<std::string> problems;
  const Host host = Host::read(**kernel, problems);
  for (const std::string& problem : problems) session.report_problem("host", problem);
  HVD_TRY(write_host(session, host));
  const std::vector<std::string> names = partition_names(host.machines);
  std::vector<std::size_t> order(host.machines.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  const auto priority = [&](std::size_t i) {
    return session.policy().for_guest(names[i], host.machines[i].uuid).priority;
  };
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return priority(a) > priority(b); });
  if (!host.machines.empty()) {
    const auto kvm = HVD_TRY(KvmTypes::open(host.kernel, host.modules));
    for (const std::size_t i : order)
      HVD_TRY(write_tenant(session, host.kernel, *kvm, host.machines[i], names[i]));
  }
  return write_host_user(session, host);
}

}  // namespace

CommandOutcome run_machine(const MachineOptions& options) {
  return_memory_early();
  HVD_TRY(require_sodium());
  HVD_TRY(refuse_inputs_as_output(options.output, {options.memory}));
  HVD_TRY(refuse_inputs_as_output(options.output, options.identities));
  Policy policy = HVD_TRY(build_policy(options));
  const auto memory = HVD_TRY(open_memory(options, policy));
  const auto session = HVD_TRY(CaptureSession::open(options, std::move(policy), "machine"));
  const auto done = capture(*session, *memory);
  return session->finish(done ? std::nullopt : std::optional<Error>(done.error()));
}

void add_machine_command(CLI::App& app, CommandOutcome& outcome) {
  auto options = std::make_shared<MachineOptions>();
  auto* command = app.add_subcommand(
      "machine", "Split the memory of a dead KVM host by owner: the hypervisor and each VM");
  command
      ->add_option("memory", options->memory,
                   "/proc/vmcore in a capture kernel, or a dump of a host: ELF, kdump-compressed, "
                   ".hvd")
      ->required();
  add_capture_options(*command, *options);
  command->add_option("--partition", options->partition,
                      "Of an .hvd: the guest that is itself a KVM host");
  command->add_option("--identity", options->identities,
                      "age identity file to open it with (may repeat)");
  command->callback([options, &outcome] { outcome = run_machine(*options); });
}

}  // namespace hvd
