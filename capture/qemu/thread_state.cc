#include "capture/qemu/thread_state.h"

#include <dirent.h>
#include <elf.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <memory>
#include <set>

#include "base/text.h"

namespace hvd {
namespace {

constexpr std::uint64_t kMaxStack = 1u << 20;
constexpr int kMaxThreads = 65536;
constexpr int kMaxLibraries = 1024;
constexpr std::size_t kMaxLibraryName = 4096;

// Attached while alive. PTRACE_SEIZE leaves no stop behind when we die in the middle.
class SeizedThread {
 public:
  static Result<std::unique_ptr<SeizedThread>> seize(int tid) {
    if (::ptrace(PTRACE_SEIZE, tid, nullptr, nullptr) != 0) {
      return errno_error("cannot look at thread " + std::to_string(tid));
    }
    std::unique_ptr<SeizedThread> thread(new SeizedThread(tid));
    if (::ptrace(PTRACE_INTERRUPT, tid, nullptr, nullptr) != 0) {
      return errno_error("cannot stop thread " + std::to_string(tid));
    }
    int status = 0;
    while (::waitpid(tid, &status, __WALL) < 0) {
      if (errno != EINTR) return errno_error("cannot wait for thread " + std::to_string(tid));
    }
    if (!WIFSTOPPED(status))
      return Error{ErrorCode::kNotFound, "thread " + std::to_string(tid) + " ended"};
    // A signal that arrived together with our stop is its, not ours.
    if ((status >> 16) != PTRACE_EVENT_STOP) thread->pending_signal_ = WSTOPSIG(status);
    return thread;
  }
  ~SeizedThread() {
    ::ptrace(PTRACE_DETACH, tid_, nullptr,
             reinterpret_cast<void*>(static_cast<long>(pending_signal_)));
  }

  Result<user_regs_struct> registers() const {
    user_regs_struct regs{};
    iovec part{&regs, sizeof regs};
    if (::ptrace(PTRACE_GETREGSET, tid_, NT_PRSTATUS, &part) != 0) {
      return errno_error("cannot read the registers of thread " + std::to_string(tid_));
    }
    return regs;
  }

 private:
  explicit SeizedThread(int tid) : tid_(tid) {}
  const int tid_;
  int pending_signal_ = 0;
};

// Which values may leave the process: addresses of its code and of its stacks.
class Filter {
 public:
  explicit Filter(const std::vector<Mapping>& mappings) {
    for (const Mapping& mapping : mappings) {
      if (mapping.executable && mapping.inode != 0) code_.push_back(mapping);
    }
  }
  void add_stack(std::uint64_t begin, std::uint64_t end) { stacks_.emplace_back(begin, end); }
  bool allows(std::uint64_t value) const {
    for (const Mapping& mapping : code_) {
      if (mapping.contains(value)) return true;
    }
    for (const auto& [begin, end] : stacks_) {
      if (value - begin < end - begin) return true;
    }
    return false;
  }

 private:
  std::vector<Mapping> code_;
  std::vector<std::pair<std::uint64_t, std::uint64_t>> stacks_;
};

void filter_words(MutableBytes bytes, const Filter& filter) {
  for (std::size_t at = 0; at < bytes.size(); at += 8) {
    std::uint64_t word = 0;
    const std::size_t size = std::min<std::size_t>(8, bytes.size() - at);
    std::memcpy(&word, bytes.data() + at, size);
    if (size < 8 || !filter.allows(word)) std::memset(bytes.data() + at, 0, size);
  }
}

std::vector<int> thread_ids(int pid) {
  std::vector<int> ids;
  const std::string folder = "/proc/" + std::to_string(pid) + "/task";
  const std::unique_ptr<DIR, int (*)(DIR*)> listing(::opendir(folder.c_str()), ::closedir);
  while (listing && static_cast<int>(ids.size()) < kMaxThreads) {
    const dirent* entry = ::readdir(listing.get());
    if (!entry) break;
    if (const int tid = std::atoi(entry->d_name); tid > 0) ids.push_back(tid);
  }
  std::sort(ids.begin(), ids.end());
  return ids;
}

Registers to_registers(int tid, const user_regs_struct& in) {
  std::array<std::uint64_t, kUserOrder.size()> words{};
  static_assert(sizeof in == sizeof words);
  std::memcpy(words.data(), &in, sizeof in);
  Registers out;
  out.id = static_cast<std::uint32_t>(tid);
  for (std::size_t i = 0; i < kUserOrder.size(); ++i) out.set(kUserOrder[i], words[i]);
  // Zero in any 64-bit process but for a gs base of its own, which nobody asks for.
  for (const Reg reg : {Reg::kGsBase, Reg::kDs, Reg::kEs, Reg::kFs, Reg::kGs}) out.forget(reg);
  return out;
}

void filter_registers(Registers& registers, const Filter& filter) {
  for (const Reg reg : kInstructionOrder) {
    if (reg == Reg::kRsp) continue;  // where the stack begins that is kept
    if (!filter.allows(registers[reg])) registers.forget(reg);
  }
}

template <typename T>
std::optional<T> read_at(int pid, std::uint64_t address) {
  T out{};
  if (!read_process(pid, address, std::as_writable_bytes(std::span(&out, 1)))) return std::nullopt;
  return out;
}

// The dynamic linker's list of libraries (System V gABI, "Dynamic Section"; <link.h>): r_debug
// through the program's DT_DEBUG, then each link_map's first five words and its name. Without it a
// debugger cannot place the libraries.
class LinkMapReader {
 public:
  LinkMapReader(int pid, const Bytes& auxv, ProcessPieces& out)
      : pid_(pid), auxv_(auxv), out_(out) {}

