// hvdump-capture receive: the other end of -o tcp://HOST:PORT.
#pragma once

#include "base/command_line.h"

namespace hvd {

void add_receive_command(CLI::App& app, CommandOutcome& outcome);

}  // namespace hvd
