// The memory of a tenant's VMM process, which its partition holds beside the guest's (SPEC.md,
// "FACTS", kind "vmm").
#pragma once

#include "base/image.h"
#include "base/result.h"

namespace hvd {

/// That process as an image of its own, by process addresses, with what KVM had of the guest as
/// notes; `partition` must outlive it.
/// kNotFound when the partition holds none.
Result<Image> vmm_image(const Image& partition);

}  // namespace hvd
