#include "guest/windows/address_space.h"

#include <algorithm>

#include "base/text.h"

namespace hvd::windows {

Result<void> AddressSpace::read(VirtAddr at, MutableBytes out) const {
  if (observer_) observer_(at, out.size());
  return read_all(at, out);
}

Result<Bytes> AddressSpace::read_bytes(VirtAddr at, std::size_t size) const {
  Bytes out(size);
  HVD_TRY(read(at, out));
  return out;
}

Bytes AddressSpace::read_up_to(VirtAddr at, std::size_t size) const {
  Bytes out(size);
  std::size_t done = 0;
  while (done < size) {
    const std::size_t step =
        std::min<std::size_t>(size - done, kPageSize - (at.value + done) % kPageSize);
    if (!read(at + done, MutableBytes(out).subspan(done, step))) break;
    done += step;
  }
  out.resize(done);
  return out;
}

Result<std::string> AddressSpace::read_string(VirtAddr at, std::size_t limit) const {
  std::string out;
  while (out.size() < limit) {
    const std::size_t step = std::min<std::size_t>(
        {limit - out.size(), kPageSize - (at.value + out.size()) % kPageSize, 64});
    std::string piece(step, '\0');
    HVD_TRY(read(at + out.size(), std::as_writable_bytes(std::span(piece))));
    const std::size_t end = piece.find('\0');
    out += piece.substr(0, end);
    if (end != std::string::npos) break;
  }
  return out;
}

Result<std::string> AddressSpace::read_unicode_string(VirtAddr at) const {
  constexpr std::uint64_t kMaxBytes = 2048;
  const std::uint64_t size = HVD_TRY(read_u16(at));
  const VirtAddr buffer{HVD_TRY(read_u64(at + 8))};
  if (size > kMaxBytes || size % 2 != 0)
    return Error{ErrorCode::kCorrupt,
                 "the string at " + hex(at.value) + " has " + std::to_string(size) + " bytes"};
  const Bytes text = HVD_TRY(read_bytes(buffer, static_cast<std::size_t>(size)));
  return from_utf16(text);
}

}  // namespace hvd::windows
