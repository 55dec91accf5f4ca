#include "capture/qemu/qemu_memory.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "base/text.h"

namespace hvd {
namespace {

PageRun zero_run(std::uint64_t pages) { return {PageRun::Kind::kZero, pages, {}, Absence::kZero}; }
PageRun unreadable_page() { return {PageRun::Kind::kAbsent, 1, {}, Absence::kUnreadable}; }
PageRun bytes_run(ByteView bytes) {
  return {PageRun::Kind::kBytes, bytes.size() / kPageSize, bytes, Absence::kUnreadable};
}

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

PageRun QemuMemory::fetch(PhysAddr at, std::uint64_t max_pages, MutableBytes scratch) const {
  const auto next =
      std::upper_bound(blocks_.begin(), blocks_.end(), at,
                       [](PhysAddr a, const Block& b) { return a < b.ram.range.begin; });
  const Block& block = *std::prev(next);
  const std::uint64_t offset = at.value - block.ram.range.begin.value;
  const std::uint64_t pages = std::min(max_pages, (block.ram.range.size - offset) / kPageSize);
  return block.file ? fetch_file(block, offset, pages, scratch)
                    : fetch_process(block, offset, pages, scratch);
}

PageRun QemuMemory::fetch_file(const Block& block, std::uint64_t offset, std::uint64_t pages,
                               MutableBytes scratch) {
  const auto at = static_cast<off_t>(block.file_offset + offset);
  // Holes are pages that the guest never touched. Asking is cheaper than reading zeros, and pread,
  // unlike a mapping, neither fills the hole nor faults when the file shrinks. Only for the next
  // data is asked: looking for the end of it would walk over all of it.
  const off_t data = ::lseek(block.file->get(), at, SEEK_DATA);
  if (data < 0 && errno == ENXIO) return zero_run(pages);
  if (data > at) {
    const std::uint64_t hole = static_cast<std::uint64_t>(data - at) / kPageSize;
    if (hole > 0) return zero_run(std::min(hole, pages));
  }
  const std::uint64_t size =
      std::min<std::uint64_t>(pages * kPageSize, scratch.size() / kPageSize * kPageSize);
  std::size_t filled = 0;
  while (filled < size) {
    const ssize_t got = ::pread(block.file->get(), scratch.data() + filled, size - filled,
                                at + static_cast<off_t>(filled));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    filled += static_cast<std::size_t>(got);
  }
  const std::size_t whole = filled / kPageSize * kPageSize;
  return whole == 0 ? unreadable_page() : bytes_run(scratch.first(whole));
}

std::uint64_t QemuMemory::untouched_pages(std::uint64_t address, std::uint64_t pages,
                                          bool& untouched) const {
  // Documentation/admin-guide/mm/pagemap.rst: bit 63 present, bit 62 swapped.
  std::array<std::uint64_t, 64> entries{};
  const std::uint64_t count = std::min<std::uint64_t>(pages, entries.size());
  const ssize_t got = pagemap_ ? ::pread(pagemap_.get(), entries.data(), count * 8,
                                         static_cast<off_t>(address / kPageSize * 8))
                               : 0;
  untouched = false;
  if (got < 8) return count;
  const std::uint64_t known = static_cast<std::uint64_t>(got) / 8;
  untouched = (entries[0] >> 62) == 0;
  std::uint64_t run = 1;
  while (run < known && ((entries[run] >> 62) == 0) == untouched) ++run;
  return run;
}

PageRun QemuMemory::fetch_process(const Block& block, std::uint64_t offset, std::uint64_t pages,
                                  MutableBytes scratch) const {
  const std::uint64_t address = block.ram.host_address + offset;
  if (block.anonymous) {
    bool untouched = false;
    pages = std::min(pages, untouched_pages(address, pages, untouched));
    if (untouched) return zero_run(pages);
  }
  pages = std::min<std::uint64_t>(pages, scratch.size() / kPageSize);
  if (read_process(pid_, address, scratch.first(pages * kPageSize)))
    return bytes_run(scratch.first(pages * kPageSize));
  if (read_process(pid_, address, scratch.first(kPageSize)))
    return bytes_run(scratch.first(kPageSize));
  return unreadable_page();
}

}  // namespace hvd
