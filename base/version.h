// The version every program reports and every dump records.
#pragma once

#include <string_view>

namespace hvd {

/// Of the project, as CMake has it; there before any other object is made.
extern const std::string_view kVersion;

}  // namespace hvd
