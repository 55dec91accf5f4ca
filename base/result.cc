#include "base/result.h"

namespace hvd {

const char* error_code_name(ErrorCode code) {
  switch (code) {
    case ErrorCode::kIo: return "io";
    case ErrorCode::kCorrupt: return "corrupt";
    case ErrorCode::kUnsupported: return "unsupported";
    case ErrorCode::kNotCaptured: return "not captured";
    case ErrorCode::kNotMapped: return "not mapped";
    case ErrorCode::kNotFound: return "not found";
    case ErrorCode::kUnreadable: return "unreadable";
    case ErrorCode::kSealed: return "sealed";
    case ErrorCode::kAuthentication: return "not authorised";
    case ErrorCode::kInvalidArgument: return "invalid argument";
    case ErrorCode::kInterrupted: return "interrupted";
  }
  return "unknown";
}

}  // namespace hvd
