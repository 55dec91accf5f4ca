// The triage report as a value. The guests and triage.cc fill it; report_json.cc writes it in the
// published schema (schema/hvdump-triage-1.json), text_report.cc and html_report.cc for people.
//
// Strings out of a dump have passed printable(). What may be missing is a std::optional, or a list
// or name that may be empty.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/partition.h"

namespace hvd {

/// A JSON object that the report repeats as the dump has it: its members are the capturing agent's.
struct JsonObject {
  std::string text = "{}";
};

enum class Severity : std::uint8_t { kInfo, kWarning, kError };
std::string_view name_of(Severity severity);

struct Finding {
  Severity severity = Severity::kInfo;
  std::string rule;  // "stack-incomplete": a name that programs may look for
  std::string text;
  std::vector<std::string> evidence;
};

/// Makes `text` printable; the evidence must be so already.
Finding finding(Severity severity, std::string rule, const std::string& text,
                std::vector<std::string> evidence = {});

struct FrameReport {
  std::uint64_t address = 0;
  std::optional<std::string> symbol, module;
  std::optional<std::uint64_t>
      offset;  // into the symbol, or into the module when no symbol is known
  std::optional<std::string> file;
  std::optional<unsigned> line;
  bool inlined = false;  // into the next frame
  bool reliable = true;
};

struct CodeLine {
  std::uint64_t address = 0;
  Bytes bytes;
  std::string text;
};

struct RunningTask {
  std::int32_t pid = 0;
  std::string comm;
};

/// The virtual CPU that a host's CPU was running.
struct RunningVcpu {
  std::string vm;
  std::uint32_t id = 0;
  bool in_guest = false;
};

/// Registers by name, where their values are known.
using RegisterValues = std::map<std::string, std::uint64_t, std::less<>>;

struct CpuReport {
  std::uint32_t id = 0;
  RegisterValues registers;
  std::optional<RunningTask> task;
  std::optional<RunningVcpu> vcpu;
  std::vector<FrameReport> stack;
  std::vector<CodeLine> code;  // around the instruction pointer
};

struct TaskReport {
  std::int32_t pid = 0, tgid = 0;
  std::string comm;
  std::string state;  // one letter, as ps writes it
  std::optional<std::uint32_t> cpu;
  std::vector<FrameReport> stack;
};

struct PdbReport {
  std::string file, key;
};

struct ModuleReport {
  std::string name;
  std::uint64_t base = 0, size = 0;
  std::string build_id;
  // Windows only, and of these what the image says.
  std::optional<std::uint32_t> timestamp, checksum;
  std::optional<std::string> version;
  std::optional<PdbReport> pdb;
};

struct LogLine {
  double time = 0;  // seconds since the guest booted
  unsigned level = 0;
  std::string text;  // may hold several lines
};

enum class OsFamily : std::uint8_t { kUnknown, kLinux, kWindows };
std::string_view name_of(OsFamily family);

struct OsReport {
  OsFamily family = OsFamily::kUnknown;
  std::string release, build_id;
  std::optional<std::uint64_t> kaslr_offset;
};

struct CrashReport {
  std::string kind = "unknown";  // panic, oops, bugcheck, hang, none, unknown
  std::string reason;
  std::string bucket;  // a stable name for crashes of one cause
  std::vector<std::string> bucket_frames;
  std::optional<std::uint32_t> cpu;
  std::optional<double> time;  // seconds since the guest booted
};

struct MemoryReport {
  std::uint64_t total_bytes = 0, present_bytes = 0;
  std::map<std::string, std::uint64_t> by_class, absent;  // bytes
};

struct VcpuReport {
  std::uint32_t id = 0;
  std::int32_t pid = 0;                   // of its thread on the host; 0 when not known
  std::optional<std::uint32_t> host_cpu;  // the one it was last loaded on
  bool in_guest = false;
  RegisterValues registers;
};

/// A virtual machine that a KVM host ran.
struct VmReport {
  std::string name, uuid;
  std::int32_t pid = 0;  // of its VMM process
  std::uint64_t memory_bytes = 0;
  std::vector<VcpuReport> cpus;
};

struct PartitionReport {
  std::string name;
  Role role = Role::kGuest;
  PartitionState state = PartitionState::kCaptured;
  std::string state_reason;
  bool locked = false;
  OsReport os;
  CrashReport crash;
  std::vector<CpuReport> cpus;
  std::vector<TaskReport> tasks;
  std::vector<ModuleReport> modules;
  std::vector<LogLine> log;
  MemoryReport memory;
  std::vector<Finding> findings;         // damage is among them
  std::optional<JsonObject> hypervisor;  // of a VMM process: what its capture recorded
  std::vector<VmReport> vms;             // of a KVM host
};

struct AgentReport {
  std::string name, host;  // empty when the dump does not say
  JsonObject facts;        // all that the agent says of itself and its host
};

struct DumpInfo {
  std::string id;                      // empty for dumps in other formats
  std::optional<std::string> created;  // "2021-02-21T01:38:22Z"
  AgentReport agent;
  bool complete = true;
  std::vector<std::string> problems;
};

struct Report {
  DumpInfo dump;
  std::vector<PartitionReport> partitions;
};

}  // namespace hvd
