#include "envelope/secret.h"

namespace hvd {

Result<void> require_sodium() {
  if (sodium_init() < 0)
    return Error{ErrorCode::kIo,
                 "the system gives no usable randomness (libsodium failed to start)"};
  return {};
}

}  // namespace hvd
