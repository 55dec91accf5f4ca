#include "formats/hvd/device_end.h"

#include <algorithm>
#include <cstring>
#include <ranges>
#include <vector>

#include "formats/hvd/catalog.h"

namespace hvd::format {
namespace {

constexpr std::size_t kMaxEnds = 64;  // each is tried

}  // namespace

std::shared_ptr<const ByteSource> dump_on_device(std::shared_ptr<const ByteSource> device) {
  // From header to header; an older dump's records may follow without a gap, hence all the footers.
  std::vector<std::uint64_t> ends;
  std::uint64_t at = sizeof(FileHeader);
  for (std::uint64_t number = 0;; ++number) {
    RecordHeader header{};
    const MutableBytes bytes(reinterpret_cast<std::byte*>(&header), sizeof header);
    if (!device->read(at, bytes) ||
        std::memcmp(header.magic, kRecordMagic.data(), kRecordMagic.size()) != 0 ||
        header.number != number || header.payload_size > kMaxPayload)
      break;
    const std::uint64_t size = sizeof header + header.payload_size;
    at += (size + kAlignment - 1) / kAlignment * kAlignment;
    if (header.type != static_cast<std::uint16_t>(RecordType::kFooter) || at > device->size())
      continue;
    if (ends.size() == kMaxEnds) ends.erase(ends.begin());
    ends.push_back(at);
  }
  for (const std::uint64_t end : std::ranges::reverse_view(ends)) {
    auto dump = std::make_shared<SourceHead>(device, end);
    const auto reader = RecordReader::open(dump);
    if (reader && read_index(*reader)) return dump;
  }
  return device;
}

}  // namespace hvd::format
