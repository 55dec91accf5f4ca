// Where a dump ends that was written to a block device: what was there before lies behind it.
#pragma once

#include <memory>

#include "base/byte_source.h"
#include "base/result.h"

namespace hvd::format {

/// The dump alone, if it is complete; else `device` as it is, since a record behind damage may
/// still be the dump's.
std::shared_ptr<const ByteSource> dump_on_device(std::shared_ptr<const ByteSource> device);

}  // namespace hvd::format
