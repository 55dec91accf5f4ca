// A QMP peer for tests: a Unix socket and a thread that answers as told, or does not.
#pragma once

#include <sys/socket.h>
#include <sys/un.h>

#include <atomic>
#include <cstring>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>

#include "base/file_descriptor.h"
#include "tests/support/temporary_folder.h"

namespace hvd {

class FakeQmpPeer {
 public:
  /// What one connection of the peer can do.
  class Connection {
   public:
    explicit Connection(int fd) : fd_(fd) {}
    /// False once the other side is gone.
    bool send(const std::string& text) {
      std::size_t sent = 0;
      while (sent < text.size()) {
        const ssize_t put = ::send(fd_, text.data() + sent, text.size() - sent, MSG_NOSIGNAL);
        if (put <= 0) return false;
        sent += static_cast<std::size_t>(put);
      }
      return true;
    }
    /// The next request, a discarded value when the other side is gone.
    nlohmann::json receive() {
      while (buffer_.find('\n') == std::string::npos) {
        char bytes[4096];
        const ssize_t got = ::recv(fd_, bytes, sizeof bytes, 0);
        if (got <= 0) return nlohmann::json(nlohmann::json::value_t::discarded);
        buffer_.append(bytes, static_cast<std::size_t>(got));
      }
      const std::size_t end = buffer_.find('\n');
      auto request = nlohmann::json::parse(buffer_.substr(0, end), nullptr, false);
      buffer_.erase(0, end + 1);
      return request;
    }
    void reply(const nlohmann::json& request, const nlohmann::json& result) {
      send(nlohmann::json{{"return", result}, {"id", request["id"]}}.dump() + "\r\n");
    }
    /// Greets and negotiates as QEMU does.
    void greet() {
      send(
          R"({"QMP": {"version": {"qemu": {"micro": 0, "minor": 2, "major": 7}, "package": ""}, "capabilities": ["oob"]}})"
          "\r\n");
      const auto request = receive();
      if (!request.is_discarded()) reply(request, nlohmann::json::object());
    }

   private:
    const int fd_;
    std::string buffer_;
  };

  /// Serves one connection with `script`, then hangs up.
  explicit FakeQmpPeer(std::function<void(Connection&)> script) : path_(folder_.path("qmp")) {
    listener_ = FileDescriptor(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path_.copy(address.sun_path, sizeof address.sun_path - 1);
    EXPECT_EQ(::bind(listener_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address),
              0);
    EXPECT_EQ(::listen(listener_.get(), 1), 0);
    thread_ = std::thread([this, script = std::move(script)] {
      const FileDescriptor peer(::accept(listener_.get(), nullptr, nullptr));
      Connection connection(peer.get());
      if (peer) script(connection);
    });
  }
  ~FakeQmpPeer() {
    ::shutdown(listener_.get(), SHUT_RDWR);
    thread_.join();
  }
  const std::string& path() const { return path_; }

 private:
  TemporaryFolder folder_;
  std::string path_;
  FileDescriptor listener_;
  std::thread thread_;
};

}  // namespace hvd
