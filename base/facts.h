// Facts: what the agent knew of a partition when it wrote it: whose memory it is, where it lies,
// and what the machine or process was (formats/hvd/SPEC.md, "FACTS").
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/address.h"
#include "base/bytes.h"
#include "base/result.h"

namespace hvd {

/// What the addresses of a partition are addresses of.
enum class AddressKind : std::uint8_t {
  kPhysical,  // a machine's memory
  kProcess,   // a process's memory, ranges exact to the byte
  kFile,      // a file of `file_bytes` bytes, the first at address 0
  kVirtual,   // pieces of a kernel's virtual memory: only of an opened file, never in an .hvd
};

struct FactRange {
  PhysRange range;
  std::string kind = "ram";  // "ram", "vmm" and "kvm" are memory; "rom" and "device" are not
  std::string region;        // what the VMM calls it; may be empty
};

/// A CPU on which the guest reported its end to the VMM.
struct PanicReport {
  std::optional<std::uint64_t> cpu;
  std::string information;  // compact JSON: QEMU's GuestPanicInformation; empty when it gave none
  std::optional<std::array<std::uint64_t, 5>> hyper_v;  // the crash registers, when it gave these
};

struct ThreadFact {
  std::int64_t tid = 0;
  std::string name;
};

struct QemuVersion {
  std::uint64_t major = 0, minor = 0, micro = 0;
  std::string package;
};

/// What the KVM of a dead host had of a guest (SPEC.md lists the types).
struct KvmPart {
  std::uint32_t type = 0, vcpu = 0;
  PhysAddr address;
  std::uint64_t size = 0;
};

struct VcpuFact {
  std::uint32_t vcpu = 0;
  std::int64_t tid = 0;  // of its thread on the host
  bool in_guest = false;
  std::optional<std::uint32_t> host_cpu;
};

/// The VMM process of a dead host's guest, whose memory is in the guest's partition.
struct VmmFacts {
  std::int64_t pid = 0;
  std::uint64_t base = 0;  // its address 0 is at this address of the partition
  std::vector<KvmPart> kvm;
  std::vector<std::string> command_line;  // without secrets
  std::vector<VcpuFact> vcpus;
};

struct VmFact {
  std::string name, uuid;
  std::int64_t pid = 0;
};

struct RestrictedFact {
  PhysRange range;
  std::string action;  // "skip", "substitute", "scrub"
};

struct ImportedFact {
  std::string file, kind;
};

/// What a Windows triage dump lists of drivers.
struct DriverFact {
  std::string name;
  std::uint64_t base = 0, size = 0;
  std::uint32_t checksum = 0, timestamp = 0;
};
struct UnloadedDriverFact {
  std::string name;
  std::uint64_t begin = 0, end = 0;
};
struct SecondaryDataFact {
  std::string guid;  // hexadecimal
  std::uint64_t size = 0;
};

/// Members that are empty are not written.
struct Facts {
  AddressKind address_space = AddressKind::kPhysical;
  std::vector<FactRange> ranges;
  std::string uuid;
  std::string level;     // "full", "kernel", "mini"; of the hypervisor "secure", "full"
  std::string contents;  // "host-user": pages of the host's processes that run no VM
  bool encrypted = false;
  std::vector<RestrictedFact> restricted;
  std::optional<ImportedFact> imported;
  std::optional<std::uint64_t> file_bytes;

  // Of a guest captured from QEMU.
  std::string run_state, qemu_name;
  std::optional<std::uint64_t> cpus;
  std::vector<PanicReport> panic;

  // Of a VMM process, or the hypervisor.
  std::optional<std::int64_t> pid;
  std::optional<QemuVersion> qemu_version;
  std::string device_tree, host_kernel, build_id;
  std::vector<std::string> command_line;  // without secrets
  std::vector<ThreadFact> threads;
  std::vector<VmFact> vms;

  // Of a guest out of a dead host.
  std::optional<VmmFacts> vmm;

  // Of an opened Windows dump; never in an .hvd.
  std::string windows_dump;  // "full", "bitmap", "kernel", "triage" ...
  std::optional<std::uint64_t> data_blocks;
  std::vector<DriverFact> drivers;
  std::vector<UnloadedDriverFact> unloaded_drivers;
  std::vector<SecondaryDataFact> secondary_data;

  /// A JSON object of what a later writer said besides, for those who pass it on; may be empty.
  std::string unknown;
};

/// The facts in a JSON object. Members that are not of their type are passed over.
/// kCorrupt when it is not an object, or nested too deeply.
Result<Facts> parse_facts(ByteView json);

/// A JSON object. Text that is not UTF-8 has U+FFFD in the place of what is not.
std::string to_json(const Facts& facts);

}  // namespace hvd
