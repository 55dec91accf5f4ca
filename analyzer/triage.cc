#include "analyzer/triage.h"

#include "analyzer/guest.h"
#include "analyzer/host_findings.h"
#include "analyzer/report_pieces.h"
#include "base/json.h"
#include "base/text.h"

namespace hvd {
namespace {

using nlohmann::json;

json printable_all(const std::vector<std::string>& texts) {
  json out = json::array();
  for (const std::string& text : texts) out.push_back(printable(text));
  return out;
}

// What of the partition's memory is there, by extent.
json memory_json(const Image& image) {
  json by_class = json::object(), absent = json::object();
  std::uint64_t total = 0, present = 0;
  if (image.memory) {
    std::array<std::uint64_t, kPageClassCount> classes{};
    std::array<std::uint64_t, kAbsenceCount> reasons{};
    std::uint64_t sealed = 0, lost = 0;
    for (const PhysRange& range : image.memory->ranges()) {
      total += range.size;
      for (std::uint64_t offset = 0; offset < range.size;) {
        const Extent extent = image.memory->extent_at(range.begin + offset);
        const std::uint64_t size = std::min(extent.range.size, range.size - offset);
        switch (extent.kind) {
          case Extent::Kind::kStored:
            present += size;
            classes[static_cast<std::size_t>(extent.page_class)] += size;
            break;
          case Extent::Kind::kZero:
            present += size;
            reasons[static_cast<std::size_t>(Absence::kZero)] += size;
            break;
          case Extent::Kind::kAbsent:
            reasons[static_cast<std::size_t>(extent.reason)] += size;
            break;
          case Extent::Kind::kSealed: sealed += size; break;
          case Extent::Kind::kUnknown: lost += size; break;
          case Extent::Kind::kHole: break;
        }
        offset += std::max<std::uint64_t>(size, 1);
      }
    }
    for (std::size_t i = 0; i < kPageClassCount; ++i) {
      if (classes[i]) by_class[std::string(name_of(static_cast<PageClass>(i)))] = classes[i];
    }
    for (std::size_t i = 0; i < kAbsenceCount; ++i) {
      if (reasons[i]) absent[std::string(name_of(static_cast<Absence>(i)))] = reasons[i];
    }
    if (sealed) absent["sealed"] = sealed;
    if (lost) absent["lost"] = lost;
  }
  return {{"total_bytes", total},
          {"present_bytes", present},
          {"by_class", by_class},
          {"absent", absent}};
}

json empty_partition(const Image& image) {
  return {
      {"name", printable(image.name)},
      {"role", name_of(image.role)},
      {"state", name_of(image.state)},
      {"state_reason", printable(image.state_reason)},
      {"locked", image.locked},
      {"os", {{"family", "unknown"}, {"release", ""}, {"build_id", ""}, {"kaslr_offset", nullptr}}},
      {"crash",
       {{"kind", "unknown"},
        {"reason", ""},
        {"bucket", ""},
        {"bucket_frames", json::array()},
        {"cpu", nullptr},
        {"time", nullptr}}},
      {"cpus", json::array()},
      {"tasks", json::array()},
      {"modules", json::array()},
      {"log", json::array()},
      {"memory", memory_json(image)},
      {"findings", json::array()}};
}

void add_finding(json& partition, const char* severity, const char* rule, const std::string& text) {
  partition["findings"].push_back(finding_json(severity, rule, text));
}

// The hypervisor partition of a VMM process: its threads are its CPUs.
void report_process(const Image& image, json& partition) {
  const json facts = parse_json_object(as_bytes(image.facts));
  if (!facts.is_object()) return;
  partition["hypervisor"] = json::object();
  for (const char* key : {"host_kernel", "qemu_version", "build_id", "run_state", "command_line",
                          "threads", "level"}) {
    if (facts.contains(key)) partition["hypervisor"][key] = facts[key];
  }
}

// What the guest told QEMU of its end (pvpanic, Hyper-V's crash registers), which is known whatever
// its memory looks like.
std::optional<ToldPanic> told_panic(const json& facts, json& partition) {
  const json reports = facts.value("panic", json::array());
  if (facts.value("run_state", json()) != "guest-panicked" && reports.empty()) return std::nullopt;
  ToldPanic told;
  add_finding(partition, "info", "panic-reported", told.reason);
  if (!reports.is_array()) return told;
  for (const json& report : reports) {
    if (!report.is_object()) continue;
    const json cpu = report.value("cpu", json()), details = report.value("information", json());
    partition["findings"].back()["evidence"].push_back(
        printable("CPU " + cpu.dump() + (details.is_null() ? "" : ": " + details.dump())));
    if (!told.cpu && cpu.is_number_unsigned()) told.cpu = cpu.get<unsigned>();
  }
  return told;
}

void report_partition(const Image& image, const TriageOptions& options, bool with_vms,
                      json& partitions);

void report_guest(const Image& image, const TriageOptions& options, bool with_vms, json& partition,
                  json& vms) {
  const json facts = parse_json_object(as_bytes(image.facts));
  const auto told = facts.is_object() ? told_panic(facts, partition) : std::nullopt;
  auto guest = open_guest(image, options.symbols);
  if (guest && guest->linux_os) {
    report_linux(*guest->linux_os, told, partition);
    // A hypervisor image has no memory of its VMs: those are partitions beside it.
    if (!with_vms || image.role == Role::kHypervisor) return;
    for (const Image& vm : guest->linux_os->vm_images()) report_partition(vm, options, false, vms);
    return;
  }
  if (guest) {
    report_windows(*guest->windows_os, told, partition);
    return;
  }
  add_finding(partition, "warning", "os-unknown",
              "no operating system was recognised: " + guest.error().message);
  if (!told) return;
  partition["crash"]["kind"] = "panic";
  partition["crash"]["reason"] = told->reason;
  if (told->cpu) partition["crash"]["cpu"] = *told->cpu;
}

// Adds the partition and, of a KVM host, its VMs: one level of them.
void report_partition(const Image& image, const TriageOptions& options, bool with_vms,
                      json& partitions) {
  json partition = empty_partition(image), vms = json::array();
  for (const std::string& problem : image.problems) {
    add_finding(partition, image.locked ? "info" : "warning", image.locked ? "sealed" : "damage",
                problem);
  }
  if (image.memory && !image.memory->ranges().empty()) {
    if (is_process(image)) {
      report_process(image, partition);
    } else if (image.role != Role::kHypervisor || image.name != kHostUserName) {
      report_guest(image, options, with_vms, partition, vms);
    }
  }
  partitions.push_back(std::move(partition));
  for (json& vm : vms) partitions.push_back(std::move(vm));
}

}  // namespace

json triage(const OpenedDump& dump, const TriageOptions& options) {
  json agent = parse_json_object(as_bytes(dump.agent));
  json report{
      {"schema", "hvdump-triage/1"},
      {"dump",
       {{"id", dump.id},
        {"created", dump.created_ns
                        ? json(utc(static_cast<std::time_t>(dump.created_ns / 1'000'000'000)))
                        : json()},
        {"agent", agent.is_object() ? agent : json::object()},
        {"complete", dump.complete},
        {"problems", printable_all(dump.problems)}}},
      {"partitions", json::array()}};
  for (const Image& image : dump.partitions)
    report_partition(image, options, true, report["partitions"]);
  relate_host_and_guests(report["partitions"]);
  return report;
}

}  // namespace hvd
