#include "extractor/merged_memory.h"

#include <algorithm>

namespace hvd {
namespace {

bool has_bytes(const Extent& extent) {
  return extent.kind == Extent::Kind::kStored || extent.kind == Extent::Kind::kZero;
}

}  // namespace

MergedMemory::MergedMemory(std::shared_ptr<const PhysicalMemory> first,
                           std::shared_ptr<const PhysicalMemory> second)
    : first_(std::move(first)), second_(std::move(second)), ranges_(first_->ranges()) {
  ranges_.insert(ranges_.end(), second_->ranges().begin(), second_->ranges().end());
  ranges_ = normalised(std::move(ranges_));
}

Extent MergedMemory::extent_at(PhysAddr at) const {
  const Extent first = first_->extent_at(at), second = second_->extent_at(at);
  Extent out = has_bytes(first) || !has_bytes(second) ? first : second;
  // Only as far as neither changes.
  if (!has_bytes(first)) out.range.size = std::min(first.range.size, second.range.size);
  return out;
}

Result<std::size_t> MergedMemory::read_some(PhysAddr at, MutableBytes out) const {
  const Extent extent = extent_at(at);
  const auto size =
      static_cast<std::size_t>(std::clamp<std::uint64_t>(extent.range.size, 1, out.size()));
  const PhysicalMemory& from = has_bytes(first_->extent_at(at)) ? *first_ : *second_;
  auto read = from.read(at, out.first(size));
  if (read) return size;
  // Of two reasons the first partition's is the one that tells more.
  if (&from == second_.get()) HVD_TRY(first_->read(at, out.first(size)));
  return read.error();
}

}  // namespace hvd
