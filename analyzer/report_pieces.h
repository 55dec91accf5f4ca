// Parts of a report that do not depend on the guest's operating system.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>

#include "base/address.h"
#include "base/bytes.h"
#include "base/registers.h"
#include "base/result.h"

namespace hvd {

nlohmann::json registers_json(const Registers& registers);

/// Reads guest memory, all or nothing.
using ReadMemory = std::function<Result<Bytes>(VirtAddr at, std::size_t size)>;

/// Instructions around `rip`. Their lengths vary, so only from the beginning of the function, which
/// is `into` bytes before, is it certain where those before `rip` begin; where no function is known
/// (0), they are not shown.
nlohmann::json code_json(const ReadMemory& read, VirtAddr rip, std::uint64_t into);

}  // namespace hvd
