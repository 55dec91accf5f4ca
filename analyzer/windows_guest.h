// WindowsGuest: a Windows kernel as the report has it.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "analyzer/guest.h"
#include "guest/windows/processes.h"
#include "guest/windows/symbolizer.h"

namespace hvd {

class WindowsGuest final : public Guest {
 public:
  /// `image` must outlive the result. `symbols`: places with PDBs. kNotFound when there is no
  /// Windows in it.
  static Result<std::unique_ptr<WindowsGuest>> open(const Image& image,
                                                    const std::vector<std::string>& symbols);

  void report(const std::optional<ReportedPanic>& panic, PartitionReport& partition) override;
  std::vector<CpuReport> cpus() override;
  std::vector<TaskReport> tasks(std::optional<std::int64_t> only_id) override;
  std::vector<ModuleReport> modules() override;
  Result<std::vector<LogLine>> log() override;
  std::vector<std::string> problems() const override;
  Result<VirtAddr> symbol(const std::string& name) const override;
  Result<void> read(VirtAddr at, MutableBytes out) const override;
  std::vector<Image> vm_images() override { return {}; }

 private:
  WindowsGuest() = default;
  OsReport os_report() const;
  CpuReport cpu_report(const windows::Cpu& cpu) const;
  windows::Stack stack_of(const windows::Thread& thread) const;
  std::vector<FrameReport> frames(const windows::Stack& stack) const;

  windows::SymbolFinder finder_;
  std::unique_ptr<windows::Kernel> kernel_;
  std::vector<windows::Module> modules_;
  std::vector<windows::Process> processes_;
  std::unique_ptr<windows::Unwinder> unwinder_;
  std::unique_ptr<windows::Symbolizer> symbolizer_;
  std::optional<std::size_t> crashed_;        // index into kernel_->cpus()
  std::vector<std::string> problems_;         // what could not be read
  std::vector<std::string> symbol_problems_;  // why a store of symbols did not answer
};

}  // namespace hvd
