// QmpClient: one QEMU Machine Protocol connection (qemu docs/interop/qmp-spec).
//
// The peer is not trusted: replies are bounded in size and time, and anything that is not the
// protocol ends the connection with an error.
#pragma once

#include <chrono>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "base/file_descriptor.h"
#include "base/result.h"

namespace hvd {

class QmpClient {
 public:
  /// Connects to a Unix socket and negotiates. A QMP socket serves one client at a time: a peer
  /// that stays silent is reported as busy.
  static Result<QmpClient> connect(const std::string& socket_path);

  /// Runs a command and returns its "return" member. kNotFound when the peer does not know the
  /// command, kIo for another error it reports, a hang-up, silence for `timeout`, or bytes that are
  /// not QMP.
  Result<nlohmann::json> execute(const std::string& command, const nlohmann::json& arguments,
                                 std::chrono::milliseconds timeout = std::chrono::seconds(60));
  Result<nlohmann::json> execute(const std::string& command);

  /// The human monitor's answer to a command line.
  Result<std::string> human(const std::string& command_line);

  /// Hands a descriptor over under `name`, for commands that take "fd:name".
  Result<void> pass_descriptor(const std::string& name, int fd);

  /// The process on the other end of the socket, as the kernel knows it.
  Result<int> peer_pid() const;

 private:
  explicit QmpClient(FileDescriptor socket) : socket_(std::move(socket)) {}
  Result<void> send(const std::string& line, int fd);
  Result<nlohmann::json> receive(std::chrono::steady_clock::time_point deadline);
  Result<nlohmann::json> transact(const nlohmann::json& request, int fd,
                                  std::chrono::milliseconds timeout);

  FileDescriptor socket_;
  std::string buffer_;
  std::uint64_t next_id_ = 1;
};

}  // namespace hvd
