#include "capture/qemu/process_partition.h"

#include <sys/utsname.h>

#include <algorithm>
#include <cstring>

#include "base/byte_source.h"
#include "base/byte_writer.h"
#include "base/json.h"
#include "base/text.h"
#include "capture/command_line_secrets.h"
#include "capture/pipeline.h"
#include "formats/elf_core/layout.h"
#include "formats/elf_core/notes.h"

namespace hvd {
namespace {

using nlohmann::json;

constexpr std::size_t kMaxBuildIdSearch = 1u << 20;

// The GNU build id in a program's notes, hexadecimal; empty when there is none.
std::string build_id(int pid) {
  const auto source = FileSource::open("/proc/" + std::to_string(pid) + "/exe");
  if (!source) return {};
  const auto start = (*source)->read(0, sizeof(elf::FileHeader));
  if (!start) return {};
  elf::FileHeader header{};
  std::memcpy(&header, start->data(), sizeof header);
  if (std::memcmp(header.ident, elf::kIdent.data(), elf::kIdent.size()) != 0 ||
      header.phentsize != sizeof(elf::ProgramHeader))
    return {};
  const auto table = (*source)->read(header.phoff, header.phnum * sizeof(elf::ProgramHeader));
  if (!table) return {};
  for (unsigned i = 0; i < header.phnum; ++i) {
    elf::ProgramHeader program{};
    std::memcpy(&program, table->data() + i * sizeof program, sizeof program);
    if (program.type != elf::kNote || program.filesz > kMaxBuildIdSearch) continue;
    const auto bytes = (*source)->read(program.offset, program.filesz);
    const auto notes = bytes ? elf::parse_notes(*bytes) : Result<std::vector<Note>>(bytes.error());
    if (!notes) continue;
    for (const Note& note : *notes) {
      if (note.name == "GNU" && note.type == elf::kNoteBuildId) return hex_bytes(note.contents);
    }
  }
  return {};
}

std::vector<std::string> command_line(int pid) {
  std::vector<std::string> arguments;
  const auto text = read_proc_file(pid, "cmdline");
  if (!text) return arguments;
  for (std::size_t at = 0; at < text->size();) {
    const std::size_t end = std::min(text->find('\0', at), text->size());
    arguments.push_back(text->substr(at, end - at));
    at = end + 1;
  }
  return without_secrets(std::move(arguments));
}

// NT_FILE (linux fs/binfmt_elf.c, fill_files_note): which files lie where. Only programs and
// libraries: those are what a debugger reads symbols and code from.
Note file_note(const std::vector<Mapping>& mappings) {
  std::vector<const Mapping*> files;
  for (const Mapping& mapping : mappings) {
    if (mapping.inode == 0 || mapping.shared || mapping.path.empty() || mapping.path[0] != '/')
      continue;
    const bool code = std::any_of(mappings.begin(), mappings.end(), [&](const Mapping& other) {
      return other.executable && other.inode == mapping.inode && other.device == mapping.device;
    });
    if (code) files.push_back(&mapping);
  }
  ByteWriter out;
  out.u64(files.size()).u64(1);
  for (const Mapping* mapping : files)
    out.u64(mapping->begin).u64(mapping->end).u64(mapping->file_offset);
  for (const Mapping* mapping : files) out.put(as_bytes(mapping->path)).u8(0);
  // The unit is bytes (page size 1), so that offsets need no rounding.
  return {"CORE", elf::kNoteFile, out.take()};
}

// Pieces as whole pages: what lies between pieces reads as zero here and is outside the partition's
// ranges.
class PiecesSource final : public PageSource {
 public:
  explicit PiecesSource(const ProcessPieces& pieces) {
    for (const auto& [address, bytes] : pieces.pieces) {
      for (std::size_t at = 0; at < bytes.size();) {
        const std::uint64_t in_page = (address + at) % kPageSize;
        const std::size_t size = std::min<std::size_t>(kPageSize - in_page, bytes.size() - at);
        Bytes& page = pages_[(address + at) / kPageSize];
        page.resize(kPageSize);
        std::memcpy(page.data() + in_page, bytes.data() + at, size);
        at += size;
      }
    }
    for (const auto& [number, bytes] : pages_)
      ranges_.push_back({PhysAddr{number * kPageSize}, kPageSize});
    ranges_ = normalised(std::move(ranges_));
  }
  const std::vector<PhysRange>& ranges() const override { return ranges_; }
  PageRun fetch(PhysAddr at, std::uint64_t, MutableBytes) const override {
    return {PageRun::Kind::kBytes, 1, pages_.at(at.value / kPageSize), Absence::kUnreadable};
  }