  void collect() {
    const std::uint64_t phdr = auxv(AT_PHDR), count = auxv(AT_PHNUM);
    if (!phdr || !count || count > 64) return;
    std::uint64_t base = 0, dynamic = 0, dynamic_size = 0;
    for (std::uint64_t i = 0; i < count; ++i) {
      const auto header = read_at<Elf64_Phdr>(pid_, phdr + i * sizeof(Elf64_Phdr));
      if (!header) return;
      if (header->p_type == PT_PHDR) base = phdr - header->p_vaddr;
      if (header->p_type == PT_DYNAMIC) dynamic = header->p_vaddr, dynamic_size = header->p_memsz;
    }
    if (!dynamic || dynamic_size > 65536) return;
    dynamic += base;
    keep(dynamic, dynamic_size);
    for (std::uint64_t at = 0; at < dynamic_size; at += sizeof(Elf64_Dyn)) {
      const auto entry = read_at<Elf64_Dyn>(pid_, dynamic + at);
      if (!entry || entry->d_tag == DT_NULL) return;
      if (entry->d_tag == DT_DEBUG) return walk(entry->d_un.d_ptr);
    }
  }

 private:
  void walk(std::uint64_t debug) {
    keep(debug, 40);  // struct r_debug
    std::uint64_t map = read_at<std::uint64_t>(pid_, debug + 8).value_or(0);
    std::set<std::uint64_t> seen;
    while (map && seen.insert(map).second && seen.size() < kMaxLibraries) {
      keep(map, 40);  // l_addr, l_name, l_ld, l_next, l_prev
      const std::uint64_t name = read_at<std::uint64_t>(pid_, map + 8).value_or(0);
      keep_string(name);
      map = read_at<std::uint64_t>(pid_, map + 24).value_or(0);
    }
  }

  std::uint64_t auxv(std::uint64_t type) const {
    for (std::size_t at = 0; at + 16 <= auxv_.size(); at += 16) {
      std::uint64_t entry[2];
      std::memcpy(entry, auxv_.data() + at, sizeof entry);
      if (entry[0] == type) return entry[1];
    }
    return 0;
  }

  void keep(std::uint64_t address, std::uint64_t size) {
    Bytes bytes(size);
    if (read_process(pid_, address, bytes)) out_.pieces.emplace(address, std::move(bytes));
  }

  void keep_string(std::uint64_t address) {
    Bytes bytes;
    while (bytes.size() < kMaxLibraryName) {
      const auto c = read_at<char>(pid_, address + bytes.size());
      if (!c) return;
      bytes.push_back(static_cast<std::byte>(*c));
      if (*c == '\0') break;
    }
    out_.pieces.emplace(address, std::move(bytes));
  }

  const int pid_;
  const Bytes& auxv_;
  ProcessPieces& out_;
};

}  // namespace

Result<ProcessState> read_process_state(int pid, Values values) {
  ProcessState state;
  state.mappings = HVD_TRY(read_mappings(pid));
  const std::string auxv = HVD_TRY(read_proc_file(pid, "auxv", 65536));
  state.auxv.assign(as_bytes(auxv).begin(), as_bytes(auxv).end());
  Filter filter(state.mappings);
  std::vector<std::pair<std::uint64_t, Bytes>> stacks;
  for (int tid : thread_ids(pid)) {
    auto thread = SeizedThread::seize(tid);
    if (!thread) {
      state.problems.push_back(thread.error().message);
      continue;
    }
    const auto regs = (*thread)->registers();
    if (!regs) {
      state.problems.push_back(regs.error().message);
      continue;
    }
    ThreadState out;
    out.tid = tid;
    out.registers = to_registers(tid, *regs);
    const auto name = read_proc_file(pid, "task/" + std::to_string(tid) + "/comm", 256);
    out.name = name ? printable(std::string_view(*name).substr(0, name->find('\n'))) : "?";
    for (const Mapping& mapping : state.mappings) {
      if (!mapping.contains(regs->rsp)) continue;
      // Thread stacks of one process may lie in one mapping, each behind a guard page; the size
      // limit is for those without.
      Bytes bytes(std::min<std::uint64_t>(mapping.end - regs->rsp, kMaxStack));
      const std::uint64_t begin = regs->rsp;
      if (auto done = read_process(pid, begin, bytes); !done) {
        state.problems.push_back(done.error().message);
        break;
      }
      filter.add_stack(begin, begin + bytes.size());
      stacks.emplace_back(begin, std::move(bytes));
      break;
    }
    state.threads.push_back(std::move(out));
  }
  if (state.threads.empty()) {
    return Error{ErrorCode::kIo, "no thread of process " + std::to_string(pid) +
                                     " can be looked at" +
                                     (state.problems.empty() ? "" : ": " + state.problems.front())};
  }
  for (auto& [begin, bytes] : stacks) {
    if (values == Values::kPointersOnly) filter_words(bytes, filter);
    state.memory.pieces.emplace(begin, std::move(bytes));
  }
  for (ThreadState& thread : state.threads) {
    if (values == Values::kPointersOnly) filter_registers(thread.registers, filter);
  }
  LinkMapReader(pid, state.auxv, state.memory).collect();
  return state;
}

}  // namespace hvd
