// The Windows part of a triage report: everything about one guest, as the report schema has it.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "analyzer/linux_report.h"
#include "guest/windows/processes.h"
#include "guest/windows/symbolizer.h"

namespace hvd {

/// A Windows kernel opened for reporting.
class WindowsGuest {
 public:
  /// `image` must outlive the result. `symbols`: places with PDBs. kNotFound when there is no
  /// Windows in it.
  static Result<std::unique_ptr<WindowsGuest>> open(const Image& image,
                                                    const std::vector<std::string>& symbols);

  const windows::Kernel& kernel() const { return *kernel_; }
  const std::vector<windows::Module>& modules() const { return modules_; }
  const std::vector<windows::Process>& processes() const { return processes_; }
  const std::vector<std::string>& problems() const { return problems_; }
  /// Why a store of symbols did not answer.
  const std::vector<std::string>& symbol_problems() const { return symbol_problems_; }

  windows::Stack cpu_stack(const windows::Cpu& cpu) const;
  const windows::Symbolizer& symbolizer() const { return *symbolizer_; }
  /// The CPU that crashed, as an index into kernel().cpus().
  std::optional<std::size_t> crashed_cpu() const { return crashed_; }

  nlohmann::json stack_json(const windows::Stack& stack) const;
  nlohmann::json cpus_json() const;
  nlohmann::json tasks_json(std::optional<std::int64_t> only_id = std::nullopt) const;
  nlohmann::json modules_json() const;

 private:
  WindowsGuest() = default;
  windows::SymbolFinder finder_;
  std::unique_ptr<windows::Kernel> kernel_;
  std::vector<windows::Module> modules_;
  std::vector<windows::Process> processes_;
  std::unique_ptr<windows::Unwinder> unwinder_;
  std::unique_ptr<windows::Symbolizer> symbolizer_;
  std::optional<std::size_t> crashed_;
  std::vector<std::string> problems_, symbol_problems_;
};

/// Fills os, crash, cpus, tasks and modules of a partition's report, and adds findings.
void report_windows(WindowsGuest& guest, const std::optional<ToldPanic>& told,
                    nlohmann::json& partition);

}  // namespace hvd
