// Triage dumps (kind 4): pieces of virtual memory, and tables of what was loaded.
#pragma once

#include <memory>
#include <string>

#include "base/byte_source.h"
#include "base/image.h"
#include "base/windows_header.h"

namespace hvd::windows {

/// Fills memory, notes and facts of `image` as open_windows_dump() says. Parts whose places are not
/// in the file are left out and told in Image::problems.
Result<void> read_triage(const std::shared_ptr<const ByteSource>& source, const Header64& header,
                         Image& image);

}  // namespace hvd::windows
