// Parts of a report that do not depend on the guest's operating system.
#pragma once

#include <ctime>
#include <functional>
#include <string>
#include <vector>

#include "analyzer/report.h"
#include "base/address.h"
#include "base/arm64_registers.h"
#include "base/bytes.h"
#include "base/registers.h"
#include "base/result.h"

namespace hvd {

/// "2021-02-21T01:38:22Z"; empty for a time that no calendar has.
std::string utc(std::time_t seconds);

RegisterValues register_values(const Registers& registers);
RegisterValues register_values(const Arm64Registers& registers);

/// Reads guest memory, all or nothing.
using ReadMemory = std::function<Result<Bytes>(VirtAddr at, std::size_t size)>;

/// Instructions around `rip`. Their lengths vary, so only from the beginning of the function, which
/// is `into` bytes before, is it certain where those before `rip` begin; where no function is known
/// (0), they are not shown.
std::vector<CodeLine> code_around(const ReadMemory& read, VirtAddr rip, std::uint64_t into);

}  // namespace hvd
