// The version every program reports and every dump records.
#pragma once

#include <string_view>

namespace hvd {

inline constexpr std::string_view kVersion = "0.1.0";

}  // namespace hvd
