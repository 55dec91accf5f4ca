// Opening a dump of any kind that hvdump reads, told apart by its first bytes.
#pragma once

#include <string>
#include <vector>

#include "base/envelope.h"
#include "base/image.h"

namespace hvd {

struct OpenedDump {
  std::string id;  // of an .hvd: 32 hexadecimal digits
  std::uint64_t created_ns = 0;
  std::string agent = "{}";  // a JSON object
  bool complete = true;
  std::vector<std::string> problems;
  std::vector<Image> partitions;
};

/// .hvd, ELF core, Windows dump, or whatever libkdumpfile reads; all but the first give one
/// partition named after the file. With `only` (not empty) just that partition of an .hvd, unlocked
/// or failing with the reason (kSealed, kAuthentication).
Result<OpenedDump> open_dump(const std::string& path, const KeyProvider& keys,
                             const std::string& only);

}  // namespace hvd
