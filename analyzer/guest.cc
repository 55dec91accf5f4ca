#include "analyzer/guest.h"

#include "analyzer/linux_guest.h"
#include "analyzer/windows_guest.h"
#include "base/windows_header.h"

namespace hvd {
namespace {

bool has_linux_note(const Image& image) {
  const Bytes* note = note_of(image, "VMCOREINFO");
  return note && !to_string(*note).starts_with(windows::kHeaderSignature);
}

}  // namespace

Result<std::unique_ptr<Guest>> open_guest(const Image& image,
                                          const std::vector<std::string>& symbols) {
  const auto try_windows = [&]() -> std::unique_ptr<Guest> {
    auto opened = WindowsGuest::open(image, symbols);
    if (!opened) return nullptr;
    return std::move(*opened);
  };
  // A Linux without its note has to be searched for in all memory, while a Windows is found from
  // the CPUs or not at all.
  const bool linux_first = has_linux_note(image);
  if (!linux_first) {
    if (auto guest = try_windows()) return guest;
  }
  auto opened = LinuxGuest::open(image, symbols);
  if (opened) return std::unique_ptr<Guest>(std::move(*opened));
  if (linux_first) {
    if (auto guest = try_windows()) return guest;
  }
  return opened.error();
}

}  // namespace hvd
