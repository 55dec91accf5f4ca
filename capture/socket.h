// A dump's way over the network: one TCP connection, bytes one way, and at the end the receiver's
// word on how many it has stored. The dump protects itself (sealed, signed); the connection does
// not.
#pragma once

#include <chrono>
#include <functional>

#include "base/byte_sink.h"

namespace hvd {

/// "HOST:PORT", an IPv6 address in brackets. kInvalidArgument when it is neither.
struct HostPort {
  std::string host, port;
  static Result<HostPort> parse(const std::string& text);
};

/// Asked now and then while there is nothing to do but wait.
using Stop = std::function<bool()>;

class SocketSink final : public ByteSink {
 public:
  /// Tries again until `patience` is over: in a capture kernel the network may come up late.
  /// kInterrupted once `stop` says so, here and while bytes are sent; who was told to stop before
  /// has half a minute for what is left to send, and for the receiver's word.
  static Result<std::unique_ptr<SocketSink>> connect(const HostPort& to,
                                                     std::chrono::seconds patience, Stop stop);
  Result<void> append(ByteView bytes) override;
  /// Ends the stream and waits for the receiver's word that all of it is stored. Nothing may be
  /// appended afterwards.
  Result<void> sync() override;

 private:
  SocketSink(FileDescriptor fd, std::string name, Stop stop)
      : fd_(std::move(fd)), name_(std::move(name)), stop_(std::move(stop)) {}
  FileDescriptor fd_;
  std::string name_;
  Stop stop_;
  std::uint64_t sent_ = 0;
};

/// Waits for one connection on `at`, calls `listening` with the port once it can be made, and
/// appends what comes to `sink` until the stream ends; then syncs it and tells the sender. Returns
/// the number of bytes. kInterrupted once `stop` says so.
Result<std::uint64_t> receive_stream(const HostPort& at, ByteSink& sink,
                                     const std::function<void(const std::string&)>& listening,
                                     const Stop& stop);

}  // namespace hvd
