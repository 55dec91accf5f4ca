// How a program's heap gets its memory from the kernel.
#pragma once

#include <cstddef>

namespace hvd {

/// Has the heap grow in large steps and in large pages, and keep what it has: for a program that
/// soon needs tens of MiB and then ends. On a virtual machine the page faults of a fresh heap cost
/// more than the work done in it. `room` is in bytes of address space, not of memory; where it
/// cannot be had the heap stays as it was. Call before there are threads.
void use_large_pages(std::size_t room);

/// Has large blocks go back to the kernel as soon as they are freed: for a program that must stay
/// small all the time, as in a capture kernel.
void return_memory_early();

}  // namespace hvd
