#include "extractor/core_file.h"

#include <cstdio>

#include "base/text.h"
#include "extractor/linux_core.h"

namespace hvd {
namespace {

Result<void> write_elf(const GuestCore& core, const Image& image, const std::string& output,
                       const std::string& input, std::vector<std::string>& damage) {
  OutputFile file = HVD_TRY(OutputFile::create(output, input));
  Progress progress("Extracting " + printable(image.name), total_size(core.plan.pieces));
  HVD_TRY(elf::write_core(core.plan, *image.memory, file, progress, damage));
  return file.commit();
}

}  // namespace

Result<void> need_memory(const format::DumpPartition& partition, const Image& image) {
  const bool none =
      partition.state == PartitionState::kStateless || partition.state == PartitionState::kFailed;
  if (!none && image.memory && !image.memory->ranges().empty()) return {};
  if (!none && !image.problems.empty()) {
    return Error{ErrorCode::kCorrupt,
                 "partition " + partition.name + ": " + image.problems.front()};
  }
  std::string why =
      "the dump holds no memory of it (" + std::string(name_of(partition.state)) + ")";
  if (!partition.reason.empty()) why += ": " + partition.reason;
  return Error{ErrorCode::kNotCaptured, "partition " + partition.name + ": " + why};
}

Result<void> write_core(const Image& image, const std::string& output, const std::string& input,
                        std::vector<std::string>& problems) {
  const GuestCore core =
      is_process(image) ? plan_process_core(image) : plan_guest_core(image, output);
  problems.insert(problems.end(), core.problems.begin(), core.problems.end());
  HVD_TRY(write_elf(core, image, output, input, problems));
  if (!core.gdb_script) return {};
  return write_whole_file(output + ".gdb", as_bytes(*core.gdb_script));
}

ExitCode tell(const std::string& name, const std::vector<std::string>& problems) {
  for (const std::string& problem : problems) {
    std::fprintf(stderr, "%s: %s\n", printable(name).c_str(), printable(problem).c_str());
  }
  return problems.empty() ? ExitCode::kDone : ExitCode::kDamaged;
}

}  // namespace hvd
