// The triage report as JSON (schema/hvdump-triage-1.json).
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "analyzer/report.h"

namespace hvd {

nlohmann::json to_json(const Report& report);
nlohmann::json to_json(const PartitionReport& partition);

/// Parts of a report, each as the schema's array.
nlohmann::json to_json(const std::vector<CpuReport>& cpus);
nlohmann::json to_json(const std::vector<TaskReport>& tasks);
nlohmann::json to_json(const std::vector<ModuleReport>& modules);
nlohmann::json to_json(const std::vector<LogLine>& log);

/// JSON as text, indented, with a newline at its end; bytes that are not UTF-8 are replaced.
std::string json_text(const nlohmann::json& value);

}  // namespace hvd
