// Guest: the operating system in a partition, whichever it is, as the report has it.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "analyzer/facts.h"
#include "analyzer/report.h"
#include "base/address.h"
#include "base/image.h"
#include "base/result.h"

namespace hvd {

class Guest {
 public:
  virtual ~Guest() = default;

  /// Fills what the guest's memory says: os, crash, cpus, tasks, modules, log and vms; adds
  /// findings, among them the problems. `panic` decides where the memory does not say what
  /// happened.
  virtual void report(const std::optional<ReportedPanic>& panic, PartitionReport& partition) = 0;

  virtual std::vector<CpuReport> cpus() = 0;
  /// All threads, or those with this id.
  virtual std::vector<TaskReport> tasks(std::optional<std::int64_t> only_pid) = 0;
  virtual std::vector<ModuleReport> modules() = 0;
  /// kUnsupported when this kind of guest keeps no log in memory.
  virtual Result<std::vector<LogLine>> log() = 0;
  /// What could not be read so far, and which symbols could not be found. Parts are read when first
  /// asked for, so ask for this last.
  virtual std::vector<std::string> problems() const = 0;

  /// The address of a kernel symbol; kNotFound.
  virtual Result<VirtAddr> symbol(const std::string& name) const = 0;
  /// Reads the kernel's memory, all or nothing.
  virtual Result<void> read(VirtAddr at, MutableBytes out) const = 0;

  /// The virtual machines that this one ran, as partitions whose memory is a part of its own: they
  /// must not outlive it.
  virtual std::vector<Image> vm_images() = 0;
};

/// Recognises the guest; `symbols` are places with debug information, looked at when needed.
/// `image` must outlive the result. kNotFound when it is none that is known.
Result<std::unique_ptr<Guest>> open_guest(const Image& image,
                                          const std::vector<std::string>& symbols);

}  // namespace hvd
