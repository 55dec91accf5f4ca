// Finding the vmlinux with DWARF that belongs to a captured kernel.
#pragma once

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

/// The GNU build id of an ELF file, hexadecimal.
std::optional<std::string> build_id_of(const std::string& path);

}  // namespace hvd
