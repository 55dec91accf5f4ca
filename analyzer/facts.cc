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

std::optional<ReportedPanic> reported_panic(const Facts& facts) {
  if (facts.run_state != "guest-panicked" && facts.panic.empty()) return std::nullopt;
  ReportedPanic panic;
  for (const PanicReport& report : facts.panic) {
    const std::string cpu = report.cpu ? std::to_string(*report.cpu) : "null";
    panic.evidence.push_back(
        printable("CPU " + cpu + (report.information.empty() ? "" : ": " + report.information)));
    if (!panic.cpu && report.cpu) panic.cpu = static_cast<unsigned>(*report.cpu);
  }
  return panic;
}

AgentReport agent_report(const std::string& agent) {
  const json object = parsed(agent);
  if (!object.is_object()) return {};
  return {printable(text_of(object, "agent")), printable(text_of(object, "host")), {agent}};
}

JsonObject vmm_facts(const Facts& facts) {
  Facts shown;
  shown.host_kernel = facts.host_kernel;
  shown.qemu_version = facts.qemu_version;
  shown.build_id = facts.build_id;
  shown.run_state = facts.run_state;
  shown.command_line = facts.command_line;
  shown.threads = facts.threads;
  shown.level = facts.level;
  json object = parsed(to_json(shown));
  object.erase("address_space");
  object.erase("ranges");
  return {to_text(object)};
}

void name_machines(const Facts& facts, std::vector<linux_guest::VirtualMachine>& machines) {
  for (const VmFact& vm : facts.vms) {
    for (linux_guest::VirtualMachine& machine : machines) {
      if (!machine.name.empty() || vm.pid != machine.pid) continue;
      machine.name = vm.name;
      machine.uuid = vm.uuid;
    }
  }
}

}  // namespace hvd
