#include "analyzer/guest.h"

#include "base/windows_header.h"

namespace hvd {
namespace {

using nlohmann::json;

bool has_linux_note(const Image& image) {
  const Bytes* note = note_of(image, "VMCOREINFO");
  return note && !to_string(*note).starts_with(windows::kHeaderSignature);
}

}  // namespace

json Guest::cpus_json() const {
  return linux_os ? hvd::cpus_json(*linux_os) : windows_os->cpus_json();
}

json Guest::tasks_json(std::optional<std::int64_t> only_id) const {
  return linux_os ? hvd::tasks_json(*linux_os, only_id) : windows_os->tasks_json(only_id);
}

json Guest::modules_json() const {
  return linux_os ? hvd::modules_json(*linux_os) : windows_os->modules_json();
}

std::vector<std::string> Guest::problems() const {
  if (linux_os) return linux_os->problems();
  std::vector<std::string> out = windows_os->problems();
  const auto& symbols = windows_os->symbol_problems();
  out.insert(out.end(), symbols.begin(), symbols.end());
  return out;
}

Result<VirtAddr> Guest::symbol(const std::string& name) const {
  return linux_os ? linux_os->kernel().symbol(name) : windows_os->kernel().symbol(name);
}

Result<void> Guest::read(VirtAddr at, MutableBytes out) const {
  if (linux_os) return linux_os->kernel().memory().read(at, out);
  return windows_os->kernel().space().read(at, out);
}

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
