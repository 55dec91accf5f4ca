#include "guest/windows/spaces.h"

#include "base/text.h"

namespace hvd::windows {

Result<std::string> read_unicode_string(const AddressSpace& space, VirtAddr at) {
  constexpr std::uint64_t kMaxBytes = 2048;
  const std::uint64_t size = HVD_TRY(space.read_u16(at));
  const VirtAddr buffer{HVD_TRY(space.read_u64(at + 8))};
  if (size > kMaxBytes || size % 2 != 0)
    return Error{ErrorCode::kCorrupt,
                 "the string at " + hex(at.value) + " has " + std::to_string(size) + " bytes"};
  const Bytes text = HVD_TRY(space.read_bytes(buffer, static_cast<std::size_t>(size)));
  return from_utf16(text);
}

}  // namespace hvd::windows
