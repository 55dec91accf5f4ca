#include "formats/imported_file.h"

#include <algorithm>

#include "formats/windows_dump/reader.h"

namespace hvd {
namespace {

class FileMemory final : public PhysicalMemory {
 public:
  explicit FileMemory(std::shared_ptr<const ByteSource> source)
      : source_(std::move(source)),
        ranges_{{PhysAddr{0}, (source_->size() + kPageSize - 1) / kPageSize * kPageSize}} {}
  const std::vector<PhysRange>& ranges() const override { return ranges_; }
  Extent extent_at(PhysAddr at) const override {
    Extent out;
    const std::uint64_t end = ranges_.front().size;
    if (at.value < end) out.kind = Extent::Kind::kStored;
    out.range = {at, at.value < end ? end - at.value : ~at.value};
    return out;
  }

 private:
  Result<std::size_t> read_some(PhysAddr at, MutableBytes out) const override {
    if (at.value >= ranges_.front().size)
      return Error{ErrorCode::kNotCaptured, "the file has no byte " + std::to_string(at.value)};
    std::fill(out.begin(), out.end(), std::byte{0});
    const std::uint64_t left = source_->size() - std::min(at.value, source_->size());
    const auto size = static_cast<std::size_t>(std::min<std::uint64_t>(out.size(), left));
    if (size > 0) HVD_TRY(source_->read(at.value, out.first(size)));
    const std::uint64_t padded = ranges_.front().size - at.value;
    return static_cast<std::size_t>(std::min<std::uint64_t>(out.size(), padded));
  }
  const std::shared_ptr<const ByteSource> source_;
  const std::vector<PhysRange> ranges_;
};

class PartitionFile final : public ByteSource {
 public:
  PartitionFile(std::shared_ptr<const PhysicalMemory> memory, std::uint64_t size)
      : memory_(std::move(memory)), size_(size) {}
  std::uint64_t size() const override { return size_; }

 private:
  Result<void> read_inside(std::uint64_t offset, MutableBytes out) const override {
    return memory_->read(PhysAddr{offset}, out);
  }
  const std::shared_ptr<const PhysicalMemory> memory_;
  const std::uint64_t size_;
};

}  // namespace

bool by_virtual_address(const Image& image) {
  return image.facts.address_space == AddressKind::kVirtual;
}

std::shared_ptr<const PhysicalMemory> memory_of_file(std::shared_ptr<const ByteSource> source) {
  return std::make_shared<FileMemory>(std::move(source));
}

Facts file_facts(std::uint64_t bytes) {
  Facts facts;
  facts.address_space = AddressKind::kFile;
  facts.file_bytes = bytes;
  return facts;
}

Image opened_file(Image image) {
  if (!image.memory || image.facts.address_space != AddressKind::kFile) return image;
  const std::optional<std::uint64_t> size = image.facts.file_bytes;
  const auto& ranges = image.memory->ranges();
  if (!size || ranges.empty() || *size > ranges.front().size) {
    image.problems.emplace_back("the partition holds a file whose size is not known");
    return image;
  }
  auto opened =
      windows::open_windows_dump(std::make_shared<PartitionFile>(image.memory, *size), image.name);
  if (!opened) {
    image.problems.push_back("the file in it cannot be read: " + opened.error().message);
    return image;
  }
  opened->role = image.role;
  opened->state = image.state;
  opened->state_reason = image.state_reason;
  opened->problems.insert(opened->problems.begin(), image.problems.begin(), image.problems.end());
  return std::move(*opened);
}

}  // namespace hvd
