#include "base/version.h"

namespace hvd {

constinit const std::string_view kVersion = HVD_VERSION;

}  // namespace hvd
