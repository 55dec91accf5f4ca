#include "guest/debuginfo/own_process.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>

#include "base/endian.h"

namespace hvd {
namespace {

constexpr std::uint32_t kLargestMessage = 256u << 20;  // a large PDB has 20 MiB of names
constexpr unsigned kMostSeconds = 60;

bool send_all(int socket, ByteView bytes) {
  while (!bytes.empty()) {
    const ssize_t done = ::send(socket, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) return false;
    bytes = bytes.subspan(static_cast<std::size_t>(done));
  }
  return true;
}

bool receive_all(int socket, MutableBytes bytes) {
  while (!bytes.empty()) {
    const ssize_t done = ::recv(socket, bytes.data(), bytes.size(), 0);
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) return false;
    bytes = bytes.subspan(static_cast<std::size_t>(done));
  }
  return true;
}

bool send_message(int socket, ByteView bytes) {
  if (bytes.size() > kLargestMessage) return false;
  const le32 size = static_cast<std::uint32_t>(bytes.size());
  return send_all(socket, bytes_of(size)) && send_all(socket, bytes);
}

// Grows with what has arrived: the size is only a claim.
bool receive_message(int socket, Bytes& out) {
  constexpr std::size_t kStep = 1u << 20;
  le32 size = 0;
  if (!receive_all(socket, MutableBytes(reinterpret_cast<std::byte*>(&size), sizeof size)))
    return false;
  if (size > kLargestMessage) return false;
  while (out.size() < size) {
    const std::size_t at = out.size();
    out.resize(std::min<std::size_t>(size, at + kStep));
    if (!receive_all(socket, MutableBytes(out).subspan(at))) return false;
  }
  return true;
}

[[noreturn]] void serve(int socket, const OwnProcess::Answer& answer) {
  const rlimit none{0, 0};
  ::setrlimit(RLIMIT_CORE, &none);
  // LLVM says what it thinks of a file, in the file's words, to whom it may concern, and ends the
  // program where it finds no other way out.
  const int nowhere = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  for (const int output : {STDOUT_FILENO, STDERR_FILENO}) (void)::dup2(nowhere, output);
  (void)std::atexit([] { ::_exit(1); });
  // Dying of the file is expected here; nobody's handler is to report it.
  for (const int signal : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGALRM})
    ::signal(signal, SIG_DFL);
  for (;;) {
    Bytes question;
    if (!receive_message(socket, question)) ::_exit(0);  // nobody asks any more
    ::alarm(kMostSeconds);
    const Bytes said = answer(question);
    ::alarm(0);
    if (!send_message(socket, said)) ::_exit(1);
  }
}

}  // namespace

Result<std::unique_ptr<OwnProcess>> OwnProcess::start(std::string what, const Answer& answer) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
    return Error{ErrorCode::kIo, std::string("cannot make a socket: ") + std::strerror(errno)};
  FileDescriptor ours(ends[0]);
  const FileDescriptor theirs(ends[1]);
  const pid_t child = ::fork();
  if (child < 0)
    return Error{ErrorCode::kIo, std::string("cannot start a process: ") + std::strerror(errno)};
  if (child == 0) {
    ours.reset();
    serve(theirs.get(), answer);
  }
  return std::unique_ptr<OwnProcess>(new OwnProcess(std::move(what), std::move(ours), child));
}

OwnProcess::~OwnProcess() {
  // Closing the socket need not be enough: a process that was started later has it as well.
  ::kill(child_, SIGKILL);
  while (::waitpid(child_, nullptr, 0) < 0 && errno == EINTR) continue;
}

Result<Bytes> OwnProcess::ask(ByteView question) {
  Bytes out;
  if (socket_ && send_message(socket_.get(), question) && receive_message(socket_.get(), out))
    return out;
  socket_.reset();
  return Error{ErrorCode::kCorrupt, what_ + " is damaged: LLVM does not survive it"};
}

Result<Bytes> ask_own_process(std::string what, const std::function<Bytes()>& answer) {
  const auto process =
      HVD_TRY(OwnProcess::start(std::move(what), [&](ByteView) { return answer(); }));
  return process->ask({});
}

}  // namespace hvd
