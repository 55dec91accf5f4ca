#include "capture/qemu_command.h"

#include <sys/utsname.h>

#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "base/byte_source.h"
#include "base/text.h"
#include "base/version.h"
#include "capture/interrupt.h"
#include "capture/pipeline.h"
#include "capture/policy.h"
#include "capture/process_partition.h"
#include "capture/qemu_guest.h"
#include "capture/source_memory.h"
#include "decrypt/keyring.h"
#include "guest/linux/page_classes.h"

namespace hvd {
namespace {

using format::PartitionWriter;
using nlohmann::json;

struct Named {
  std::string name;
  std::string value;
};

Result<Named> split_named(const std::string& text, const std::string& option) {
  const std::size_t mark = text.find('=');
  if (mark == std::string::npos || mark == 0 || mark + 1 == text.size()) {
    return Error{ErrorCode::kInvalidArgument, option + " " + text + ": expected NAME=VALUE"};
  }
  return Named{text.substr(0, mark), text.substr(mark + 1)};
}

Result<Policy> build_policy(const QemuOptions& options) {
  Policy policy;
  if (!options.policy.empty()) {
    const std::string text = HVD_TRY(read_text_file(options.policy, 1u << 20));
    policy = HVD_TRY(with_context(Policy::parse(text), options.policy));
  }
  const auto add = [&policy](const std::string& name, Recipient recipient) {
    if (name == "hypervisor") return policy.add_hypervisor_recipient(std::move(recipient));
    PolicyRule rule;
    rule.match = name;
    rule.policy.recipients.push_back(std::move(recipient));
    policy.add(std::move(rule));
  };
  for (const std::string& text : options.recipients) {
    const Named named = HVD_TRY(split_named(text, "--recipient"));
    const X25519Recipient recipient =
        HVD_TRY(with_context(parse_recipient(named.value), "--recipient " + text));
    add(named.name, recipient);
  }
  for (const std::string& text : options.passphrases) {
    const Named named = HVD_TRY(split_named(text, "--passphrase"));
    std::string words = HVD_TRY(read_text_file(named.value, 4096));
    auto passphrase = with_context(parse_passphrase_file(words), named.value);
    sodium_memzero(words.data(), words.size());
    if (!passphrase) return std::move(passphrase).error();
    add(named.name, std::move(*passphrase));
  }
  for (const std::string& name : options.stateless) {
    PolicyRule rule;
    rule.match = name;
    rule.policy.stateless = true;
    policy.add(std::move(rule));
  }
  return policy;
}

Result<format::SigningKey> load_signing_key(const std::string& path) {
  if (path.empty()) return format::SigningKey::generate();
  const std::string text = HVD_TRY(read_text_file(path, 4096));
  return with_context(format::SigningKey::parse(text), path);
}

std::string agent_json() {
  utsname host{};
  ::uname(&host);
  return json{{"agent", "hvdump-capture qemu"},
              {"version", kVersion},
              {"host", host.nodename},
              {"host_kernel", host.release}}
      .dump(-1, ' ', false, json::error_handler_t::replace);
}

// The run over all guests: what goes wrong with one is told, recorded in the dump, and does not
// stop the others.
class Capture {
 public:
  Capture(format::DumpWriter& dump, const Policy& policy, unsigned threads)
      : dump_(dump), policy_(policy), threads_(threads) {}