 private:
  std::map<std::uint64_t, Bytes> pages_;
  std::vector<PhysRange> ranges_;
};

// The snapshot's pieces over the process's own memory, which is read now.
class ProcessSource final : public PageSource {
 public:
  ProcessSource(int pid, std::vector<PhysRange> ranges) : pid_(pid), ranges_(std::move(ranges)) {}
  const std::vector<PhysRange>& ranges() const override { return ranges_; }
  PageRun fetch(PhysAddr at, std::uint64_t max_pages, MutableBytes scratch) const override {
    const std::uint64_t pages = std::min<std::uint64_t>(max_pages, scratch.size() / kPageSize);
    const MutableBytes all = scratch.first(pages * kPageSize);
    if (read_process(pid_, at.value, all))
      return {PageRun::Kind::kBytes, pages, all, Absence::kUnreadable};
    const MutableBytes one = scratch.first(kPageSize);
    if (read_process(pid_, at.value, one))
      return {PageRun::Kind::kBytes, 1, one, Absence::kUnreadable};
    return {};
  }

 private:
  const int pid_;
  const std::vector<PhysRange> ranges_;
};

json ranges_json(const std::vector<PhysRange>& ranges) {
  json out = json::array();
  for (const PhysRange& range : ranges) out.push_back({range.begin.value, range.size});
  return out;
}

Result<void> write_common(const ProcessSnapshot& snapshot, const std::vector<PhysRange>& ranges,
                          const char* level, format::PartitionWriter& partition) {
  json facts = json::parse(snapshot.facts);
  facts["address_space"] = "process";
  facts["level"] = level;
  facts["ranges"] = ranges_json(ranges);
  HVD_TRY(partition.facts(to_text(facts)));
  HVD_TRY(partition.note({"CORE", elf::kNoteAuxv, snapshot.state.auxv}));
  HVD_TRY(partition.note(file_note(snapshot.state.mappings)));
  for (const ThreadState& thread : snapshot.state.threads)
    HVD_TRY(partition.registers(thread.registers));
  return {};
}

Result<void> write_pages(const PageSource& source, format::PartitionWriter& partition,
                         const std::vector<std::string>& problems, Progress& progress) {
  PipelineOptions options;
  options.mark = [](std::uint64_t, std::size_t count) {
    return std::vector<PageMark>(count, {PageClass::kVmm, {}});
  };
  HVD_TRY(write_memory(source, partition, options, progress));
  return partition.end(problems.empty() ? PartitionState::kCaptured : PartitionState::kIncomplete,
                       problems.empty() ? "" : problems.front(), problems);
}

}  // namespace

Result<ProcessSnapshot> snapshot_process(int pid, HypervisorLevel level, json qemu_facts) {
  ProcessSnapshot snapshot;
  snapshot.state = HVD_TRY(read_process_state(
      pid, level == HypervisorLevel::kFull ? Values::kAll : Values::kPointersOnly));
  utsname host{};
  ::uname(&host);
  qemu_facts["host_kernel"] = std::string(host.release) + " " + host.version;
  qemu_facts["build_id"] = build_id(pid);
  qemu_facts["command_line"] = command_line(pid);
  json threads = json::array();
  for (const ThreadState& thread : snapshot.state.threads)
    threads.push_back({{"tid", thread.tid}, {"name", thread.name}});
  qemu_facts["threads"] = std::move(threads);
  snapshot.facts = to_text(qemu_facts);
  return snapshot;
}

Result<void> write_secure(const ProcessSnapshot& snapshot, format::PartitionWriter& partition,
                          Progress& progress) {
  std::vector<PhysRange> ranges;
  for (const auto& [address, bytes] : snapshot.state.memory.pieces)
    ranges.push_back({PhysAddr{address}, bytes.size()});
  HVD_TRY(write_common(snapshot, normalised(std::move(ranges)), "secure", partition));
  return write_pages(PiecesSource(snapshot.state.memory), partition, snapshot.state.problems,
                     progress);
}

Result<void> write_full(int pid, const ProcessSnapshot& snapshot,
                        const std::vector<RamBlock>& guest_ram, format::PartitionWriter& partition,
                        Progress& progress) {
  std::vector<PhysRange> ranges;
  for (const Mapping& mapping : snapshot.state.mappings) {
    if (!mapping.readable || !mapping.writable || mapping.shared) continue;
    const bool is_ram = std::any_of(guest_ram.begin(), guest_ram.end(), [&](const RamBlock& ram) {
      return ram.host_address < mapping.end && mapping.begin < ram.host_address + ram.range.size;
    });
    if (!is_ram) ranges.push_back({PhysAddr{mapping.begin}, mapping.end - mapping.begin});
  }
  // The dynamic linker's list begins in memory that is read-only by now; without it a debugger
  // finds no library.
  for (const auto& [address, bytes] : snapshot.state.memory.pieces) {
    const std::uint64_t begin = address / kPageSize * kPageSize;
    const std::uint64_t end = (address + bytes.size() + kPageSize - 1) / kPageSize * kPageSize;
    ranges.push_back({PhysAddr{begin}, end - begin});
  }
  const ProcessSource source(pid, normalised(std::move(ranges)));
  HVD_TRY(write_common(snapshot, source.ranges(), "full", partition));
  return write_pages(source, partition, snapshot.state.problems, progress);
}

}  // namespace hvd
