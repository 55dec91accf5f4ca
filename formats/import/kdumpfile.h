// Dumps in other people's formats (kdump-compressed, diskdump, ...) through libkdumpfile.
#pragma once

#include <string>

#include "base/image.h"

namespace hvd {

/// The file as an Image named `name`. kUnsupported when libkdumpfile does not know it or it is not
/// x86-64.
Result<Image> open_kdumpfile(const std::string& path, const std::string& name);

}  // namespace hvd
