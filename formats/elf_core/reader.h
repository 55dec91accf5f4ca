// Reads ELF-64 x86-64 core files of machines: /proc/vmcore, QEMU's dump-guest-memory, our own.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/byte_source.h"
#include "base/image.h"
#include "formats/elf_core/layout.h"

namespace hvd::elf {

struct Core {
  std::vector<ProgramHeader> headers;
  std::vector<Note> notes;
};

/// Program headers and notes; kCorrupt or kUnsupported when it is no such file.
Result<Core> read_core(const ByteSource& source);

/// The whole file as an Image named `name`: memory by the physical addresses of its PT_LOADs.
Result<Image> open_core(std::shared_ptr<const ByteSource> source, const std::string& name);

}  // namespace hvd::elf
