#include "capture/machine_command.h"

#include <algorithm>
#include <numeric>
#include <set>

#include "base/heap.h"
#include "capture/cached_memory.h"
#include "capture/host_partition.h"
#include "capture/host_user.h"
#include "capture/tenant.h"
#include "decrypt/keyring.h"
#include "formats/open_dump.h"

namespace hvd {
namespace {

using namespace linux_guest;

// The host's memory with its pages kept for a while: page tables and structures are read again and
// again, each time by a few bytes.
struct Host {
  OpenedDump dump;
  std::unique_ptr<const PhysicalMemory> allowed;
  Image image;
};

Result<std::unique_ptr<Host>> open_host(const MachineOptions& options, const Policy& policy) {
  const Keyring keys = HVD_TRY(Keyring::load(options.identities, {}));
  auto host = std::make_unique<Host>();
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

Result<void> capture(CaptureSession& session, const Host& host) {
  const auto kernel = Kernel::open(host.image);
  if (!kernel) {
    // Without it nobody can say whose a page is.
    return session.not_written("hypervisor", Role::kHypervisor, PartitionState::kFailed,
                               kernel.error().message);
  }
  std::vector<std::string> problems = (*kernel)->problems();
  const std::vector<Module> modules = read_modules(**kernel, problems);
  const std::vector<VirtualMachine> machines = read_virtual_machines(**kernel, modules, problems);
  for (const std::string& problem : problems) session.complain("host", problem);
  // Whatever could not be read may have hidden a VM.
  const VmmProcesses vmms(machines, problems.empty());
  HVD_TRY(write_host(session, **kernel, modules, machines, vmms));
  const std::vector<std::string> names = partition_names(machines);
  std::vector<std::size_t> order(machines.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  const auto priority = [&](std::size_t i) {
    return session.policy().for_guest(names[i], machines[i].uuid).priority;
  };
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return priority(a) > priority(b); });
  if (!machines.empty()) {
    const auto kvm = HVD_TRY(KvmTypes::open(**kernel, modules));
    for (const std::size_t i : order)
      HVD_TRY(write_tenant(session, **kernel, *kvm, machines[i], names[i]));
  }
  return write_host_user(session, **kernel, vmms);
}

}  // namespace

CommandOutcome run_machine(const MachineOptions& options) {
  return_memory_early();
  HVD_TRY(require_sodium());
  Policy policy = HVD_TRY(build_policy(options));
  const auto host = HVD_TRY(open_host(options, policy));
  const auto session = HVD_TRY(CaptureSession::open(options, std::move(policy), "machine"));
  const auto done = capture(*session, *host);
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
