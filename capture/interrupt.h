// Ctrl-C as a value: long work asks between steps and stops cleanly, so that guests are resumed and
// the dump keeps every record written.
#pragma once

#include "base/result.h"

namespace hvd {

/// SIGINT, SIGTERM and SIGHUP set the flag from now on; a second one ends the program at once.
void watch_for_interrupt();
bool interrupted();
/// kInterrupted once a signal came.
Result<void> check_interrupt();

}  // namespace hvd
