#include "analyzer/facts.h"

#include "base/json.h"
#include "base/text.h"

namespace hvd {
namespace {

using nlohmann::json;

json parsed(const std::string& text) { return parse_json_object(as_bytes(text)); }

std::string text_of(const json& object, const char* key) {
  const auto at = object.find(key);
  return at != object.end() && at->is_string() ? at->get<std::string>() : std::string();
}

}  // namespace

std::optional<ReportedPanic> reported_panic(const std::string& facts) {
  const json object = parsed(facts);
  if (!object.is_object()) return std::nullopt;
  const json reports = object.value("panic", json::array());
  if (object.value("run_state", json()) != "guest-panicked" && reports.empty()) return std::nullopt;
  ReportedPanic panic;
  if (!reports.is_array()) return panic;
  for (const json& report : reports) {
    if (!report.is_object()) continue;
    const json cpu = report.value("cpu", json()), details = report.value("information", json());
    panic.evidence.push_back(
        printable("CPU " + cpu.dump() + (details.is_null() ? "" : ": " + details.dump())));
    if (!panic.cpu && cpu.is_number_unsigned()) panic.cpu = cpu.get<unsigned>();
  }
  return panic;
}

AgentReport agent_report(const std::string& agent) {
  const json object = parsed(agent);
  if (!object.is_object()) return {};
  return {printable(text_of(object, "agent")), printable(text_of(object, "host")), {agent}};
}

std::optional<JsonObject> vmm_facts(const std::string& facts) {
  const json object = parsed(facts);
  if (!object.is_object()) return std::nullopt;
  json shown = json::object();
  for (const char* key : {"host_kernel", "qemu_version", "build_id", "run_state", "command_line",
                          "threads", "level"}) {
    if (object.contains(key)) shown[key] = object[key];
  }
  return JsonObject{shown.dump()};
}

void name_machines(const std::string& facts, std::vector<linux_guest::VirtualMachine>& machines) {
  const json object = parsed(facts);
  const json known = object.is_object() ? object.value("vms", json()) : json();
  for (const json& vm : known.is_array() ? known : json::array()) {
    for (linux_guest::VirtualMachine& machine : machines) {
      if (!vm.is_object() || !machine.name.empty() || vm.value("pid", json()) != machine.pid)
        continue;
      const json name = vm.value("name", json()), uuid = vm.value("uuid", json());
      if (name.is_string()) machine.name = name.get<std::string>();
      if (uuid.is_string()) machine.uuid = uuid.get<std::string>();
    }
  }
}

std::string vm_facts(const linux_guest::VirtualMachine& machine) {
  return json{{"uuid", machine.uuid}}.dump(-1, ' ', false, json::error_handler_t::replace);
}

}  // namespace hvd
