// FakeMemory: physical memory held in a map, with holes where a test wants them.
#pragma once

#include <cstring>
#include <map>
#include <memory>
#include <set>

#include "base/physical_memory.h"
#include "base/text.h"

namespace hvd {

/// Pages inside the ranges that were never written read as zeros; lost ones fail as not captured.
class FakeMemory final : public PhysicalMemory {
 public:
  explicit FakeMemory(std::uint64_t size_bytes) : ranges_{{PhysAddr{0}, size_bytes}} {}
  explicit FakeMemory(std::vector<PhysRange> ranges) : ranges_(std::move(ranges)) {}

  void write(PhysAddr at, ByteView bytes) {
    while (!bytes.empty()) {
      const std::size_t offset = at.value % kPageSize;
      const std::size_t size = std::min<std::size_t>(bytes.size(), kPageSize - offset);
      Bytes& page = pages_[at.value / kPageSize];
      page.resize(kPageSize);
      std::memcpy(page.data() + offset, bytes.data(), size);
      at = at + size;
      bytes = bytes.subspan(size);
    }
  }
  void write_u64(PhysAddr at, std::uint64_t value) { write(at, bytes_of(le64(value))); }
  void write_u32(PhysAddr at, std::uint32_t value) { write(at, bytes_of(le32(value))); }

  /// From now on the page with `at` cannot be read.
  void lose_page(PhysAddr at) { lost_.insert(at.value / kPageSize); }

  const std::vector<PhysRange>& ranges() const override { return ranges_; }
  Extent extent_at(PhysAddr at) const override {
    Extent extent;
    for (const PhysRange& range : ranges_) {
      if (!range.contains(at)) continue;
      extent.kind =
          lost_.contains(at.value / kPageSize) ? Extent::Kind::kAbsent : Extent::Kind::kStored;
      extent.range = {at, std::min(kPageSize - at.value % kPageSize,
                                   range.size - (at.value - range.begin.value))};
      return extent;
    }
    extent.range = {at, 1};
    return extent;
  }

  /// The addresses of the pages that were written, in order.
  std::vector<PhysAddr> written() const {
    std::vector<PhysAddr> out;
    for (const auto& [page, contents] : pages_) out.push_back(PhysAddr{page * kPageSize});
    return out;
  }

  /// How often a page was read: tests of bounded work look at it.
  std::size_t reads() const { return reads_; }

 private:
  Result<std::size_t> read_some(PhysAddr at, MutableBytes out) const override {
    ++reads_;
    const Extent extent = extent_at(at);
    if (extent.kind != Extent::Kind::kStored)
      return Error{ErrorCode::kNotCaptured, "address " + hex(at.value)};
    const std::size_t size = std::min<std::uint64_t>(out.size(), extent.range.size);
    const auto page = pages_.find(at.value / kPageSize);
    if (page == pages_.end()) std::memset(out.data(), 0, size);
    else std::memcpy(out.data(), page->second.data() + at.value % kPageSize, size);
    return size;
  }

  std::vector<PhysRange> ranges_;
  std::map<std::uint64_t, Bytes> pages_;
  std::set<std::uint64_t> lost_;
  mutable std::size_t reads_ = 0;
};

}  // namespace hvd
