// Dumps that hold no physical memory, as Windows' triage dumps do, inside a partition: the file
// itself, byte for byte, as memory from address 0 on.
#pragma once

#include <memory>
#include <string>

#include "base/byte_source.h"
#include "base/image.h"

namespace hvd {

/// Whether the image's memory is by virtual address.
bool by_virtual_address(const Image& image);

/// A file as memory from address 0 on; its last page is filled up with zeros.
std::shared_ptr<const PhysicalMemory> memory_of_file(std::shared_ptr<const ByteSource> source);

/// The facts of a partition that holds a file of so many bytes.
Facts file_facts(std::uint64_t bytes);

/// What is in the file, when the partition holds one; `image` itself when not. Name, role and state
/// stay the partition's. What cannot be opened goes to Image::problems.
Image opened_file(Image image);

}  // namespace hvd
