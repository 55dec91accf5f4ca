#include "capture/qemu/command.h"

#include <cstdio>
#include <optional>
#include <set>

#include "base/text.h"
#include "capture/guest_pages.h"
#include "capture/policy.h"
#include "capture/qemu/process_partition.h"
#include "capture/qemu/qemu_guest.h"
#include "capture/session.h"

namespace hvd {
namespace {

using format::PartitionWriter;

struct Named {
  std::string name;
  std::string value;
};

// The run over all guests: what goes wrong with one is told, recorded in the dump, and does not
// stop the others.
class Capture {
 public:
  explicit Capture(CaptureSession& session) : session_(session) {}

  Result<void> guest(const Named& vm) {
    auto connected = QemuGuest::connect(vm.value);
    if (!connected) return not_written(vm.name, PartitionState::kFailed, connected.error().message);
    QemuGuest& guest = **connected;
    auto facts = guest.machine_facts();
    if (!facts) return not_written(vm.name, PartitionState::kFailed, facts.error().message);
    const PartitionPolicy policy = session_.policy().for_guest(vm.name, facts->uuid);
    if (policy.stateless) {
      HVD_TRY(not_written(vm.name, PartitionState::kStateless, policy.note));
      return hypervisor_only(vm.name, guest);
    }
    if (const auto refused = refusal(policy)) {
      HVD_TRY(not_written(vm.name, PartitionState::kFailed, *refused));
      return hypervisor_only(vm.name, guest);
    }
    return whole_guest(vm.name, guest, policy, std::move(*facts));
  }

 private:
  void report_problem(const std::string& name, const std::string& what) {
    session_.report_problem(name, what);
  }

  Result<void> not_written(const std::string& name, PartitionState state,
                           const std::string& reason) {
    return session_.not_written(name, Role::kGuest, state, reason);
  }

  Result<void> hypervisor_only(const std::string& name, QemuGuest& guest) {
    auto facts = guest.hypervisor_facts();
    if (!facts) {
      report_problem(name, facts.error().message);
      return {};
    }
    auto snapshot =
        snapshot_process(guest.pid(), session_.policy().hypervisor_level(), std::move(*facts));
    return write_hypervisor(name, guest, std::move(snapshot), {});
  }

  Result<void> whole_guest(const std::string& name, QemuGuest& guest, const PartitionPolicy& policy,
                           Facts facts) {
    // Everything that can fail without having stopped the guest comes before stopping it.
    auto hypervisor_facts = guest.hypervisor_facts();
    std::optional<GuestLayout> layout;
    std::optional<CpuState> cpus;
    std::unique_ptr<QemuMemory> memory;
    const auto prepare = [&]() -> Result<void> {
      HVD_TRY(guest.stop());
      layout = HVD_TRY(guest.layout());
      cpus = HVD_TRY(guest.cpu_state());
      memory = HVD_TRY(QemuMemory::open(guest.pid(), layout->ram));
      return {};
    };
    if (auto ready = prepare(); !ready) {
      HVD_TRY(not_written(name, PartitionState::kFailed, ready.error().message));
      return hypervisor_only(name, guest);
    }
    auto snapshot = hypervisor_facts
                        ? snapshot_process(guest.pid(), session_.policy().hypervisor_level(),
                                           std::move(*hypervisor_facts))
                        : Result<ProcessSnapshot>(hypervisor_facts.error());
    auto partition = session_.begin(name, Role::kGuest, policy);
    if (!partition) {
      // A recipient that nothing can be sealed to, or no randomness: the guest is not written at
      // all.
      return not_written(name, PartitionState::kFailed, partition.error().message);
    }
    HVD_TRY(write_guest(name, **partition, policy, facts, *layout, *cpus, *memory));
    if (session_.policy().hypervisor_level() == HypervisorLevel::kFull) {
      HVD_TRY(write_hypervisor(name, guest, std::move(snapshot), layout->ram));
      return resume(name, guest);
    }
    HVD_TRY(resume(name, guest));
    return write_hypervisor(name, guest, std::move(snapshot), layout->ram);
  }

  Result<void> resume(const std::string& name, QemuGuest& guest) {
    if (auto resumed = guest.resume(); !resumed) {
      report_problem(name,
                     "the guest was stopped and could not be resumed: " + resumed.error().message);
    }
    return {};
  }

