// The guest-physical layout as QEMU prints it: `info mtree -f`.
//
// QMP has no structured form of it. The text has kept its shape since QEMU 2.10; a line that does
// not fit is skipped, and RAM that QEMU's own totals know but no line showed is reported by the
// caller.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/address.h"

namespace hvd {

struct FlatRange {
  PhysRange range;
  std::string kind;    // "ram", "rom", "romd", "i/o", "ramd" ... as QEMU says
  std::string region;  // memory region's name: "pc.ram", "vga.vram", "pc.bios"
};

/// The ranges of the flat view that the address space `memory` (what CPUs see by default) uses.
/// Empty when there is none.
std::vector<FlatRange> parse_flat_view(std::string_view mtree);

}  // namespace hvd
