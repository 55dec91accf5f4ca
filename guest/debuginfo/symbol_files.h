// Finding the files with DWARF that belong to a captured kernel and its modules.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"

namespace hvd {

/// Looks in each folder (or at each file) for a vmlinux of that build id, under the names
/// distributions use: vmlinux, vmlinux-RELEASE, boot/vmlinux-RELEASE, usr/lib/debug/...,
/// .build-id/ab/cdef.debug. An empty `build_id` accepts the release's name. kNotFound saying where
/// it looked and what did not match.
Result<std::string> find_vmlinux(const std::vector<std::string>& places, const std::string& release,
                                 const std::string& build_id);

/// The files with a module's name, as Linux spells it ("kvm_amd"), in `places`: files themselves,
/// or folders, in which modules/RELEASE trees and plain listings are looked through. Of several
/// files for one module the one with debug information in its name (.ko.debug) comes first.
/// Compressed modules have no DWARF and are not listed.
std::multimap<std::string, std::string> find_modules(const std::vector<std::string>& places,
                                                     const std::string& release);

/// The GNU build id of an ELF file, hexadecimal; nothing when it has none or is damaged.
std::optional<std::string> build_id_of(const std::string& path);

}  // namespace hvd
