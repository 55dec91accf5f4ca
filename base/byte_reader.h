// ByteReader: a bounded, forward-only cursor over untrusted bytes.
//
// The error is sticky: after the first read past the end every read gives zeros, so loops end by
// themselves and a whole structure can be read before checking once with finish(). A debug build
// asserts that finish() was called.
#pragma once

#include <cassert>
#include <cstring>
#include <string>
#include <utility>

#include "base/bytes.h"
#include "base/result.h"

namespace hvd {

class ByteReader {
 public:
  /// `bytes` must outlive the reader; `what` names it in errors.
  ByteReader(ByteView bytes, std::string what) : bytes_(bytes), what_(std::move(what)) {}
  ByteReader(const ByteReader&) = delete;
  ByteReader& operator=(const ByteReader&) = delete;
  ~ByteReader() { assert(finished_ && "ByteReader::finish() was not called"); }

  /// The next T, or zeros once the bytes have run out.
  template <WireStruct T>
  T read() {
    T out{};
    if (take(sizeof(T))) std::memcpy(&out, bytes_.data() + at_ - sizeof(T), sizeof(T));
    return out;
  }

  /// The next `size` bytes as a view into the source, or an empty view once the bytes have run out.
  ByteView bytes(std::size_t size) {
    if (!take(size)) return {};
    return bytes_.subspan(at_ - size, size);
  }

  /// Everything that is left.
  ByteView rest() { return bytes(remaining()); }

  /// Accepts a claimed element count only when that many elements of T are really there; else 0 and
  /// an error.
  template <WireStruct T>
  std::size_t count(std::uint64_t claimed) {
    if (failed_) return 0;
    if (claimed > remaining() / sizeof(T)) {
      fail("claims " + std::to_string(claimed) + " entries of " + std::to_string(sizeof(T)) +
           " bytes but only " + std::to_string(remaining()) + " bytes remain");
      return 0;
    }
    return static_cast<std::size_t>(claimed);
  }

  std::size_t remaining() const { return failed_ ? 0 : bytes_.size() - at_; }
  std::size_t position() const { return at_; }
  bool ok() const { return !failed_; }

  /// Records a violation the caller found; the first one wins.
  void fail(std::string problem) {
    if (failed_) return;
    failed_ = true;
    problem_ = std::move(problem);
  }

  /// kCorrupt when any read ran past the end or fail() was called. Bytes left over are allowed:
  /// formats grow.
  Result<void> finish() {
    finished_ = true;
    if (failed_) return Error{ErrorCode::kCorrupt, what_ + " " + problem_};
    return {};
  }

  /// finish(), and nothing may be left over.
  Result<void> finish_exact() {
    if (!failed_ && remaining() != 0)
      fail("has " + std::to_string(remaining()) + " bytes too many");
    return finish();
  }

 private:
  bool take(std::size_t size) {
    if (failed_) return false;
    if (size > bytes_.size() - at_) {
      fail("needs " + std::to_string(size) + " bytes at offset " + std::to_string(at_) +
           " but only " + std::to_string(bytes_.size() - at_) + " remain");
      return false;
    }
    at_ += size;
    return true;
  }

  ByteView bytes_;
  std::string what_;
  std::string problem_;
  std::size_t at_ = 0;
  bool failed_ = false;
  bool finished_ = false;
};

}  // namespace hvd
