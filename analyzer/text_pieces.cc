#include "analyzer/text_pieces.h"

#include <cstdio>

#include "base/text.h"

namespace hvd {
namespace {

using nlohmann::json;

std::string of(const json& object, const char* key) {
  const auto at = object.find(key);
  return at != object.end() && at->is_string() ? at->get<std::string>() : std::string();
}

template <typename... Values>
std::string formatted(const char* format, Values... values) {
  char buffer[256];
  std::snprintf(buffer, sizeof buffer, format, values...);
  return buffer;
}

}  // namespace

std::string registers_text(const json& registers) {
  std::string out;
  unsigned column = 0;
  for (const char* name :
       {"rip", "rsp",    "rbp", "rax", "rbx", "rcx", "rdx",    "rsi", "rdi", "r8",      "r9",
        "r10", "r11",    "r12", "r13", "r14", "r15", "rflags", "cr2", "cr3", "gs_base", "pc",
        "sp",  "pstate", "x0",  "x1",  "x2",  "x3",  "x4",     "x5",  "x6",  "x7",      "x8",
        "x9",  "x10",    "x11", "x12", "x13", "x14", "x15",    "x16", "x17", "x18",     "x19",
        "x20", "x21",    "x22", "x23", "x24", "x25", "x26",    "x27", "x28", "x29",     "x30"}) {
    const std::string value = of(registers, name);
    if (value.empty()) continue;
    out += formatted("%7s %-18s", name, value.c_str());
    out += ++column % 3 == 0 ? "\n" : " ";
  }
  if (column % 3 != 0) out += "\n";
  return out;
}

std::string stack_text(const json& stack) {
  std::string out;
  unsigned number = 0;
  for (const json& frame : stack) {
    const std::string symbol = of(frame, "symbol"), module = of(frame, "module");
    const bool has_offset = frame.contains("offset");
    out += formatted("#%-3u", number++) + (frame["reliable"] == true ? "" : "? ");
    if (!symbol.empty()) out += symbol;
    else out += has_offset && !module.empty() ? module : of(frame, "address");
    if (has_offset) out += "+" + hex(frame["offset"].get<std::uint64_t>());
    if (!module.empty() && !(symbol.empty() && has_offset)) out += " [" + module + "]";
    if (frame.value("inlined", false)) out += " (inlined)";
    if (frame.contains("file")) out += " at " + of(frame, "file") + ":" + frame["line"].dump();
    out += "\n";
  }
  return out;
}

std::string log_line(const json& record) {
  const std::string stamp = formatted("[%12.6f] ", record["time"].get<double>());
  std::string out, text = of(record, "text");
  for (std::size_t at = 0; at <= text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    out += stamp + text.substr(at, end - at) + "\n";
    at = end + 1;
  }
  return out;
}

std::string tasks_text(const json& tasks) {
  std::string out = "    PID    TGID CPU ST COMM             WAITS IN\n";
  for (const json& task : tasks) {
    std::string where;
    for (const json& frame : task["stack"]) {
      const std::string symbol = of(frame, "symbol");
      // The scheduler itself says nothing about what a task waits for.
      if (symbol.empty() || symbol.find("schedule") != std::string::npos ||
          symbol == "context_switch")
        continue;
      where = symbol;
      break;
    }
    const std::string cpu = task["cpu"].is_number() ? task["cpu"].dump() : "-";
    out +=
        formatted("%7d %7d %3s %-2s %-16s %s\n", task["pid"].get<int>(), task["tgid"].get<int>(),
                  cpu.c_str(), of(task, "state").c_str(), of(task, "comm").c_str(), where.c_str());
  }
  return out;
}

std::string modules_text(const json& modules) {
  std::string out = "BASE                   SIZE NAME\n";
  for (const json& module : modules) {
    out += formatted("%-18s %8llu %s\n", of(module, "base").c_str(),
                     static_cast<unsigned long long>(module["size"].get<std::uint64_t>()),
                     of(module, "name").c_str());
  }
  return out;
}

}  // namespace hvd
