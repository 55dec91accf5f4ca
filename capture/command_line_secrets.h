// Secrets on a VMM's command line, which the hypervisor's image must not show.
#pragma once

#include <string>
#include <vector>

namespace hvd {

/// A command line with passwords, keys and guests' kernel parameters blanked: an allow-list would
/// lose what support needs, so everything that may carry a secret by its name is blanked.
std::vector<std::string> without_secrets(std::vector<std::string> arguments);

}  // namespace hvd
