// LinuxGuest: a Linux kernel as the report has it. Its parts are read when first asked for.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "analyzer/guest.h"
#include "analyzer/linux_lines.h"
#include "guest/kvm_host/virtual_machines.h"
#include "guest/linux/crash.h"
#include "guest/linux/tasks.h"

namespace hvd {

class LinuxGuest final : public Guest {
 public:
  /// `image` must outlive the result. kNotFound when there is no Linux kernel in it.
  static Result<std::unique_ptr<LinuxGuest>> open(const Image& image,
                                                  const std::vector<std::string>& symbols);

  void report(const std::optional<ReportedPanic>& panic, PartitionReport& partition) override;
  std::vector<CpuReport> cpus() override;
  std::vector<TaskReport> tasks(std::optional<std::int64_t> only_pid) override;
  std::vector<ModuleReport> modules() override;
  Result<std::vector<LogLine>> log() override;
  std::vector<std::string> problems() const override { return problems_; }
  Result<VirtAddr> symbol(const std::string& name) const override;
  Result<void> read(VirtAddr at, MutableBytes out) const override;
  std::vector<Image> vm_images() override;

 private:
  explicit LinuxGuest(std::unique_ptr<linux_guest::Kernel> kernel) : kernel_(std::move(kernel)) {}

  const std::vector<linux_guest::LogRecord>& log_records();
  const std::vector<linux_guest::Task>& task_list();
  const std::vector<linux_guest::VirtualMachine>& virtual_machines();

  // Of each CPU, by number, what its registers lead to.
  std::vector<linux_guest::Stack> cpu_stacks() const;
  linux_guest::Stack cpu_stack(unsigned cpu) const;
  linux_guest::Stack task_stack(const linux_guest::Task& task) const;

  OsReport os_report() const;
  CrashReport crash_report(const std::optional<ReportedPanic>& panic,
                           const std::vector<linux_guest::Stack>& stacks);
  std::vector<CpuReport> cpu_reports(const std::vector<linux_guest::Stack>& stacks) const;
  std::vector<VmReport> vm_reports();
  std::vector<FrameReport> frames(const linux_guest::Stack& stack) const;
  void add_frame(const linux_guest::Frame& frame, std::vector<FrameReport>& out) const;

  std::unique_ptr<linux_guest::Kernel> kernel_;
  std::vector<linux_guest::Module> modules_;
  std::unique_ptr<linux_guest::Symbolizer> symbolizer_;
  std::optional<linux_guest::OrcTables> orc_;
  std::unique_ptr<linux_guest::Unwinder> unwinder_;
  std::unique_ptr<LinuxLines> lines_;  // null when no places with symbols were given
  std::optional<std::vector<linux_guest::LogRecord>> log_;
  std::optional<std::vector<linux_guest::Task>> tasks_;
  std::optional<std::vector<linux_guest::VirtualMachine>> virtual_machines_;
  std::vector<std::string> problems_;
};

}  // namespace hvd
