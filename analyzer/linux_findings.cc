#include "analyzer/linux_findings.h"

#include "base/text.h"

namespace hvd {

using namespace linux_guest;

std::vector<Finding> stack_findings(const Kernel& kernel, const std::vector<Stack>& stacks) {
  std::vector<Finding> out;
  for (unsigned cpu = 0; cpu < stacks.size(); ++cpu) {
    const Registers* registers = kernel.registers_of(cpu);
    if (registers && !registers->knows(Reg::kRip)) {
      out.push_back(finding(Severity::kInfo, "registers-unknown",
                            "where CPU " + std::to_string(cpu) +
                                " was is not known: its rip was not captured (of a guest on "
                                "Intel, KVM has only what it has read itself)"));
    } else if (!stacks[cpu].complete && !stacks[cpu].frames.empty()) {
      out.push_back(finding(
          Severity::kInfo, "stack-incomplete",
          "the stack of CPU " + std::to_string(cpu) + " ends early: " + stacks[cpu].end_reason));
    }
  }
  return out;
}

std::vector<Finding> task_findings(const std::vector<Task>& tasks) {
  std::vector<std::string> waiting;
  for (const Task& task : tasks) {
    if (task.state == "D") waiting.push_back(std::to_string(task.pid) + " " + printable(task.comm));
  }
  if (waiting.empty()) return {};
  const std::string text = std::to_string(waiting.size()) + " tasks wait uninterruptibly";
  return {finding(Severity::kInfo, "uninterruptible-tasks", text, std::move(waiting))};
}

std::vector<Finding> log_findings(const std::vector<LogRecord>& log) {
  for (const LogRecord& record : log) {
    if (record.text.find("Tainted: ") == std::string::npos) continue;
    return {finding(Severity::kInfo, "tainted", "the kernel was tainted",
                    {printable(record.text.substr(0, record.text.find('\n')))})};
  }
  return {};
}

}  // namespace hvd
