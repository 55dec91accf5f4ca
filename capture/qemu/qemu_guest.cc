#include "capture/qemu/qemu_guest.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "base/byte_source.h"
#include "base/json.h"
#include "base/text.h"
#include "formats/elf_core/notes.h"
#include "formats/elf_core/reader.h"

namespace hvd {
namespace {

using nlohmann::json;

constexpr std::size_t kMaxCpus = 8192;

std::string member(const json& object, const char* key) {
  if (!object.is_object()) return {};
  const auto at = object.find(key);
  return at != object.end() && at->is_string() ? at->get<std::string>() : std::string();
}

}  // namespace

Result<std::unique_ptr<QemuGuest>> QemuGuest::connect(const std::string& socket_path) {
  QmpClient client = HVD_TRY(QmpClient::connect(socket_path));
  std::unique_ptr<QemuGuest> guest(new QemuGuest(std::move(client)));
  guest->pid_ = HVD_TRY(guest->qmp_.peer_pid());
  const json status = HVD_TRY(guest->qmp_.execute("query-status"));
  guest->run_state_ = member(status, "status");
  if (guest->run_state_.empty())
    return Error{ErrorCode::kIo, "query-status: the QMP peer does not report the run state"};
  return guest;
}

QemuGuest::~QemuGuest() {
  if (auto resumed = resume(); !resumed) {
    std::fprintf(stderr, "warning: the guest was stopped and could not be resumed: %s\n",
                 printable(resumed.error().message).c_str());
  }
}

Result<void> QemuGuest::stop() {
  const json status = HVD_TRY(qmp_.execute("query-status"));
  const auto running = status.find("running");
  if (running == status.end() || !running->is_boolean()) {
    return Error{ErrorCode::kIo,
                 "query-status: the QMP peer does not report whether the guest runs"};
  }
  if (!running->get<bool>()) return {};
  // Set before the command: if its answer is lost, resuming a running guest does no harm, the
  // opposite does.
  stopped_by_us_ = true;
  HVD_TRY(qmp_.execute("stop"));
  return {};
}

Result<void> QemuGuest::resume() {
  if (!std::exchange(stopped_by_us_, false)) return {};
  HVD_TRY(qmp_.execute("cont"));
  return {};
}

Result<Facts> QemuGuest::machine_facts() {
  Facts facts;
  facts.run_state = run_state_;
  const json name = HVD_TRY(qmp_.execute("query-name"));
  const json uuid = HVD_TRY(qmp_.execute("query-uuid"));
  const json cpus = HVD_TRY(qmp_.execute("query-cpus-fast"));
  facts.qemu_name = member(name, "name");
  facts.uuid = member(uuid, "UUID");
  facts.cpus = cpus.is_array() ? cpus.size() : 0;
  facts.panic = panic_reports(cpus);
  return facts;
}

// The event that told of the panic went to whoever was connected then. What it said is kept by the
// CPU that was running (QEMU target/i386/cpu.c, property "crash-information"): Hyper-V's five words
// when the guest gave them, else an error that differs from that of a CPU which reported nothing.
std::vector<PanicReport> QemuGuest::panic_reports(const json& cpus) {
  std::vector<PanicReport> reports;
  if (!cpus.is_array()) return reports;
  for (std::size_t i = 0; i < std::min(cpus.size(), kMaxCpus); ++i) {
    const std::string path = member(cpus[i], "qom-path");
    if (path.empty()) continue;
    const auto told = qmp_.execute("qom-get", {{"path", path}, {"property", "crash-information"}});
    const bool bare = !told && told.error().message.ends_with("No crash information");
    if (!told && !bare) continue;
    PanicReport& report = reports.emplace_back();
    const json index = cpus[i].value("cpu-index", json());
    if (index.is_number_unsigned()) report.cpu = index.get<std::uint64_t>();
    if (told) report.information = to_text(*told);
  }
  return reports;
}

Result<Facts> QemuGuest::hypervisor_facts() {
  Facts facts;
  facts.run_state = run_state_;
  facts.pid = pid_;
  const json version = HVD_TRY(qmp_.execute("query-version"));
  facts.qemu_version =
      parse_facts(as_bytes(to_text({{"qemu_version", version}}))).value_or(Facts()).qemu_version;
  if (auto tree = qmp_.human("info qtree")) facts.device_tree = *tree;
  return facts;
}

Result<std::vector<std::string>> QemuGuest::memory_backends() {
  const json list = HVD_TRY(qmp_.execute("query-memdev"));
  std::vector<std::string> names;
  for (const json& item : list) names.push_back(member(item, "id"));
  return names;
}

Result<std::uint64_t> QemuGuest::host_address(PhysAddr at) {
  const std::string answer = HVD_TRY(qmp_.human("gpa2hva " + hex(at.value)));
  const std::size_t is = answer.rfind(" is 0x");
  unsigned long long address = 0;
  if (is == std::string::npos || std::sscanf(answer.c_str() + is + 4, "%llx", &address) != 1) {
    return Error{ErrorCode::kIo, "QEMU does not report where guest RAM at " + hex(at.value) +
                                     " is: " + printable(answer)};
  }
  return address;
}

Result<GuestLayout> QemuGuest::layout() {
  const std::vector<std::string> backends = HVD_TRY(memory_backends());
  const std::string mtree = HVD_TRY(qmp_.human("info mtree -f"));
  const std::vector<FlatRange> view = parse_flat_view(mtree);
  if (view.empty())
    return Error{ErrorCode::kIo, "QEMU does not report the guest's memory layout (info mtree -f)"};
  GuestLayout layout;
  for (const FlatRange& range : view) {
    // RAM is what comes from a memory backend. BIOS images and VGA memory are "ram" or "rom" to
    // QEMU too, but have regions of their own. Parts of RAM shadowed below 1 MiB show as "rom" and
    // are still RAM. A region of an old machine type is named by the backend's path.
    const bool backed = std::any_of(backends.begin(), backends.end(), [&](const std::string& id) {
      return !id.empty() && (range.region == id || range.region.ends_with("/" + id));
    });
    const bool memory =
        range.kind == "ram" || range.kind == "rom" || range.kind == "romd" || range.kind == "ramd";
    if (backed && (range.kind == "ram" || range.kind == "rom")) {
      // Ranges that continue each other in the guest and in QEMU are one, so that chunks run
      // through.
      const std::uint64_t host = HVD_TRY(host_address(range.range.begin));
      if (!layout.ram.empty()) {
        RamBlock& last = layout.ram.back();
        if (last.range.begin.value + last.range.size == range.range.begin.value &&
            last.host_address + last.range.size == host) {
          last.range.size += range.range.size;
          continue;
        }
      }
      layout.ram.push_back({range.range, host});
    } else if (memory) {
      layout.other.push_back(range);
    }
  }
  if (layout.ram.empty())
    return Error{ErrorCode::kIo, "QEMU shows no RAM in the guest's memory layout"};
  return layout;
}

Result<CpuState> QemuGuest::cpu_state() {
  // A dump of a single page carries all vCPUs' registers and the VMCOREINFO note in binary, control
  // registers included; QMP has no other form of them.
  FileDescriptor file(::memfd_create("hvdump-registers", MFD_CLOEXEC));
  if (!file) return errno_error("cannot make a memory file");
  HVD_TRY(qmp_.pass_descriptor("hvdump", file.get()));
  HVD_TRY(qmp_.execute("dump-guest-memory", {{"paging", false},
                                             {"protocol", "fd:hvdump"},
                                             {"begin", 0},
                                             {"length", kPageSize},
                                             {"format", "elf"}}));
  const std::string path = "/proc/self/fd/" + std::to_string(file.get());
  const auto source = HVD_TRY(FileSource::open(path));
  elf::Core core = HVD_TRY(with_context(elf::read_core(*source), "QEMU's registers"));
  CpuState state;
  state.registers = elf::registers_from(core.notes);
  for (Note& note : core.notes) {
    if (note.name != "CORE" && note.name != "QEMU") state.notes.push_back(std::move(note));
  }
  if (state.registers.empty()) return Error{ErrorCode::kIo, "QEMU's dump carries no registers"};
  return state;
}

}  // namespace hvd
