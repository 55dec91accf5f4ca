#include "capture/socket.h"

#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <cstring>
#include <thread>

#include "base/endian.h"

namespace hvd {
namespace {

constexpr std::size_t kBuffer = 256u << 10;
constexpr int kPollMs = 500;  // how soon an interrupt is noticed
constexpr std::chrono::seconds kLastWord{30};

struct FreeAddresses {
  void operator()(addrinfo* list) const { ::freeaddrinfo(list); }
};
using Addresses = std::unique_ptr<addrinfo, FreeAddresses>;

Result<Addresses> resolve(const HostPort& at, bool listen) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = listen ? AI_PASSIVE : 0;
  addrinfo* list = nullptr;
  const int failed = ::getaddrinfo(at.host.c_str(), at.port.c_str(), &hints, &list);
  if (failed)
    return Error{ErrorCode::kIo,
                 "no address for " + at.host + ":" + at.port + ": " + ::gai_strerror(failed)};
  return Addresses(list);
}

// Connects or binds; the last error when no address will do.
Result<FileDescriptor> open_socket(const HostPort& at, bool listen) {
  const Addresses addresses = HVD_TRY(resolve(at, listen));
  Error last{ErrorCode::kIo, "no address for " + at.host};
  for (const addrinfo* address = addresses.get(); address; address = address->ai_next) {
    FileDescriptor fd(
        ::socket(address->ai_family, address->ai_socktype | SOCK_CLOEXEC, address->ai_protocol));
    if (!fd) continue;
    const int yes = 1;
    if (listen) (void)::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    const int failed = listen ? ::bind(fd.get(), address->ai_addr, address->ai_addrlen)
                              : ::connect(fd.get(), address->ai_addr, address->ai_addrlen);
    if (failed == 0 && (!listen || ::listen(fd.get(), 1) == 0)) return fd;
    if (failed && errno == EINTR) return Error{ErrorCode::kInterrupted, "interrupted"};
    last = errno_error((listen ? "cannot listen on " : "cannot connect to ") + at.host + ":" +
                       at.port);
  }
  return last;
}

Result<void> wait_for(int fd, short event, const Stop& stop) {
  for (;;) {
    if (stop()) return Error{ErrorCode::kInterrupted, "interrupted"};
    pollfd wanted{fd, event, 0};
    const int ready = ::poll(&wanted, 1, kPollMs);
    if (ready > 0) return {};
    if (ready < 0 && errno != EINTR) return errno_error("cannot wait for the network");
  }
}

Result<void> send_all(int fd, ByteView bytes, const std::string& name, const Stop& stop) {
  while (!bytes.empty()) {
    HVD_TRY(wait_for(fd, POLLOUT, stop));
    const ssize_t put = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (put < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (put < 0) return errno_error("cannot send to " + name);
    bytes = bytes.subspan(static_cast<std::size_t>(put));
  }
  return {};
}

// Who was told to stop before still has an end to write, and a receiver's word to hear: that gets a
// bounded time.
Stop patient(const Stop& stop) {
  if (!stop()) return stop;
  const auto end = std::chrono::steady_clock::now() + kLastWord;
  return [end] { return std::chrono::steady_clock::now() >= end; };
}

std::string port_of(int fd) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  char port[NI_MAXSERV] = "?";
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) == 0) {
    (void)::getnameinfo(reinterpret_cast<sockaddr*>(&address), size, nullptr, 0, port, sizeof port,
                        NI_NUMERICSERV);
  }
  return port;
}

}  // namespace

Result<HostPort> HostPort::parse(const std::string& text) {
  const std::size_t colon = text.rfind(':');
  HostPort out;
  if (colon != std::string::npos) {
    out.host = text.substr(0, colon);
    out.port = text.substr(colon + 1);
  }
  if (out.host.starts_with('[') && out.host.ends_with(']'))
    out.host = out.host.substr(1, out.host.size() - 2);
  else if (out.host.find(':') != std::string::npos) out.host.clear();
  const bool digits =
      !out.port.empty() && out.port.find_first_not_of("0123456789") == std::string::npos;
  if (out.host.empty() || !digits)
    return Error{ErrorCode::kInvalidArgument, text + ": expected HOST:PORT or [IPV6]:PORT"};
  return out;
}

Result<std::unique_ptr<SocketSink>> SocketSink::connect(const HostPort& to,
                                                        std::chrono::seconds patience, Stop stop) {
  const auto give_up = std::chrono::steady_clock::now() + patience;
  for (;;) {
    auto fd = open_socket(to, false);
    if (!fd && fd.error().code == ErrorCode::kInterrupted) return fd.error();
    if (fd)
      return std::unique_ptr<SocketSink>(
          new SocketSink(std::move(*fd), "tcp://" + to.host + ":" + to.port, std::move(stop)));
    // A signal ends the wait for an answer, and comes between two attempts.
    const auto next = std::chrono::steady_clock::now() + std::chrono::seconds(1);
    do {
      if (stop()) return Error{ErrorCode::kInterrupted, "interrupted"};
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    } while (std::chrono::steady_clock::now() < next);
    if (next >= give_up) return fd.error();
  }
}

Result<void> SocketSink::append(ByteView bytes) {
  HVD_TRY(send_all(fd_.get(), bytes, name_, patient(stop_)));
  sent_ += bytes.size();
  return {};
}

Result<void> SocketSink::sync() {
  if (::shutdown(fd_.get(), SHUT_WR) != 0) return errno_error("cannot end the stream to " + name_);
  const Stop stop = patient(stop_);
  le64 stored{};
  MutableBytes room = std::as_writable_bytes(std::span(&stored, 1));
  while (!room.empty()) {
    HVD_TRY(wait_for(fd_.get(), POLLIN, stop));
    const ssize_t got = ::recv(fd_.get(), room.data(), room.size(), 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return Error{ErrorCode::kIo, name_ + " did not say that it has stored the dump"};
    room = room.subspan(static_cast<std::size_t>(got));
  }
  if (stored != sent_) {
    return Error{ErrorCode::kIo, name_ + " has stored " + std::to_string(std::uint64_t{stored}) +
                                     " of " + std::to_string(sent_) + " bytes"};
  }
  return {};
}

Result<std::uint64_t> receive_stream(const HostPort& at, ByteSink& sink,
                                     const std::function<void(const std::string&)>& listening,
                                     const Stop& stop) {
  const FileDescriptor listener = HVD_TRY(open_socket(at, true));
  listening(port_of(listener.get()));
  HVD_TRY(wait_for(listener.get(), POLLIN, stop));
  const FileDescriptor fd(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  if (!fd) return errno_error("cannot take a connection");
  Bytes buffer(kBuffer);
  std::uint64_t received = 0;
  for (;;) {
    HVD_TRY(wait_for(fd.get(), POLLIN, stop));
    const ssize_t got = ::recv(fd.get(), buffer.data(), buffer.size(), 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0)
      return errno_error("the connection broke after " + std::to_string(received) + " bytes");
    if (got == 0) break;
    HVD_TRY(sink.append(ByteView(buffer).first(static_cast<std::size_t>(got))));
    received += static_cast<std::uint64_t>(got);
  }
  HVD_TRY(sink.sync());
  const le64 stored{received};
  HVD_TRY(send_all(fd.get(), bytes_of(stored), "the sender", patient(stop)));
  return received;
}

}  // namespace hvd