  Result<void> guest(const Named& vm) {
    auto connected = QemuGuest::connect(vm.value);
    if (!connected) return not_written(vm.name, PartitionState::kFailed, connected.error().message);
    QemuGuest& guest = **connected;
    auto facts = guest.machine_facts();
    if (!facts) return not_written(vm.name, PartitionState::kFailed, facts.error().message);
    const PartitionPolicy policy = policy_.for_guest(vm.name, (*facts)["uuid"].get<std::string>());
    (*facts)["address_space"] = "physical";
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

  bool damaged() const { return damaged_; }

 private:
  void complain(const std::string& name, const std::string& what) {
    std::fprintf(stderr, "%s: %s\n", printable(name).c_str(), printable(what, true).c_str());
    damaged_ = true;
  }

  // A partition that says why it is empty. Its name and state are all there is, so nothing needs
  // sealing.
  Result<void> not_written(const std::string& name, PartitionState state,
                           const std::string& reason) {
    if (state == PartitionState::kFailed) complain(name, reason);
    const auto partition =
        HVD_TRY(dump_.begin_partition({.name = name, .role = Role::kGuest}, nullptr, {}));
    return partition->end(state, reason, {});
  }

  Result<std::unique_ptr<PartitionWriter>> begin(const std::string& name, Role role,
                                                 const PartitionPolicy& policy) {
    format::PartitionInfo info{.name = name, .role = role, .codec = policy.codec};
    if (policy.recipients.empty()) return dump_.begin_partition(info, nullptr, {});
    PartitionKeys fresh = HVD_TRY(PartitionKeys::generate());
    const auto keys = std::make_shared<const PartitionKeys>(std::move(fresh));
    const auto slots =
        HVD_TRY(make_key_slots(*keys, dump_.id(), dump_.next_partition(), policy.recipients));
    return dump_.begin_partition(info, keys, slots);
  }

  Result<void> hypervisor_only(const std::string& name, QemuGuest& guest) {
    auto facts = guest.hypervisor_facts();
    if (!facts) {
      complain(name, facts.error().message);
      return {};
    }
    auto snapshot = snapshot_process(guest.pid(), policy_.hypervisor_level(), std::move(*facts));
    return write_hypervisor(name, guest, std::move(snapshot), {});
  }

  Result<void> whole_guest(const std::string& name, QemuGuest& guest, const PartitionPolicy& policy,
                           json facts) {
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
    auto snapshot = hypervisor_facts ? snapshot_process(guest.pid(), policy_.hypervisor_level(),
                                                        std::move(*hypervisor_facts))
                                     : Result<ProcessSnapshot>(hypervisor_facts.error());
    auto partition = begin(name, Role::kGuest, policy);
    if (!partition) {
      // A recipient that nothing can be sealed to, or no randomness: the guest is not written at
      // all.
      return not_written(name, PartitionState::kFailed, partition.error().message);
    }
    HVD_TRY(write_guest(name, **partition, facts, *layout, *cpus, *memory));
    if (policy_.hypervisor_level() == HypervisorLevel::kFull) {
      HVD_TRY(write_hypervisor(name, guest, std::move(snapshot), layout->ram));
      return resume(name, guest);
    }
    HVD_TRY(resume(name, guest));
    return write_hypervisor(name, guest, std::move(snapshot), layout->ram);
  }

  Result<void> resume(const std::string& name, QemuGuest& guest) {
    if (auto resumed = guest.resume(); !resumed) {
      complain(name, "the guest was stopped and could not be resumed: " + resumed.error().message);
    }
    return {};
  }

  Result<void> write_guest(const std::string& name, PartitionWriter& partition, json& facts,
                           const GuestLayout& layout, const CpuState& cpus,
                           const QemuMemory& memory) {
    json ranges = json::array();
    for (const PhysRange& range : memory.ranges())
      ranges.push_back({range.begin.value, range.size, "ram"});
    for (const FlatRange& other : layout.other) {
      ranges.push_back({other.range.begin.value, other.range.size,
                        other.kind.starts_with("rom") ? "rom" : "device", other.region});
    }
    facts["ranges"] = std::move(ranges);
    const auto write = [&]() -> Result<PipelineResult> {
      HVD_TRY(partition.facts(facts.dump(-1, ' ', false, json::error_handler_t::replace)));
      for (const Note& note : cpus.notes) HVD_TRY(partition.note(note));
      for (const Registers& registers : cpus.registers) HVD_TRY(partition.registers(registers));
      Progress progress("Capturing " + printable(name), total_size(memory.ranges()));
      PipelineOptions options;
      options.threads = threads_;
      // Classes are for the tenant, who may grant a part of the partition; they are sealed like all
      // else.
      const auto classifier = classify(memory, cpus);
      if (classifier) {
        options.classify = [&classifier](std::uint64_t first, std::size_t count) {
          return classifier->classes.classify(first, count);
        };
      }
      return write_memory(memory, partition, options, progress);
    };
    const auto written = write();
    if (!written) {
      // The dump itself may be what failed; then this fails too, and what was written stays.
      const bool stopped = written.error().code == ErrorCode::kInterrupted;
      HVD_TRY(partition.end(PartitionState::kIncomplete, written.error().message, {}));
      if (stopped || written.error().code == ErrorCode::kIo) return written.error();
      complain(name, written.error().message);
      return {};
    }
    if (written->unreadable_pages > 0) {
      const std::string problem =
          std::to_string(written->unreadable_pages) + " pages could not be read";
      complain(name, problem);
      return partition.end(PartitionState::kIncomplete, problem, {problem});
    }
    return partition.end(PartitionState::kCaptured, "", {});
  }

  struct Classifier {
    Image image;  // what the classes read from
    linux_guest::PageClassifier classes;
  };

  // For a Linux guest; null for another one, whose pages then are unclassified.
  static std::unique_ptr<Classifier> classify(const QemuMemory& memory, const CpuState& cpus) {
    Image image;
    image.memory = std::make_shared<SourceMemory>(memory);
    image.registers = cpus.registers;
    image.notes = cpus.notes;
    // Without the guest's word where its VMCOREINFO is, looking for it would keep the guest stopped
    // for seconds.
    const bool announced = std::any_of(image.notes.begin(), image.notes.end(),
                                       [](const Note& n) { return n.name == "VMCOREINFO"; });
    if (!announced) return nullptr;
    const auto kernel = linux_guest::Kernel::open(image);
    if (!kernel) return nullptr;
    auto classes = linux_guest::PageClassifier::open(**kernel);
    if (!classes) return nullptr;
    return std::make_unique<Classifier>(Classifier{std::move(image), std::move(*classes)});
  }

  Result<void> write_hypervisor(const std::string& vm, QemuGuest& guest,
                                Result<ProcessSnapshot> snapshot,
                                const std::vector<RamBlock>& ram) {
    const std::string name = "hypervisor:" + vm;
    const PartitionPolicy& policy = policy_.for_hypervisor();
    const bool full = policy_.hypervisor_level() == HypervisorLevel::kFull;
    std::optional<std::string> refused;
    if (!snapshot) refused = snapshot.error().message;
    else if (full && policy.recipients.empty())
      refused = "level full needs a recipient for the hypervisor";
    else if (full && ram.empty())
      refused = "level full needs the guest's layout, to leave its RAM out";
    if (refused) {
      complain(name, *refused);
      const auto partition =
          HVD_TRY(dump_.begin_partition({.name = name, .role = Role::kHypervisor}, nullptr, {}));
      return partition->end(PartitionState::kFailed, *refused, {});
    }
    const auto partition = HVD_TRY(begin(name, Role::kHypervisor, policy));
    Progress progress("Capturing " + name, 0);
    if (full) return write_full(guest.pid(), *snapshot, ram, *partition, progress);
    return write_secure(*snapshot, *partition, progress);
  }

  format::DumpWriter& dump_;
  const Policy& policy_;
  const unsigned threads_;
  bool damaged_ = false;
};

Result<std::vector<Named>> parse_vms(const std::vector<std::string>& texts) {
  std::vector<Named> vms;
  std::set<std::string> names;
  for (const std::string& text : texts) {
    Named vm = HVD_TRY(split_named(text, "--vm"));
    const std::string name = vm.name;
    vms.push_back(std::move(vm));
    if (name == "*" || name == "hypervisor" || name.starts_with("hypervisor:")) {
      return Error{ErrorCode::kInvalidArgument,
                   "--vm " + text + ": the name " + name + " has a meaning of its own"};
    }
    if (!names.insert(name).second) {
      return Error{ErrorCode::kInvalidArgument, "--vm " + text + ": the name is already taken"};
    }
  }
  return vms;
}

}  // namespace

CommandOutcome run_qemu(const QemuOptions& options) {
  HVD_TRY(require_sodium());
  const std::vector<Named> vms = HVD_TRY(parse_vms(options.vms));
  const Policy policy = HVD_TRY(build_policy(options));
  const format::SigningKey key = HVD_TRY(load_signing_key(options.signing_key));
  watch_for_interrupt();
  auto sink = HVD_TRY(FileSink::create(options.output));
  const format::DumpInfo info = HVD_TRY(format::new_dump_info(agent_json()));
  const auto dump = HVD_TRY(format::DumpWriter::create(std::move(sink), info, key));
  Capture capture(*dump, policy, options.threads);
  std::optional<Error> failed;
  for (const Named& vm : vms) {
    if (auto done = capture.guest(vm); !done) {
      failed = done.error();
      break;
    }
  }
  if (failed && failed->code != ErrorCode::kInterrupted) return *failed;
  HVD_TRY(dump->finish());
  if (failed)
    return Error{ErrorCode::kInterrupted,
                 "interrupted; " + options.output + " holds what was written so far"};
  return capture.damaged() ? ExitCode::kDamaged : ExitCode::kDone;
}

void add_qemu_command(CLI::App& app, CommandOutcome& outcome) {
  auto options = std::make_shared<QemuOptions>();
  auto* command = app.add_subcommand("qemu", "Capture running QEMU guests into one dump");
  command->add_option("--vm", options->vms, "Guest to capture: NAME=QMP_SOCKET (may repeat)")
      ->required();
  command->add_option(
      "--recipient", options->recipients,
      "Seal NAME to a public key: NAME=age1... (NAME may be * for every guest, or hypervisor)");
  command->add_option("--passphrase", options->passphrases,
                      "Seal NAME to the passphrase in the first line of a file: NAME=FILE");
  command->add_option("--stateless", options->stateless, "Record NAME but do not dump its memory");
  command->add_option("--policy", options->policy, "Policy file (JSON, see samples/policy.json)");
  command->add_option("--signing-key", options->signing_key,
                      "Sign with the key in this file (default: a key for this dump only)");
  command->add_option("--threads", options->threads, "Worker threads (default: one per core)");
  command
      ->add_option("-o,--output", options->output,
                   "Dump to write: file, block device, FIFO, or - for standard output")
      ->required();
  command->callback([options, &outcome] { outcome = run_qemu(*options); });
}

}  // namespace hvd
