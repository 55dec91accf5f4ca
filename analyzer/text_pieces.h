// Parts of the report as lines of text, shared by the text report and by the single commands (bt,
// ps, log, modules).
#pragma once

#include <string>
#include <vector>

#include "analyzer/report.h"

namespace hvd {

std::string registers_text(const RegisterValues& registers);  // as an oops prints them
std::string stack_text(
    const std::vector<FrameReport>& stack);  // "#0  name+0x10 [module] at file:line"
std::string log_text(const LogLine& line);   // "[    1.234567] text", as dmesg
std::string tasks_text(const std::vector<TaskReport>& tasks);
std::string modules_text(const std::vector<ModuleReport>& modules);

}  // namespace hvd
