#include "capture/session.h"

#include <sys/stat.h>
#include <sys/utsname.h>

#include <cstdio>

#include "base/byte_source.h"
#include "base/json.h"
#include "base/text.h"
#include "base/version.h"
#include "capture/interrupt.h"
#include "capture/output.h"
#include "envelope/keyring.h"

namespace hvd {
namespace {

using format::PartitionWriter;
using nlohmann::json;

Result<format::SigningKey> load_signing_key(const std::string& path) {
  if (path.empty()) return format::SigningKey::generate();
  const std::string text = HVD_TRY(read_text_file(path, 4096));
  return with_context(format::SigningKey::parse(text), path);
}

std::string agent_json(const std::string& command) {
  utsname host{};
  ::uname(&host);
  return to_text(json{{"agent", "hvdump-capture " + command},
                      {"version", kVersion},
                      {"host", host.nodename},
                      {"host_kernel", host.release}});
}

}  // namespace

Result<std::unique_ptr<CaptureSession>> CaptureSession::open(const CaptureOptions& options,
                                                             Policy policy,
                                                             const std::string& command) {
  const format::SigningKey key = HVD_TRY(load_signing_key(options.signing_key));
  Budget budget;
  const Limits& limits = policy.limits();
  const std::string& size = options.max_size.empty() ? limits.max_size : options.max_size;
  if (!size.empty()) budget.max_bytes = HVD_TRY(with_context(parse_size(size), "--max-size"));
  const unsigned seconds =
      options.deadline_seconds > 0 ? options.deadline_seconds : limits.deadline_seconds;
  if (seconds > 0)
    budget.deadline = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
  watch_for_interrupt();
  auto sink = HVD_TRY(open_sink(options.output, interrupted));
  const format::DumpInfo info = HVD_TRY(format::new_dump_info(agent_json(command)));
  auto dump = HVD_TRY(format::DumpWriter::create(std::move(sink), info, key));
  return std::unique_ptr<CaptureSession>(
      new CaptureSession(std::move(policy), std::move(dump), options, budget));
}

format::MemoryOptions CaptureSession::memory_options() const {
  format::MemoryOptions options;
  options.threads = threads_;
  options.spent = [this] { return budget_.spent(dump_->bytes_written()); };
  if (policy_.replacement() != Replacement{}) {
    options.replace = [with = policy_.replacement()](PhysAddr at, Absence reason,
                                                     MutableBytes out) {
      return replace(with, at, reason, out);
    };
  }
  options.check = check_interrupt;
  return options;
}

void CaptureSession::report_problem(const std::string& name, const std::string& what) {
  std::fprintf(stderr, "%s: %s\n", printable(name).c_str(), printable(what, true).c_str());
  damaged_ = true;
}

Result<void> CaptureSession::not_written(const std::string& name, Role role, PartitionState state,
                                         const std::string& reason) {
  if (state == PartitionState::kFailed) report_problem(name, reason);
  const auto partition = HVD_TRY(dump_->begin_partition({.name = name, .role = role}, nullptr, {}));
  return partition->end(state, reason, {});
}

Result<std::unique_ptr<PartitionWriter>> CaptureSession::begin(const std::string& name, Role role,
                                                               const PartitionPolicy& policy) {
  format::PartitionInfo info{.name = name, .role = role, .codec = policy.codec};
  if (policy.recipients.empty()) return dump_->begin_partition(info, nullptr, {});
  PartitionKeys fresh = HVD_TRY(PartitionKeys::generate());
  const auto keys = std::make_shared<const PartitionKeys>(std::move(fresh));
  const auto slots =
      HVD_TRY(make_key_slots(*keys, dump_->id(), dump_->next_partition(), policy.recipients));
  return dump_->begin_partition(info, keys, slots);
}

Result<void> CaptureSession::end(const std::string& name, PartitionWriter& partition,
                                 const Result<format::MemoryTotals>& written,
                                 std::vector<std::string> problems) {
  if (!written) {
    // The dump itself may be what failed; then this fails too, and what was written stays.
    const bool stopped = written.error().code == ErrorCode::kInterrupted;
    HVD_TRY(partition.end(PartitionState::kIncomplete, written.error().message, problems));
    if (stopped || written.error().code == ErrorCode::kIo) return written.error();
    report_problem(name, written.error().message);
    return {};
  }
  if (written->unreadable_pages > 0)
    problems.push_back(std::to_string(written->unreadable_pages) + " pages could not be read");
  if (written->swapped_pages > 0) {
    problems.push_back(std::to_string(written->swapped_pages) +
                       " pages were on the host's swap device");
  }
  if (written->over_budget_pages > 0) {
    problems.push_back(std::to_string(written->over_budget_pages) +
                       " pages were excluded: the size or time allowed was used up");
  }
  if (written->replaced_pages > 0) {
    problems.push_back(std::to_string(written->replaced_pages) +
                       " pages that cannot or must not be read were replaced");
  }
  for (const std::string& problem : problems) report_problem(name, problem);
  if (problems.empty()) return partition.end(PartitionState::kCaptured, "", {});
  return partition.end(PartitionState::kIncomplete, problems.front(), problems);
}

CommandOutcome CaptureSession::finish(const std::optional<Error>& failed) {
  if (failed && failed->code != ErrorCode::kInterrupted) return *failed;
  HVD_TRY(dump_->finish());
  // A device does not end where the dump does.
  struct stat status{};
  if (::stat(output_.c_str(), &status) == 0 && S_ISBLK(status.st_mode)) {
    std::fprintf(stderr,
                 "%s: %llu bytes; it can be read there, and head -c takes it off the device\n",
                 output_.c_str(), static_cast<unsigned long long>(dump_->bytes_written()));
  }
  if (failed)
    return Error{ErrorCode::kInterrupted,
                 "interrupted; " + output_ + " holds what was written so far"};
  return damaged_ ? ExitCode::kDamaged : ExitCode::kDone;
}

}  // namespace hvd
