// Where a capture writes its dump.
#pragma once

#include <memory>
#include <string>

#include "base/byte_sink.h"
#include "capture/socket.h"

namespace hvd {

/// Whatever an output may be: "tcp://HOST:PORT", or what FileSink::create() takes.
Result<std::unique_ptr<ByteSink>> open_sink(const std::string& output, Stop stop);

}  // namespace hvd
