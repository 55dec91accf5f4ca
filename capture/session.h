// CaptureSession: one dump being written, whatever is captured: its policy, its partitions, and
// what went wrong with some of them, which is told and recorded and does not stop the others.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "capture/budget.h"
#include "capture/options.h"
#include "formats/hvd/memory_writer.h"

namespace hvd {

class CaptureSession {
 public:
  /// `policy` is what build_policy() made of the options, `command` what the dump says wrote it.
  /// From here on signals are values (interrupt.h).
  static Result<std::unique_ptr<CaptureSession>> open(const CaptureOptions& options, Policy policy,
                                                      const std::string& command);

  const Policy& policy() const { return policy_; }
  /// For write_memory(): threads, budget, what replaces missing pages, and that Ctrl-C ends it.
  format::MemoryOptions memory_options() const;

  /// To standard error; the dump then counts as damaged.
  void report_problem(const std::string& name, const std::string& what);

  /// A partition that says why it is empty. Its name and state are all there is, so nothing needs
  /// sealing. kFailed complains.
  Result<void> not_written(const std::string& name, Role role, PartitionState state,
                           const std::string& reason);

  /// A partition sealed as `policy` says; in the clear without recipients, so ask refusal() first.
  Result<std::unique_ptr<format::PartitionWriter>> begin(const std::string& name, Role role,
                                                         const PartitionPolicy& policy);

  /// Ends a partition after the work in it: incomplete, with the reason, when that failed or pages
  /// could not be read. Fails when nothing more can be written at all: interrupted, or an output
  /// error.
  Result<void> end(const std::string& name, format::PartitionWriter& partition,
                   const Result<format::MemoryTotals>& written, std::vector<std::string> problems);

  /// After the last partition, or after `failed` ended the work.
  CommandOutcome finish(const std::optional<Error>& failed);

 private:
  CaptureSession(Policy policy, std::unique_ptr<format::DumpWriter> dump,
                 const CaptureOptions& options, Budget budget)
      : policy_(std::move(policy)),
        dump_(std::move(dump)),
        output_(options.output),
        threads_(options.threads),
        budget_(budget) {}

  const Policy policy_;
  const std::unique_ptr<format::DumpWriter> dump_;
  const std::string output_;
  const unsigned threads_;
  const Budget budget_;
  bool damaged_ = false;
};

}  // namespace hvd
