// Running independent pieces of work on all cores.
#pragma once

#include <cstddef>
#include <functional>

#include "base/result.h"

namespace hvd {

/// Calls `work(i)` for each i in [0, count), on `threads` threads (0: one per core), in no stated
/// order. After the first error no further piece is begun, and that error is returned.
Result<void> for_each_parallel(std::size_t count, unsigned threads,
                               const std::function<Result<void>(std::size_t)>& work);

}  // namespace hvd
