// QemuMemory: the RAM of a guest, read out of its QEMU process.
#pragma once

#include <memory>

#include "base/physical_memory.h"
#include "capture/qemu/process.h"

namespace hvd {

/// One range of guest RAM and where QEMU keeps it.
struct RamBlock {
  PhysRange range;
  std::uint64_t host_address = 0;  // in the QEMU process
};

class QemuMemory final : public PhysicalMemory {
 public:
  /// RAM in shared files (memfd, /dev/shm, hugetlbfs) is read through a descriptor of that file,
  /// other RAM through the process's memory. kInvalidArgument when a block is not page-aligned.
  static Result<std::unique_ptr<QemuMemory>> open(int pid, const std::vector<RamBlock>& blocks);

  const std::vector<PhysRange>& ranges() const override { return ranges_; }
  /// Memory that the guest never touched is zero.
  Extent extent_at(PhysAddr at) const override;

 private:
  struct Block {
    RamBlock ram;
    std::shared_ptr<const FileDescriptor> file;  // null: private memory
    std::uint64_t file_offset = 0;               // of the block's first byte
    bool anonymous = false;                      // untouched pages are zero
  };
  QemuMemory(int pid, FileDescriptor pagemap) : pid_(pid), pagemap_(std::move(pagemap)) {}
  // Bytes that are alike, and whether the guest never touched them.
  struct Run {
    std::uint64_t size = 0;
    bool untouched = false;
  };
  Result<std::size_t> read_some(PhysAddr at, MutableBytes out) const override;
  const Block* block_at(PhysAddr at) const;
  Run run_at(const Block& block, std::uint64_t offset) const;
  static Run run_in_file(const Block& block, std::uint64_t offset);
  Run run_in_process(const Block& block, std::uint64_t offset) const;

  const int pid_;
  const FileDescriptor pagemap_;
  std::vector<Block> blocks_;
  std::vector<PhysRange> ranges_;
};

}  // namespace hvd
