#include "capture/qemu/qmp.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <nlohmann/json.hpp>

#include "base/json.h"
#include "base/text.h"

namespace hvd {
namespace {

using nlohmann::json;
using Clock = std::chrono::steady_clock;

constexpr std::size_t kMaxReply = 16u << 20;
constexpr int kMaxUnrelated = 10000;  // events before a reply

std::string text_member(const json& object, const char* key) {
  const auto at = object.find(key);
  return at != object.end() && at->is_string() ? at->get<std::string>() : std::string();
}

}  // namespace

Result<QmpClient> QmpClient::connect(const std::string& socket_path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (socket_path.size() >= sizeof address.sun_path) {
    return Error{ErrorCode::kInvalidArgument,
                 "the socket path " + socket_path + " is too long for a Unix socket"};
  }
  socket_path.copy(address.sun_path, socket_path.size());
  FileDescriptor socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket) return errno_error("cannot make a socket");
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return errno_error("cannot connect to QMP socket " + socket_path);
  }
  QmpClient client(std::move(socket));
  const auto greeting = client.receive(Clock::now() + std::chrono::seconds(10));
  if (!greeting) {
    return Error{greeting.error()}.in("QMP socket " + socket_path +
                                      " (is another client connected?)");
  }
  if (!greeting->contains("QMP")) return Error{ErrorCode::kIo, socket_path + " does not speak QMP"};
  HVD_TRY(with_context(client.execute("qmp_capabilities"), "QMP negotiation on " + socket_path));
  return client;
}

Result<void> QmpClient::send(const std::string& line, int fd) {
  std::size_t sent = 0;
  while (sent < line.size()) {
    iovec part{const_cast<char*>(line.data()) + sent, line.size() - sent};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof fd)] = {};
    if (fd >= 0 && sent == 0) {
      message.msg_control = control;
      message.msg_controllen = sizeof control;
      cmsghdr* header = CMSG_FIRSTHDR(&message);
      header->cmsg_level = SOL_SOCKET;
      header->cmsg_type = SCM_RIGHTS;
      header->cmsg_len = CMSG_LEN(sizeof fd);
      std::memcpy(CMSG_DATA(header), &fd, sizeof fd);
    }
    const ssize_t put = ::sendmsg(socket_.get(), &message, MSG_NOSIGNAL);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return errno_error("cannot write to the QMP socket");
    sent += static_cast<std::size_t>(put);
  }
  return {};
}

Result<json> QmpClient::receive(Clock::time_point deadline) {
  std::size_t searched = 0;
  while (true) {
    const std::size_t end = buffer_.find('\n', searched);
    if (end != std::string::npos) {
      json message = parse_json_object(as_bytes(buffer_).first(end));
      buffer_.erase(0, end + 1);
      if (!message.is_object())
        return Error{ErrorCode::kIo, "the QMP peer sent something that is no JSON object"};
      return message;
    }
    searched = buffer_.size();
    if (buffer_.size() > kMaxReply)
      return Error{ErrorCode::kIo, "the QMP peer sent a reply without end"};
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
    if (left <= 0) return Error{ErrorCode::kIo, "the QMP peer does not answer"};
    pollfd wait{socket_.get(), POLLIN, 0};
    const int ready = ::poll(&wait, 1, static_cast<int>(std::min<long long>(left, 1000)));
    if (ready < 0 && errno != EINTR) return errno_error("cannot wait for the QMP peer");
    if (ready <= 0) continue;
    char bytes[65536];
    const ssize_t got = ::recv(socket_.get(), bytes, sizeof bytes, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return errno_error("cannot read from the QMP socket");
    if (got == 0) return Error{ErrorCode::kIo, "the QMP peer hung up"};
    buffer_.append(bytes, static_cast<std::size_t>(got));
  }
}

Result<json> QmpClient::transact(const json& request, int fd, std::chrono::milliseconds timeout) {
  json tagged = request;
  const std::uint64_t id = next_id_++;
  tagged["id"] = id;
  HVD_TRY(send(to_text(tagged) + "\r\n", fd));
  const Clock::time_point deadline = Clock::now() + timeout;
  const std::string command = text_member(request, "execute");
  for (int i = 0; i < kMaxUnrelated; ++i) {
    json reply = HVD_TRY(with_context(receive(deadline), command));
    if (reply.contains("event") || reply.value("id", json()) != json(id)) continue;
    if (const auto error = reply.find("error"); error != reply.end() && error->is_object()) {
      const bool unknown = text_member(*error, "class") == "CommandNotFound";
      return Error{unknown ? ErrorCode::kNotFound : ErrorCode::kIo,
                   "QMP command " + command + " failed: " + printable(text_member(*error, "desc"))};
    }
    if (!reply.contains("return"))
      return Error{ErrorCode::kIo, command + ": the QMP peer sent a reply without a result"};
    return std::move(reply["return"]);
  }
  return Error{ErrorCode::kIo, command + ": the QMP peer sends events but no reply"};
}

Result<json> QmpClient::execute(const std::string& command, const json& arguments,
                                std::chrono::milliseconds timeout) {
  return transact({{"execute", command}, {"arguments", arguments}}, -1, timeout);
}

Result<json> QmpClient::execute(const std::string& command) {
  return execute(command, json::object());
}

Result<std::string> QmpClient::human(const std::string& command_line) {
  const json reply = HVD_TRY(execute("human-monitor-command", {{"command-line", command_line}}));
  if (!reply.is_string())
    return Error{ErrorCode::kIo, command_line + ": the QMP peer's answer is not text"};
  return reply.get<std::string>();
}

Result<void> QmpClient::pass_descriptor(const std::string& name, int fd) {
  HVD_TRY(transact({{"execute", "getfd"}, {"arguments", {{"fdname", name}}}}, fd,
                   std::chrono::seconds(10)));
  return {};
}

Result<int> QmpClient::peer_pid() const {
  ucred peer{};
  socklen_t size = sizeof peer;
  if (::getsockopt(socket_.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) {
    return errno_error("cannot tell which process serves the QMP socket");
  }
  return static_cast<int>(peer.pid);
}

}  // namespace hvd
