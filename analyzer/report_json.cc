#include "analyzer/report_json.h"

#include "base/json.h"
#include "base/text.h"

namespace hvd {
namespace {

using nlohmann::json;

template <typename T>
json or_null(const std::optional<T>& value) {
  return value ? json(*value) : json();
}

// A member that is there only when its value is known.
template <typename T>
void put(json& object, const char* key, const std::optional<T>& value) {
  if (value) object[key] = *value;
}

template <typename T, typename Convert>
json array_of(const std::vector<T>& items, Convert convert) {
  json out = json::array();
  for (const T& item : items) out.push_back(convert(item));
  return out;
}

json object_of(const JsonObject& object) {
  json parsed = parse_json_object(as_bytes(object.text));
  return parsed.is_object() ? parsed : json::object();
}

json bytes_by_name(const std::map<std::string, std::uint64_t>& sizes) {
  json out = json::object();
  for (const auto& [name, size] : sizes) out[name] = size;
  return out;
}

json registers_json(const RegisterValues& registers) {
  json out = json::object();
  for (const auto& [name, value] : registers) out[name] = hex(value);
  return out;
}

json frame_json(const FrameReport& frame) {
  json out{{"address", hex(frame.address)}, {"reliable", frame.reliable}};
  put(out, "symbol", frame.symbol);
  put(out, "offset", frame.offset);
  put(out, "module", frame.module);
  put(out, "file", frame.file);
  put(out, "line", frame.line);
  if (frame.inlined) out["inlined"] = true;
  return out;
}

json code_json(const CodeLine& line) {
  return {{"address", hex(line.address)}, {"bytes", hex_bytes(line.bytes)}, {"text", line.text}};
}

json cpu_json(const CpuReport& cpu) {
  json out{{"id", cpu.id},
           {"registers", registers_json(cpu.registers)},
           {"task", nullptr},
           {"stack", array_of(cpu.stack, frame_json)},
           {"code", array_of(cpu.code, code_json)}};
  if (cpu.task) out["task"] = {{"pid", cpu.task->pid}, {"comm", cpu.task->comm}};
  if (cpu.vcpu)
    out["vcpu"] = {{"vm", cpu.vcpu->vm}, {"id", cpu.vcpu->id}, {"in_guest", cpu.vcpu->in_guest}};
  return out;
}

json task_json(const TaskReport& task) {
  return {{"pid", task.pid},          {"tgid", task.tgid},
          {"comm", task.comm},        {"state", task.state},
          {"cpu", or_null(task.cpu)}, {"stack", array_of(task.stack, frame_json)}};
}

json module_json(const ModuleReport& module) {
  json out{{"name", module.name},
           {"base", hex(module.base)},
           {"size", module.size},
           {"build_id", module.build_id}};
  put(out, "timestamp", module.timestamp);
  put(out, "checksum", module.checksum);
  put(out, "version", module.version);
  if (module.pdb) out["pdb"] = {{"file", module.pdb->file}, {"key", module.pdb->key}};
  return out;
}

json log_json(const LogLine& line) {
  return {{"time", line.time}, {"level", line.level}, {"text", line.text}};
}

json finding_json(const Finding& finding) {
  return {{"severity", name_of(finding.severity)},
          {"rule", finding.rule},
          {"text", finding.text},
          {"evidence", finding.evidence}};
}

json os_json(const OsReport& os) {
  return {{"family", name_of(os.family)},
          {"release", os.release},
          {"build_id", os.build_id},
          {"kaslr_offset", os.kaslr_offset ? json(hex(*os.kaslr_offset)) : json()}};
}

json crash_json(const CrashReport& crash) {
  return {{"kind", crash.kind},        {"reason", crash.reason},
          {"bucket", crash.bucket},    {"bucket_frames", crash.bucket_frames},
          {"cpu", or_null(crash.cpu)}, {"time", or_null(crash.time)}};
}

json memory_json(const MemoryReport& memory) {
  return {{"total_bytes", memory.total_bytes},
          {"present_bytes", memory.present_bytes},
          {"by_class", bytes_by_name(memory.by_class)},
          {"absent", bytes_by_name(memory.absent)}};
}

json vcpu_json(const VcpuReport& cpu) {
  return {{"id", cpu.id},
          {"pid", cpu.pid},
          {"host_cpu", or_null(cpu.host_cpu)},
          {"in_guest", cpu.in_guest},
          {"registers", registers_json(cpu.registers)}};
}

json vm_json(const VmReport& vm) {
  return {{"name", vm.name},
          {"uuid", vm.uuid},
          {"pid", vm.pid},
          {"memory_bytes", vm.memory_bytes},
          {"cpus", array_of(vm.cpus, vcpu_json)}};
}

json dump_json(const DumpInfo& dump) {
  return {{"id", dump.id},
          {"created", or_null(dump.created)},
          {"agent", object_of(dump.agent.facts)},
          {"complete", dump.complete},
          {"problems", dump.problems}};
}

}  // namespace

json to_json(const std::vector<CpuReport>& cpus) { return array_of(cpus, cpu_json); }
json to_json(const std::vector<TaskReport>& tasks) { return array_of(tasks, task_json); }
json to_json(const std::vector<ModuleReport>& modules) { return array_of(modules, module_json); }
json to_json(const std::vector<LogLine>& log) { return array_of(log, log_json); }

json to_json(const PartitionReport& partition) {
  json out{{"name", partition.name},
           {"role", name_of(partition.role)},
           {"state", name_of(partition.state)},
           {"state_reason", partition.state_reason},
           {"locked", partition.locked},
           {"os", os_json(partition.os)},
           {"crash", crash_json(partition.crash)},
           {"cpus", to_json(partition.cpus)},
           {"tasks", to_json(partition.tasks)},
           {"modules", to_json(partition.modules)},
           {"log", to_json(partition.log)},
           {"memory", memory_json(partition.memory)},
           {"findings", array_of(partition.findings, finding_json)}};
  if (partition.hypervisor) out["hypervisor"] = object_of(*partition.hypervisor);
  if (!partition.vms.empty()) out["vms"] = array_of(partition.vms, vm_json);
  return out;
}

json to_json(const Report& report) {
  json partitions = json::array();
  for (const PartitionReport& partition : report.partitions)
    partitions.push_back(to_json(partition));
  return {{"schema", "hvdump-triage/1"},
          {"dump", dump_json(report.dump)},
          {"partitions", std::move(partitions)}};
}

std::string json_text(const json& value) {
  return value.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
}

}  // namespace hvd
