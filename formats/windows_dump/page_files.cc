#include "formats/windows_dump/page_files.h"

#include <algorithm>
#include <bit>

#include "base/text.h"

namespace hvd::windows {
namespace {

constexpr std::uint64_t kBlockBits = 512;

Error not_captured(PhysAddr at) {
  return Error{ErrorCode::kNotCaptured, "address " + hex(at.value) + " is not in the dump"};
}

}  // namespace

RunMemory::RunMemory(std::shared_ptr<const ByteSource> source, const std::vector<StoredRun>& runs)
    : source_(std::move(source)) {
  for (const StoredRun& run : runs) {
    if (run.offset >= source_->size() || run.memory.size == 0) continue;
    StoredRun whole = run;
    whole.memory.size =
        std::min({run.memory.size, source_->size() - run.offset, ~run.memory.begin.value});
    runs_.push_back(whole);
  }
  std::stable_sort(runs_.begin(), runs_.end(), [](const StoredRun& a, const StoredRun& b) {
    return a.memory.begin < b.memory.begin;
  });
  // Of two that overlap the one that begins first keeps the bytes: whichever it is, a debugger that
  // reads either finds the same.
  std::uint64_t end = 0;
  std::vector<StoredRun> apart;
  for (StoredRun run : runs_) {
    const std::uint64_t begin = run.memory.begin.value, stop = begin + run.memory.size;
    if (!apart.empty() && stop <= end) continue;
    if (!apart.empty() && begin < end) {
      run.memory = {PhysAddr{end}, stop - end};
      run.offset += end - begin;
    }
    end = stop;
    apart.push_back(run);
  }
  runs_ = std::move(apart);
  for (const StoredRun& run : runs_) ranges_.push_back(run.memory);
  ranges_ = normalised(std::move(ranges_));
}

const StoredRun* RunMemory::find(PhysAddr at) const {
  auto behind = std::upper_bound(
      runs_.begin(), runs_.end(), at,
      [](PhysAddr address, const StoredRun& run) { return address < run.memory.begin; });
  if (behind == runs_.begin()) return nullptr;
  --behind;
  return behind->memory.contains(at) ? &*behind : nullptr;
}

Extent RunMemory::extent_at(PhysAddr at) const {
  Extent out;
  const StoredRun* run = find(at);
  if (run) {
    out.kind = Extent::Kind::kStored;
    out.range = {at, run->memory.size - (at.value - run->memory.begin.value)};
    return out;
  }
  const auto next = std::upper_bound(
      runs_.begin(), runs_.end(), at,
      [](PhysAddr address, const StoredRun& each) { return address < each.memory.begin; });
  out.range = {at, next == runs_.end() ? ~at.value : next->memory.begin.value - at.value};
  return out;
}

Result<std::size_t> RunMemory::read_some(PhysAddr at, MutableBytes out) const {
  const StoredRun* run = find(at);
  if (!run) return not_captured(at);
  const std::uint64_t skipped = at.value - run->memory.begin.value;
  const auto size =
      static_cast<std::size_t>(std::min<std::uint64_t>(out.size(), run->memory.size - skipped));
  HVD_TRY(source_->read(run->offset + skipped, out.first(size)));
  return size;
}

BitmapMemory::BitmapMemory(std::shared_ptr<const ByteSource> source, Bytes bitmap,
                           std::uint64_t pages, std::uint64_t first_offset,
                           std::vector<PhysRange> ranges)
    : source_(std::move(source)),
      bitmap_(std::move(bitmap)),
      pages_(std::min<std::uint64_t>(pages, bitmap_.size() * 8)),
      first_offset_(first_offset),
      ranges_(normalised(std::move(ranges))) {
  for (std::uint64_t page = 0; page < pages_; page += 8) {
    if (page % kBlockBits == 0) counts_.push_back(present_);
    unsigned bits = std::to_integer<unsigned>(bitmap_[page / 8]);
    if (pages_ - page < 8) bits &= (1u << (pages_ - page)) - 1;
    present_ += static_cast<std::uint64_t>(std::popcount(bits));
  }
}

bool BitmapMemory::has(std::uint64_t page) const {
  return page < pages_ && (std::to_integer<unsigned>(bitmap_[page / 8]) >> (page % 8)) & 1;
}

std::uint64_t BitmapMemory::alike(std::uint64_t page, std::uint64_t limit) const {
  const bool first = has(page);
  const std::byte whole = first ? std::byte{0xff} : std::byte{0};
  std::uint64_t count = 1;
  while (count < limit) {
    const std::uint64_t next = page + count;
    if (next >= pages_) return first ? count : limit;
    if (next % 8 == 0 && pages_ - next >= 8 && bitmap_[next / 8] == whole) {
      count += 8;
    } else if (has(next) == first) {
      ++count;
    } else {
      break;
    }
  }
  return std::min(count, limit);
}

std::uint64_t BitmapMemory::place_of(std::uint64_t page) const {
  std::uint64_t count = counts_[page / kBlockBits];
  const std::uint64_t byte = page / 8;
  for (std::uint64_t at = page / kBlockBits * (kBlockBits / 8); at < byte; ++at)
    count += static_cast<std::uint64_t>(std::popcount(std::to_integer<unsigned>(bitmap_[at])));
  const unsigned before = std::to_integer<unsigned>(bitmap_[byte]) & ((1u << page % 8) - 1);
  return count + static_cast<std::uint64_t>(std::popcount(before));
}

Extent BitmapMemory::extent_at(PhysAddr at) const {
  Extent out;
  const auto range = std::find_if(ranges_.begin(), ranges_.end(),
                                  [&](const PhysRange& r) { return r.contains(at); });
  if (range == ranges_.end()) {
    const auto next = std::find_if(ranges_.begin(), ranges_.end(),
                                   [&](const PhysRange& r) { return r.begin > at; });
    out.range = {at, next == ranges_.end() ? ~at.value : next->begin.value - at.value};
    return out;
  }
  const std::uint64_t left = range->size - (at.value - range->begin.value);
  const std::uint64_t page = at.value / kPageSize, offset = at.value % kPageSize;
  const std::uint64_t run = alike(page, (offset + left + kPageSize - 1) / kPageSize);
  out.kind = has(page) ? Extent::Kind::kStored : Extent::Kind::kAbsent;
  out.reason = Absence::kFilteredClass;
  out.range = {at, std::min(left, run * kPageSize - offset)};
  return out;
}

Result<std::size_t> BitmapMemory::read_some(PhysAddr at, MutableBytes out) const {
  const std::uint64_t page = at.value / kPageSize, offset = at.value % kPageSize;
  if (!has(page)) return not_captured(at);
  const std::uint64_t pages = alike(page, (offset + out.size() + kPageSize - 1) / kPageSize);
  const auto size =
      static_cast<std::size_t>(std::min<std::uint64_t>(out.size(), pages * kPageSize - offset));
  HVD_TRY(source_->read(first_offset_ + place_of(page) * kPageSize + offset, out.first(size)));
  return size;
}

}  // namespace hvd::windows
