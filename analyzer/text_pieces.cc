#include "analyzer/text_pieces.h"

#include <cstdio>

#include "base/text.h"

namespace hvd {
namespace {

template <typename... Values>
std::string formatted(const char* format, Values... values) {
  char buffer[256];
  std::snprintf(buffer, sizeof buffer, format, values...);
  return buffer;
}

std::string frame_text(const FrameReport& frame) {
  const std::string symbol = frame.symbol.value_or(""), module = frame.module.value_or("");
  const bool in_module_only = symbol.empty() && frame.offset;
  std::string out = frame.reliable ? "" : "? ";
  if (!symbol.empty()) out += symbol;
  else out += in_module_only && !module.empty() ? module : hex(frame.address);
  if (frame.offset) out += "+" + hex(*frame.offset);
  if (!module.empty() && !in_module_only) out += " [" + module + "]";
  if (frame.inlined) out += " (inlined)";
  if (frame.file) out += " at " + *frame.file + ":" + std::to_string(frame.line.value_or(0));
  return out;
}

// The function that a task waits in: the scheduler itself says nothing about what it waits for.
std::string waits_in(const std::vector<FrameReport>& stack) {
  for (const FrameReport& frame : stack) {
    const std::string symbol = frame.symbol.value_or("");
    const bool scheduler =
        symbol.find("schedule") != std::string::npos || symbol == "context_switch";
    if (!symbol.empty() && !scheduler) return symbol;
  }
  return {};
}

}  // namespace

std::string registers_text(const RegisterValues& registers) {
  std::string out;
  unsigned column = 0;
  for (const char* name :
       {"rip", "rsp",    "rbp", "rax", "rbx", "rcx", "rdx",    "rsi", "rdi", "r8",      "r9",
        "r10", "r11",    "r12", "r13", "r14", "r15", "rflags", "cr2", "cr3", "gs_base", "pc",
        "sp",  "pstate", "x0",  "x1",  "x2",  "x3",  "x4",     "x5",  "x6",  "x7",      "x8",
        "x9",  "x10",    "x11", "x12", "x13", "x14", "x15",    "x16", "x17", "x18",     "x19",
        "x20", "x21",    "x22", "x23", "x24", "x25", "x26",    "x27", "x28", "x29",     "x30"}) {
    const auto known = registers.find(name);
    if (known == registers.end()) continue;
    out += formatted("%7s %-18s", name, hex(known->second).c_str());
    out += ++column % 3 == 0 ? "\n" : " ";
  }
  if (column % 3 != 0) out += "\n";
  return out;
}

std::string stack_text(const std::vector<FrameReport>& stack) {
  std::string out;
  unsigned number = 0;
  for (const FrameReport& frame : stack)
    out += formatted("#%-3u", number++) + frame_text(frame) + "\n";
  return out;
}

std::string log_text(const LogLine& line) {
  const std::string stamp = formatted("[%12.6f] ", line.time);
  std::string out;
  for (std::size_t at = 0; at <= line.text.size();) {
    const std::size_t end = std::min(line.text.find('\n', at), line.text.size());
    out += stamp + line.text.substr(at, end - at) + "\n";
    at = end + 1;
  }
  return out;
}

std::string tasks_text(const std::vector<TaskReport>& tasks) {
  std::string out = "    PID    TGID CPU ST COMM             WAITS IN\n";
  for (const TaskReport& task : tasks) {
    const std::string cpu = task.cpu ? std::to_string(*task.cpu) : "-";
    out += formatted("%7d %7d %3s %-2s %-16s %s\n", task.pid, task.tgid, cpu.c_str(),
                     task.state.c_str(), task.comm.c_str(), waits_in(task.stack).c_str());
  }
  return out;
}

std::string modules_text(const std::vector<ModuleReport>& modules) {
  std::string out = "BASE                   SIZE NAME\n";
  for (const ModuleReport& module : modules) {
    out += formatted("%-18s %8llu %s\n", hex(module.base).c_str(),
                     static_cast<unsigned long long>(module.size), module.name.c_str());
  }
  return out;
}

}  // namespace hvd
