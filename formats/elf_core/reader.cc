#include "formats/elf_core/reader.h"

#include <algorithm>
#include <cstring>

#include "base/byte_reader.h"
#include "base/text.h"
#include "formats/elf_core/notes.h"

namespace hvd::elf {
namespace {

constexpr std::uint64_t kMaxHeaders = 1u << 20;
constexpr std::uint64_t kMaxNotes = 64u << 20;

template <WireStruct T>
Result<T> read_struct(const ByteSource& source, std::uint64_t at) {
  T out{};
  HVD_TRY(source.read(at, MutableBytes(reinterpret_cast<std::byte*>(&out), sizeof out)));
  return out;
}

Result<std::uint64_t> header_count(const ByteSource& source, const FileHeader& header) {
  if (header.phnum != kPhnumExtended) return std::uint64_t{header.phnum};
  const auto section = HVD_TRY(read_struct<SectionHeader>(source, header.shoff));
  return std::uint64_t{section.info};
}

// The PT_LOADs by physical address. Several may show the same bytes at several virtual addresses;
// the first wins.
class CoreMemory final : public PhysicalMemory {
 public:
  struct Load {
    PhysRange range;           // as far as the file holds it
    std::uint64_t offset = 0;  // in the file
  };

  CoreMemory(std::shared_ptr<const ByteSource> source, std::vector<Load> loads,
             std::vector<PhysRange> ranges)
      : source_(std::move(source)), loads_(std::move(loads)), ranges_(std::move(ranges)) {}

  const std::vector<PhysRange>& ranges() const override { return ranges_; }

  Extent extent_at(PhysAddr at) const override {
    Extent extent;
    const auto next =
        std::upper_bound(loads_.begin(), loads_.end(), at,
                         [](PhysAddr a, const Load& load) { return a < load.range.begin; });
    if (next != loads_.begin() && std::prev(next)->range.contains(at)) {
      const PhysRange& range = std::prev(next)->range;
      extent.kind = Extent::Kind::kStored;
      extent.range = {at, range.begin.value + range.size - at.value};
      return extent;
    }
    const std::uint64_t gap = next == loads_.end() ? ~at.value : next->range.begin.value - at.value;
    extent.range = {at, gap};
    const auto after = std::upper_bound(ranges_.begin(), ranges_.end(), at,
                                        [](PhysAddr a, const PhysRange& r) { return a < r.begin; });
    if (after != ranges_.begin() && std::prev(after)->contains(at)) {
      const PhysRange& range = *std::prev(after);
      extent.kind = Extent::Kind::kAbsent;
      extent.range.size = std::min(gap, range.begin.value + range.size - at.value);
    }
    return extent;
  }

 private:
  Result<std::size_t> read_some(PhysAddr at, MutableBytes out) const override {
    const Extent extent = extent_at(at);
    if (extent.kind != Extent::Kind::kStored) {
      return Error{ErrorCode::kNotCaptured,
                   "address " + hex(at.value) + " is not in the core file"};
    }
    const auto load =
        std::prev(std::upper_bound(loads_.begin(), loads_.end(), at,
                                   [](PhysAddr a, const Load& l) { return a < l.range.begin; }));
    const auto size =
        static_cast<std::size_t>(std::min<std::uint64_t>(out.size(), extent.range.size));
    HVD_TRY(source_->read(load->offset + (at.value - load->range.begin.value), out.first(size)));
    return size;
  }

