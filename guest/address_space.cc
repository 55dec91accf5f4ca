#include "guest/address_space.h"

#include <algorithm>

namespace hvd {

Result<std::uint64_t> AddressSpace::read_unsigned(VirtAddr at, std::size_t size) const {
  if (size > 8)
    return Error{ErrorCode::kUnsupported, "an integer of " + std::to_string(size) + " bytes"};
  le64 value = 0;
  HVD_TRY(read(at, MutableBytes(reinterpret_cast<std::byte*>(&value), size)));
  return std::uint64_t{value};
}

Result<std::string> AddressSpace::read_string(VirtAddr at, std::size_t limit) const {
  std::string out;
  while (out.size() < limit) {
    char buffer[64];  // the next bytes may be in no piece of a dump
    const std::size_t size = std::min<std::size_t>(
        {sizeof buffer, limit - out.size(), kPageSize - at.value % kPageSize});
    HVD_TRY(read(at, std::as_writable_bytes(std::span(buffer, size))));
    const char* end = std::find(buffer, buffer + size, '\0');
    out.append(static_cast<const char*>(buffer), end);
    if (end != buffer + size) return out;
    at = at + size;
  }
  return out;
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

}  // namespace hvd