  Result<void> write_guest(const std::string& name, PartitionWriter& partition,
                           const PartitionPolicy& policy, Facts& facts, const GuestLayout& layout,
                           const CpuState& cpus, const QemuMemory& memory) {
    for (const PhysRange& range : memory.ranges()) facts.ranges.push_back({range, "ram", {}});
    for (const FlatRange& other : layout.other) {
      facts.ranges.push_back(
          {other.range, other.kind.starts_with("rom") ? "rom" : "device", other.region});
    }
    // Classes are for the tenant, who may grant a part of the partition; they are sealed like all
    // else. Looking for the VMCOREINFO of a guest that does not say where it is would keep the
    // guest stopped for seconds, so that is done only when the level asks for it.
    const RestrictedMemory allowed(memory, policy.restricted);
    const auto pages = GuestPages::open(allowed, cpus.registers, cpus.notes, policy.level,
                                        policy.level != GuestLevel::kFull);
    add_excluded(facts, *pages, policy);
    std::vector<std::string> problems;
    if (const auto short_of = pages->shortfall(policy.level)) problems.push_back(*short_of);
    const auto write = [&]() -> Result<format::MemoryTotals> {
      HVD_TRY(partition.facts(facts));
      for (const Note& note : cpus.notes) HVD_TRY(partition.note(note));
      if (const auto& note = pages->found_note()) HVD_TRY(partition.note(*note));
      for (const Registers& registers : cpus.registers) HVD_TRY(partition.registers(registers));
      Progress progress("Capturing " + printable(name), total_size(memory.ranges()));
      format::MemoryOptions options = session_.memory_options();
      options.mark = [&pages](std::uint64_t first, std::size_t count) {
        return pages->marks(first, count);
      };
      return write_memory(allowed, partition, options, progress);
    };
    return session_.end(name, partition, write(), std::move(problems));
  }

  Result<void> write_hypervisor(const std::string& vm, QemuGuest& guest,
                                Result<ProcessSnapshot> snapshot,
                                const std::vector<RamBlock>& ram) {
    const std::string name = "hypervisor:" + vm;
    const PartitionPolicy& policy = session_.policy().for_hypervisor();
    const bool full = session_.policy().hypervisor_level() == HypervisorLevel::kFull;
    std::optional<std::string> refused;
    if (!snapshot) refused = snapshot.error().message;
    else if (full && policy.recipients.empty())
      refused = "level full needs a recipient for the hypervisor";
    else if (full && ram.empty())
      refused = "level full needs the guest's layout, to leave its RAM out";
    if (refused) {
      return session_.not_written(name, Role::kHypervisor, PartitionState::kFailed, *refused);
    }
    const auto partition = HVD_TRY(session_.begin(name, Role::kHypervisor, policy));
    Progress progress("Capturing " + name, 0);
    if (full) return write_full(guest.pid(), *snapshot, ram, *partition, progress);
    return write_secure(*snapshot, *partition, progress);
  }

  CaptureSession& session_;
};

Result<std::vector<Named>> parse_vms(const std::vector<std::string>& texts) {
  std::vector<Named> vms;
  std::set<std::string> names;
  for (const std::string& text : texts) {
    const auto [name, value] = HVD_TRY(split_named(text, "--vm"));
    vms.push_back({name, value});
    if (name == "*" || name == "hypervisor" || name == kHostUserName ||
        name.starts_with("hypervisor:")) {
      return Error{ErrorCode::kInvalidArgument,
                   "--vm " + text + ": " + name + " is a reserved name"};
    }
    if (!names.insert(name).second) {
      return Error{ErrorCode::kInvalidArgument, "--vm " + text + ": the name is already taken"};
    }
  }
  return vms;
}

}  // namespace

CommandOutcome run_qemu(const QemuOptions& options) {
  const std::vector<Named> vms = HVD_TRY(parse_vms(options.vms));
  HVD_TRY(require_sodium());
  Policy policy = HVD_TRY(build_policy(options));
  const auto session = HVD_TRY(CaptureSession::open(options, std::move(policy), "qemu"));
  Capture capture(*session);
  std::optional<Error> failed;
  for (const Named& vm : vms) {
    if (auto done = capture.guest(vm); !done) {
      failed = done.error();
      break;
    }
  }
  return session->finish(failed);
}

void add_qemu_command(CLI::App& app, CommandOutcome& outcome) {
  auto options = std::make_shared<QemuOptions>();
  auto* command = app.add_subcommand("qemu", "Capture running QEMU guests into one dump");
  command->add_option("--vm", options->vms, "Guest to capture: NAME=QMP_SOCKET (may repeat)")
      ->required();
  add_capture_options(*command, *options);
  command->callback([options, &outcome] { outcome = run_qemu(*options); });
}

}  // namespace hvd
