// QemuMemory: the RAM of a guest, read out of its QEMU process.
#pragma once

#include <memory>

#include "capture/qemu/process.h"
#include "capture/source.h"

namespace hvd {

/// One range of guest RAM and where QEMU keeps it.
struct RamBlock {
  PhysRange range;
  std::uint64_t host_address = 0;  // in the QEMU process
};

class QemuMemory final : public PageSource {
 public:
  /// RAM in shared files (memfd, /dev/shm, hugetlbfs) is read through a descriptor of that file,
  /// other RAM through the process's memory. kInvalidArgument when a block is not page-aligned.
  static Result<std::unique_ptr<QemuMemory>> open(int pid, const std::vector<RamBlock>& blocks);

  const std::vector<PhysRange>& ranges() const override { return ranges_; }
  PageRun fetch(PhysAddr at, std::uint64_t max_pages, MutableBytes scratch) const override;

 private:
  struct Block {
    RamBlock ram;
    std::shared_ptr<const FileDescriptor> file;  // null: private memory
    std::uint64_t file_offset = 0;               // of the block's first byte
    bool anonymous = false;                      // untouched pages are zero
  };
  QemuMemory(int pid, FileDescriptor pagemap) : pid_(pid), pagemap_(std::move(pagemap)) {}
  static PageRun fetch_file(const Block& block, std::uint64_t offset, std::uint64_t pages,
                            MutableBytes scratch);
  PageRun fetch_process(const Block& block, std::uint64_t offset, std::uint64_t pages,
                        MutableBytes scratch) const;
  std::uint64_t untouched_pages(std::uint64_t address, std::uint64_t pages, bool& untouched) const;

  const int pid_;
  const FileDescriptor pagemap_;
  std::vector<Block> blocks_;
  std::vector<PhysRange> ranges_;
};

}  // namespace hvd