  const std::shared_ptr<const ByteSource> source_;
  const std::vector<Load> loads_;  // sorted, not overlapping
  const std::vector<PhysRange> ranges_;
};

}  // namespace

Result<Core> read_core(const ByteSource& source) {
  const auto header = HVD_TRY(read_struct<FileHeader>(source, 0));
  if (std::memcmp(header.ident, kIdent.data(), 6) != 0) {
    return Error{ErrorCode::kUnsupported, "not a 64-bit little-endian ELF file"};
  }
  if (header.type != kTypeCore)
    return Error{ErrorCode::kUnsupported, "an ELF file, but not a core"};
  if (header.machine != kMachineX86_64) {
    return Error{
        ErrorCode::kUnsupported,
        "a core of machine type " + std::to_string(header.machine) + "; only x86-64 is read"};
  }
  const std::uint64_t count = HVD_TRY(header_count(source, header));
  if (header.phentsize != sizeof(ProgramHeader) || count > kMaxHeaders) {
    return Error{ErrorCode::kCorrupt, "the ELF header claims " + std::to_string(count) +
                                          " program headers of " +
                                          std::to_string(header.phentsize) + " bytes"};
  }
  Core core;
  const Bytes table = HVD_TRY(with_context(
      source.read(header.phoff, static_cast<std::size_t>(count) * sizeof(ProgramHeader)),
      "program headers"));
  ByteReader in(table, "program headers");
  for (std::uint64_t i = 0; i < count; ++i) core.headers.push_back(in.read<ProgramHeader>());
  HVD_TRY(in.finish());
  std::uint64_t notes_size = 0;  // in all: many headers may name the same bytes
  for (const ProgramHeader& program : core.headers) {
    if (program.type != kNote) continue;
    notes_size += program.filesz;
    if (program.filesz > kMaxNotes || notes_size > kMaxNotes)
      return Error{ErrorCode::kCorrupt, "the ELF notes claim to be larger than any are"};
    const Bytes segment = HVD_TRY(with_context(
        source.read(program.offset, static_cast<std::size_t>(program.filesz)), "ELF notes"));
    auto notes = HVD_TRY(parse_notes(segment));
    core.notes.insert(core.notes.end(), std::make_move_iterator(notes.begin()),
                      std::make_move_iterator(notes.end()));
  }
  return core;
}

Result<Image> open_core(std::shared_ptr<const ByteSource> source, const std::string& name) {
  Core core = HVD_TRY(read_core(*source));
  Image image;
  image.name = name;
  std::vector<CoreMemory::Load> loads;
  std::vector<PhysRange> ranges;
  for (const ProgramHeader& program : core.headers) {
    if (program.type != kLoad || program.memsz == 0) continue;
    const PhysAddr begin{program.paddr};
    if (program.memsz > ~begin.value) {
      image.problems.push_back("a program header at physical address " + hex(begin.value) +
                               " is out of range");
      continue;
    }
    ranges.push_back({begin, program.memsz});
    std::uint64_t filesz = std::min<std::uint64_t>(program.filesz, program.memsz);
    const std::uint64_t size = source->size();
    const std::uint64_t there = program.offset < size ? std::min(filesz, size - program.offset) : 0;
    if (there < filesz) {
      image.problems.push_back("the file is cut short: " + human_size(filesz - there) +
                               " at physical address " + hex(begin.value + there) + " are missing");
      filesz = there;
    }
    if (filesz > 0) loads.push_back({{begin, filesz}, program.offset});
  }
  std::stable_sort(loads.begin(), loads.end(),
                   [](const auto& a, const auto& b) { return a.range.begin < b.range.begin; });
  std::vector<CoreMemory::Load> merged;
  for (CoreMemory::Load load : loads) {
    if (!merged.empty()) {
      const PhysRange& last = merged.back().range;
      const std::uint64_t from = load.range.begin.value - last.begin.value;
      if (from < last.size) {  // overlaps: keep what is new
        const std::uint64_t skip = last.size - from;
        if (load.range.size <= skip) continue;
        load = {{load.range.begin + skip, load.range.size - skip}, load.offset + skip};
      }
    }
    merged.push_back(load);
  }
  if (!image.problems.empty()) image.state = PartitionState::kIncomplete;
  image.notes = std::move(core.notes);
  image.registers = registers_from(image.notes);
  image.memory = std::make_shared<CoreMemory>(std::move(source), std::move(merged),
                                              normalised(std::move(ranges)));
  return image;
}

}  // namespace hvd::elf
