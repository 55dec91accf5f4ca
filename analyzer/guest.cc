#include "analyzer/guest.h"

#include "base/windows_header.h"

namespace hvd {
namespace {

bool has_linux_note(const Image& image) {
  const Bytes* note = note_of(image, "VMCOREINFO");
  return note && !to_string(*note).starts_with(windows::kHeaderSignature);
}

}  // namespace

Result<Guest> open_guest(const Image& image, const std::vector<std::string>& symbols) {
  Guest guest;
  const auto try_linux = [&]() -> Result<void> {
    guest.linux_os = HVD_TRY(LinuxGuest::open(image));
    guest.linux_os->use_symbols(symbols);
    return {};
  };
  const auto try_windows = [&] {
    auto opened = WindowsGuest::open(image, symbols);
    if (opened) guest.windows_os = std::move(*opened);
    return opened.has_value();
  };
  // Without its note a Linux has to be searched for in all memory, while a Windows is found from
  // the CPUs or not at all.
  const bool linux_first = has_linux_note(image);
  if (!linux_first && try_windows()) return guest;
  const auto opened = try_linux();
  if (opened) return guest;
  if (linux_first && try_windows()) return guest;
  return opened.error();
}

}  // namespace hvd
