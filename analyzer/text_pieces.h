// Parts of the report as lines of text, shared by the text report and by the single commands (bt,
// ps, log, modules).
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace hvd {

std::string registers_text(const nlohmann::json& registers);  // as an oops prints them
std::string stack_text(const nlohmann::json& stack);  // "#0  name+0x10 [module] at file:line"
std::string log_line(const nlohmann::json& record);   // "[    1.234567] text", as dmesg
std::string tasks_text(const nlohmann::json& tasks);
std::string modules_text(const nlohmann::json& modules);

}  // namespace hvd
