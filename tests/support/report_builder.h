// Reports made by hand, for the tests of their writers.
#pragma once

#include <string>

#include "analyzer/report.h"

namespace hvd {

/// A frame whose function is known.
inline FrameReport frame_at(std::uint64_t address, const std::string& symbol) {
  FrameReport frame;
  frame.address = address;
  frame.symbol = symbol;
  frame.offset = 0x10;
  return frame;
}

inline CpuReport cpu_report(std::uint32_t id, std::int32_t pid, const std::string& text) {
  CpuReport cpu;
  cpu.id = id;
  cpu.registers = {{"rip", 0xffffffff81000010}, {"rsp", 0xffffc90000001000}};
  cpu.task = RunningTask{pid, text};
  cpu.vcpu = RunningVcpu{text, 1, true};
  FrameReport inlined = frame_at(0xffffffff81000010, text);
  inlined.offset.reset();
  inlined.file = text;
  inlined.line = 12;
  inlined.inlined = true;
  FrameReport unnamed;
  unnamed.address = 0xffffffffc0001234;
  unnamed.module = text;
  unnamed.offset = 0x1234;
  unnamed.reliable = false;
  FrameReport nowhere;
  nowhere.address = 0x1000;
  cpu.stack = {inlined, frame_at(0xffffffff81000010, text), unnamed, nowhere};
  cpu.code = {{0xffffffff81000010, Bytes{std::byte{0x90}}, text}};
  return cpu;
}

/// A partition with everything that may be in one; `text` stands wherever a dump decides.
inline PartitionReport full_partition(const std::string& text) {
  PartitionReport out;
  out.name = text;
  out.state = PartitionState::kIncomplete;
  out.state_reason = text;
  out.os = {OsFamily::kLinux, text, text, 0x1000000};
  out.crash = {"panic", text, "linux-0123456789abcdef", {text}, 0, 12.5};
  out.cpus = {cpu_report(0, 7, text)};
  out.tasks = {{7, 7, text, "D", 0, {frame_at(0xffffffff81000010, text)}},
               {8, 7, text, "S", std::nullopt, {}}};
  ModuleReport module;
  module.name = text;
  module.base = 0xffffffffc0000000;
  module.size = 4096;
  module.build_id = "0123";
  module.timestamp = 1;
  module.checksum = 2;
  module.version = text;
  module.pdb = PdbReport{text, "0123"};
  out.modules = {module};
  out.log = {{1.25, 3, text}};
  out.memory = {8192, 4096, {{"kernel", 4096}}, {{"lost", 4096}}};
  out.findings = {finding(Severity::kWarning, "damage", text, {text})};
  out.hypervisor = JsonObject{R"({"qemu_version":"7.2.0"})"};
  VmReport vm;
  vm.name = vm.uuid = text;
  vm.pid = 70;
  vm.memory_bytes = 4096;
  vm.cpus = {{0, 71, 0, true, {{"rip", 0x1000}}}, {1, 0, std::nullopt, false, {}}};
  out.vms = {vm};
  return out;
}

/// A report with everything that may be in one.
inline Report full_report(const std::string& text) {
  Report out;
  out.dump.id = "00112233445566778899aabbccddeeff";
  out.dump.created = "2026-01-02T03:04:05Z";
  out.dump.agent = {text, text, {R"({"agent":"hvdump","host":"rack-7"})"}};
  out.dump.complete = false;
  out.dump.problems = {text};
  out.partitions = {full_partition(text)};
  return out;
}

}  // namespace hvd
