// Finding the kernel's address space, and the kernel in it, in raw memory.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/image.h"
#include "guest/windows/pe.h"

namespace hvd::windows {

struct FoundSpace {
  std::unique_ptr<AddressSpace> space;
  Paging paging = Paging::kX64FourLevel;
  std::string how;                // for people
  std::optional<VirtAddr> entry;  // an address in the kernel, when one came along
};

/// The kernel's page tables: at `hint` (a dump's header), else those of a CPU. With kernel page
/// table isolation a CPU in user mode has tables that lack the kernel; its KPCR, which they do map,
/// names the right ones. Last, what the boot code left in the first MiB says. Of an ARM64 system
/// only those at `hint`. kNotFound.
Result<FoundSpace> find_space(const Image& image, std::optional<PhysAddr> hint, bool arm64);

struct FoundKernel {
  PeImage pe;
  std::string how;  // for people
};

/// ntoskrnl.exe, by any address in it: an interrupt's handler, where a CPU is, `entry`, or `places`
/// in its data. kNotFound.
Result<FoundKernel> find_kernel_image(const AddressSpace& space, const Image& image,
                                      std::optional<VirtAddr> entry,
                                      const std::vector<VirtAddr>& places);

}  // namespace hvd::windows
