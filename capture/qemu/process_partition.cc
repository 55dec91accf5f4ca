#include "capture/qemu/process_partition.h"

#include <sys/utsname.h>

#include <algorithm>
#include <cstring>

#include "base/byte_source.h"
#include "base/byte_writer.h"
#include "base/text.h"
#include "capture/command_line_secrets.h"
#include "capture/interrupt.h"
#include "formats/elf_core/layout.h"
#include "formats/elf_core/notes.h"
#include "formats/hvd/memory_writer.h"

namespace hvd {
namespace {

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

// The pieces of a snapshot.
class PiecesMemory final : public PhysicalMemory {
 public:
  /// `pieces` must outlive the object.
  explicit PiecesMemory(const ProcessPieces& pieces) : pieces_(pieces.pieces) {
    for (const auto& [address, bytes] : pieces_)
      ranges_.push_back({PhysAddr{address}, bytes.size()});
    ranges_ = normalised(std::move(ranges_));
  }
  const std::vector<PhysRange>& ranges() const override { return ranges_; }
  Extent extent_at(PhysAddr at) const override {
    const ByteView left = from(at);
    if (!left.empty()) return {.range = {at, left.size()}, .kind = Extent::Kind::kStored};
    const auto next = pieces_.upper_bound(at.value);
    return {.range = {at, (next == pieces_.end() ? ~std::uint64_t{0} : next->first) - at.value}};
  }

 private:
  // What is there of the piece that `at` is in.
  ByteView from(PhysAddr at) const {
    const auto next = pieces_.upper_bound(at.value);
    if (next == pieces_.begin()) return {};
    const auto& [begin, bytes] = *std::prev(next);
    return at.value - begin < bytes.size() ? ByteView(bytes).subspan(at.value - begin) : ByteView();
  }
  Result<std::size_t> read_some(PhysAddr at, MutableBytes out) const override {
    const ByteView left = from(at);
    if (left.empty())
      return Error{ErrorCode::kNotCaptured, "address " + hex(at.value) + " was not read"};
    const std::size_t size = std::min(left.size(), out.size());
    std::memcpy(out.data(), left.data(), size);
    return size;
  }

  const std::map<std::uint64_t, Bytes>& pieces_;
  std::vector<PhysRange> ranges_;
};

// A process's own memory, as it is when it is read.
class LiveProcessMemory final : public PhysicalMemory {
 public:
  /// `ranges` sorted and not overlapping.
  LiveProcessMemory(int pid, std::vector<PhysRange> ranges)
      : pid_(pid), ranges_(std::move(ranges)) {}
  const std::vector<PhysRange>& ranges() const override { return ranges_; }
  Extent extent_at(PhysAddr at) const override {
    const auto next = std::upper_bound(ranges_.begin(), ranges_.end(), at,
                                       [](PhysAddr a, const PhysRange& r) { return a < r.begin; });
    if (next != ranges_.begin() && std::prev(next)->contains(at)) {
      const PhysRange& in = *std::prev(next);
      return {.range = {at, in.size - (at.value - in.begin.value)}, .kind = Extent::Kind::kStored};
    }
    const std::uint64_t end = next == ranges_.end() ? ~std::uint64_t{0} : next->begin.value;
    return {.range = {at, end - at.value}};
  }

 private:
  Result<std::size_t> read_some(PhysAddr at, MutableBytes out) const override {
    HVD_TRY(read_process(pid_, at.value, out));
    return out.size();
  }

  const int pid_;
  const std::vector<PhysRange> ranges_;
};

Result<void> write_common(const ProcessSnapshot& snapshot, const std::vector<PhysRange>& ranges,
                          const char* level, format::PartitionWriter& partition) {
  Facts facts = snapshot.facts;
  facts.address_space = AddressKind::kProcess;
  facts.level = level;
  for (const PhysRange& range : ranges) facts.ranges.push_back({range, "ram", {}});
  HVD_TRY(partition.facts(facts));
  HVD_TRY(partition.note({"CORE", elf::kNoteAuxv, snapshot.state.auxv}));
  HVD_TRY(partition.note(file_note(snapshot.state.mappings)));
  for (const ThreadState& thread : snapshot.state.threads)
    HVD_TRY(partition.registers(thread.registers));
  return {};
}

Result<void> write_pages(const PhysicalMemory& memory, format::PartitionWriter& partition,
                         const std::vector<std::string>& problems, Progress& progress) {
  format::MemoryOptions options;
  options.check = check_interrupt;
  options.mark = [](std::uint64_t, std::size_t count) {
    return std::vector<format::PageMark>(count, {PageClass::kVmm, {}});
  };
  HVD_TRY(write_memory(memory, partition, options, progress));
  return partition.end(problems.empty() ? PartitionState::kCaptured : PartitionState::kIncomplete,
                       problems.empty() ? "" : problems.front(), problems);
}

}  // namespace

Result<ProcessSnapshot> snapshot_process(int pid, HypervisorLevel level, Facts qemu) {
  ProcessSnapshot snapshot;
  snapshot.state = HVD_TRY(read_process_state(
      pid, level == HypervisorLevel::kFull ? Values::kAll : Values::kPointersOnly));
  utsname host{};
  ::uname(&host);
  snapshot.facts = std::move(qemu);
  snapshot.facts.host_kernel = std::string(host.release) + " " + host.version;
  snapshot.facts.build_id = build_id(pid);
  snapshot.facts.command_line = command_line(pid);
  for (const ThreadState& thread : snapshot.state.threads)
    snapshot.facts.threads.push_back({thread.tid, thread.name});
  return snapshot;
}

Result<void> write_secure(const ProcessSnapshot& snapshot, format::PartitionWriter& partition,
                          Progress& progress) {
  const PiecesMemory memory(snapshot.state.memory);
  HVD_TRY(write_common(snapshot, memory.ranges(), "secure", partition));
  return write_pages(memory, partition, snapshot.state.problems, progress);
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
  const LiveProcessMemory memory(pid, normalised(std::move(ranges)));
  HVD_TRY(write_common(snapshot, memory.ranges(), "full", partition));
  return write_pages(memory, partition, snapshot.state.problems, progress);
}

}  // namespace hvd
