#include "capture/qemu/qemu_memory.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "base/text.h"

namespace hvd {
namespace {

constexpr std::uint64_t kRunPages = 64;  // looked at together

}  // namespace

Result<std::unique_ptr<QemuMemory>> QemuMemory::open(int pid, const std::vector<RamBlock>& blocks) {
  const std::vector<Mapping> mappings = HVD_TRY(read_mappings(pid));
  const std::string path = "/proc/" + std::to_string(pid) + "/pagemap";
  std::unique_ptr<QemuMemory> memory(
      new QemuMemory(pid, FileDescriptor(::open(path.c_str(), O_RDONLY | O_CLOEXEC))));
  for (const RamBlock& ram : blocks) {
    if (ram.range.begin.value % kPageSize || ram.range.size % kPageSize ||
        ram.host_address % kPageSize) {
      return Error{ErrorCode::kInvalidArgument,
                   "guest RAM at " + hex(ram.range.begin.value) + " is not page-aligned"};
    }
    const auto mapping = std::find_if(mappings.begin(), mappings.end(), [&](const Mapping& m) {
      return m.contains(ram.host_address);
    });
    if (mapping == mappings.end()) {
      return Error{ErrorCode::kUnreadable, "guest RAM at " + hex(ram.range.begin.value) +
                                               " is not mapped in process " + std::to_string(pid) +
                                               " where QEMU says it is"};
    }
    Block block{ram, nullptr, 0, mapping->inode == 0};
    const bool whole = ram.range.size <= mapping->end - ram.host_address;
    if (mapping->shared && mapping->inode != 0 && whole) {
      if (auto file = open_mapped_file(pid, *mapping)) {
        block.file = std::make_shared<const FileDescriptor>(std::move(*file));
        block.file_offset = mapping->file_offset + (ram.host_address - mapping->begin);
      }
    }
    memory->ranges_.push_back(ram.range);
    memory->blocks_.push_back(std::move(block));
  }
  std::sort(memory->blocks_.begin(), memory->blocks_.end(),
            [](const Block& a, const Block& b) { return a.ram.range < b.ram.range; });
  std::sort(memory->ranges_.begin(), memory->ranges_.end());
  for (std::size_t i = 1; i < memory->ranges_.size(); ++i) {
    if (memory->ranges_[i - 1].contains(memory->ranges_[i].begin)) {
      return Error{ErrorCode::kIo,
                   "QEMU reports overlapping RAM at " + hex(memory->ranges_[i].begin.value)};
    }
  }
  return memory;
}

const QemuMemory::Block* QemuMemory::block_at(PhysAddr at) const {
  const auto next =
      std::upper_bound(blocks_.begin(), blocks_.end(), at,
                       [](PhysAddr a, const Block& b) { return a < b.ram.range.begin; });
  if (next == blocks_.begin() || !std::prev(next)->ram.range.contains(at)) return nullptr;
  return &*std::prev(next);
}

Extent QemuMemory::extent_at(PhysAddr at) const {
  const Block* block = block_at(at);
  if (!block) return {.range = {at, kPageSize - at.value % kPageSize}};
  const Run run = run_at(*block, at.value - block->ram.range.begin.value);
  return {.range = {at, run.size},
          .kind = run.untouched ? Extent::Kind::kZero : Extent::Kind::kStored};
}

QemuMemory::Run QemuMemory::run_at(const Block& block, std::uint64_t offset) const {
  Run run{block.ram.range.size - offset, false};
  if (block.file) run = run_in_file(block, offset);
  else if (block.anonymous) run = run_in_process(block, offset);
  run.size = std::min(run.size, block.ram.range.size - offset);
  return run;
}

QemuMemory::Run QemuMemory::run_in_file(const Block& block, std::uint64_t offset) {
  const auto at = static_cast<off_t>(block.file_offset + offset);
  // Holes are pages that the guest never touched. Asking is cheaper than reading zeros, and pread,
  // unlike a mapping, neither fills the hole nor faults when the file shrinks. Only for the next
  // data is asked: looking for the end of it would walk over all of it.
  const off_t data = ::lseek(block.file->get(), at, SEEK_DATA);
  if (data < 0 && errno == ENXIO) return {block.ram.range.size - offset, true};
  if (data > at) return {static_cast<std::uint64_t>(data - at), true};
  return {kRunPages * kPageSize - offset % kPageSize, false};
}

QemuMemory::Run QemuMemory::run_in_process(const Block& block, std::uint64_t offset) const {
  // Documentation/admin-guide/mm/pagemap.rst: bit 63 present, bit 62 swapped.
  const auto untouched = [](std::uint64_t entry) { return entry >> 62 == 0; };
  std::array<std::uint64_t, kRunPages> entries{};
  const std::uint64_t address = block.ram.host_address + offset;
  const ssize_t got = pagemap_ ? ::pread(pagemap_.get(), entries.data(), sizeof entries,
                                         static_cast<off_t>(address / kPageSize * 8))
                               : 0;
  const std::uint64_t in_page = address % kPageSize;
  if (got < 8) return {kRunPages * kPageSize - in_page, false};
  const std::uint64_t known = static_cast<std::uint64_t>(got) / 8;
  std::uint64_t run = 1;
  while (run < known && untouched(entries[run]) == untouched(entries[0])) ++run;
  return {run * kPageSize - in_page, untouched(entries[0])};
}

Result<std::size_t> QemuMemory::read_some(PhysAddr at, MutableBytes out) const {
  const Block* block = block_at(at);
  if (!block) return Error{ErrorCode::kNotCaptured, "address " + hex(at.value) + " is not RAM"};
  const std::uint64_t offset = at.value - block->ram.range.begin.value;
  auto size =
      static_cast<std::size_t>(std::min<std::uint64_t>(out.size(), block->ram.range.size - offset));
  if (block->file) {
    ssize_t got = 0;
    do {
      got = ::pread(block->file->get(), out.data(), size,
                    static_cast<off_t>(block->file_offset + offset));
    } while (got < 0 && errno == EINTR);
    if (got > 0) return static_cast<std::size_t>(got);
    return Error{ErrorCode::kUnreadable, "address " + hex(at.value) + " cannot be read"};
  }
  // Reading what was never touched would make the process touch it.
  const Run run = run_at(*block, offset);
  size = static_cast<std::size_t>(std::min<std::uint64_t>(size, run.size));
  if (run.untouched) {
    std::memset(out.data(), 0, size);
    return size;
  }
  HVD_TRY(read_process(pid_, block->ram.host_address + offset, out.first(size)));
  return size;
}

}  // namespace hvd
