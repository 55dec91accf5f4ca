#include "analyzer/host_findings.h"

#include <nlohmann/json.hpp>

#include "analyzer/report_pieces.h"

namespace hvd {
namespace {

using nlohmann::json;

constexpr std::size_t kEvidenceFrames = 6;
constexpr std::size_t kEvidenceLines = 8;

const json* task_of(const json& host, const json& pid) {
  for (const json& task : host["tasks"])
    if (task["pid"] == pid) return &task;
  return nullptr;
}

json frames_of(const json& stack) {
  json out = json::array();
  for (const json& frame : stack) {
    if (out.size() == kEvidenceFrames) break;
    if (frame.contains("symbol")) out.push_back(frame["symbol"]);
  }
  return out;
}

// What the host's log says of memory that failed (mm/memory-failure.c, machine checks).
json memory_failures(const json& host) {
  json out = json::array();
  for (const json& record : host["log"]) {
    const std::string text = record["text"].get<std::string>();
    const bool tells = text.find("Memory failure") != std::string::npos ||
                       text.find("Hardware Error") != std::string::npos ||
                       text.find("hardware memory error") != std::string::npos;
    if (tells && out.size() < kEvidenceLines) out.push_back(text);
  }
  return out;
}

void relate_vcpu(json& host, const json& vm, const json& vcpu, json* guest) {
  const std::string which = "vCPU " + vcpu["id"].dump();
  if (vcpu["pid"] == 0) return;
  for (json& cpu : host["cpus"]) {
    if (!cpu["task"].is_object() || cpu["task"]["pid"] != vcpu["pid"]) continue;
    cpu["vcpu"] = {{"vm", vm["name"]}, {"id", vcpu["id"]}, {"in_guest", vcpu["in_guest"]}};
    if (guest && host["crash"]["kind"] != "none" && host["crash"]["cpu"] == cpu["id"]) {
      guest->at("findings")
          .push_back(
              finding_json("warning", "host-died-in-vcpu",
                           "the host died on the CPU that ran " + which + ", in that one's thread",
                           frames_of(cpu["stack"])));
    }
    return;
  }
  const json* task = task_of(host, vcpu["pid"]);
  if (!guest || !task || (*task)["state"] != "D") return;
  guest->at("findings")
      .push_back(finding_json(
          "warning", "vcpu-stuck-in-host",
          which + " does not run: its thread waits in the host and cannot be interrupted",
          frames_of((*task)["stack"])));
}

void relate_memory(json& host, json& guest) {
  const json restricted = guest["memory"]["absent"].value("restricted", json(0));
  if (restricted == 0) return;
  const json evidence = memory_failures(host);
  const std::string size = restricted.dump() + " bytes of ";
  // Without a word of the host's it is the policy that says so.
  const std::string why = evidence.empty()
                              ? "must not be read, by the host's word or by policy"
                              : "lie where the host's memory failed, or must not be read";
  guest["findings"].push_back(
      finding_json("warning", "restricted-memory", size + "this VM's memory " + why, evidence));
  host["findings"].push_back(
      finding_json("warning", "restricted-memory-of-vm",
                   size + "the VM " + guest["name"].get<std::string>() + " " + why, evidence));
}

}  // namespace

void relate_host_and_guests(json& partitions) {
  for (json& host : partitions) {
    if (!host.contains("vms")) continue;
    for (const json& vm : host["vms"]) {
      json* guest = nullptr;
      for (json& partition : partitions) {
        if (partition["role"] == "guest" && partition["name"] == vm["name"]) guest = &partition;
      }
      for (const json& vcpu : vm["cpus"]) relate_vcpu(host, vm, vcpu, guest);
      if (guest) relate_memory(host, *guest);
    }
  }
}

}  // namespace hvd
