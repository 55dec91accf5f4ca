// The Linux part of a triage report: everything about one guest, as the report schema has it.
#pragma once

#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "guest/debuginfo/line_table.h"
#include "guest/kvm_host/virtual_machines.h"
#include "guest/linux/crash.h"
#include "guest/linux/tasks.h"

namespace hvd {

/// A Linux kernel opened for reporting: what several commands share. Parts are read when first
/// asked for.
class LinuxGuest {
 public:
  /// `image` must outlive the result. kNotFound when there is no Linux kernel in it.
  static Result<std::unique_ptr<LinuxGuest>> open(const Image& image);

  /// Adds source lines from the vmlinux and the modules found in `places`; without a vmlinux the
  /// reason goes to problems().
  void use_symbols(const std::vector<std::string>& places);

  const linux_guest::Kernel& kernel() const { return *kernel_; }
  const std::vector<linux_guest::LogRecord>& log();
  const std::vector<linux_guest::Module>& modules() const { return modules_; }
  const std::vector<linux_guest::Task>& tasks();
  const linux_guest::Symbolizer& symbolizer() const { return *symbolizer_; }
  /// Of a KVM host; empty for any other machine.
  const std::vector<linux_guest::VirtualMachine>& virtual_machines();
  /// The same as partitions of their own, whose memory is a part of this one's: they must not
  /// outlive it.
  std::vector<Image> vm_images();
  const std::vector<std::string>& problems() const { return problems_; }

  /// The stack of what CPU `cpu` was running, from its registers.
  linux_guest::Stack cpu_stack(unsigned cpu) const;
  linux_guest::Stack task_stack(const linux_guest::Task& task) const;
  /// The task CPU `cpu` was running, when that can be told.
  Result<linux_guest::Task> task_on(unsigned cpu) const;

  /// A stack as the schema's array.
  nlohmann::json stack_json(const linux_guest::Stack& stack) const;

 private:
  explicit LinuxGuest(std::unique_ptr<linux_guest::Kernel> kernel) : kernel_(std::move(kernel)) {}
  std::unique_ptr<linux_guest::Kernel> kernel_;
  std::vector<linux_guest::Module> modules_;
  std::unique_ptr<linux_guest::Symbolizer> symbolizer_;
  std::optional<linux_guest::OrcTables> orc_;
  std::unique_ptr<linux_guest::Unwinder> unwinder_;
  // Source lines: of the kernel, and of the modules whose files were found, opened when first asked
  // for.
  const LineTable* lines_of(VirtAddr at) const;
  std::unique_ptr<LineTable> lines_;
  std::multimap<std::string, std::string> module_files_;
  mutable std::map<const linux_guest::Module*, std::unique_ptr<LineTable>> module_lines_;
  std::optional<std::vector<linux_guest::LogRecord>> log_;
  std::optional<std::vector<linux_guest::Task>> tasks_;
  std::optional<std::vector<linux_guest::VirtualMachine>> virtual_machines_;
  std::vector<std::string> problems_;
};

/// Parts of the report, each as the schema's array.
nlohmann::json cpus_json(LinuxGuest& guest);
nlohmann::json tasks_json(LinuxGuest& guest, std::optional<std::int64_t> only_pid = std::nullopt);
nlohmann::json modules_json(LinuxGuest& guest);
nlohmann::json log_json(LinuxGuest& guest);

/// What a guest told the hypervisor when it panicked.
struct ToldPanic {
  std::string reason = "the guest told the hypervisor that it panicked";
  std::optional<unsigned> cpu;  // the one that told
};

/// Fills os, crash, cpus, tasks, modules and log of a partition's report, and adds findings. `told`
/// counts where the guest's memory does not say what happened.
void report_linux(LinuxGuest& guest, const std::optional<ToldPanic>& told,
                  nlohmann::json& partition);

}  // namespace hvd
