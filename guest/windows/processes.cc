#include "guest/windows/processes.h"

#include <algorithm>
#include <cstring>
#include <set>

#include "base/text.h"

namespace hvd::windows {
namespace {

constexpr std::size_t kMaxProcesses = 65536, kMaxThreads = 262144;
constexpr std::uint64_t kSystemId = 4;
constexpr std::size_t kNameBytes = 15;
constexpr unsigned char kProcessObject = 3, kThreadObject = 6;  // DISPATCHER_HEADER.Type

// Byte offsets.
struct Layout {
  std::uint64_t links = 0, id = 0, name = 0, parent = 0, threads = 0;  // of EPROCESS
  std::uint64_t thread_links = 0, client = 0;                          // of ETHREAD
  bool has_threads = false;
};

template <typename Found>
Result<void> walk_list(const AddressSpace& space, VirtAddr head, std::size_t limit, Found found) {
  std::set<std::uint64_t> seen;
  VirtAddr entry{HVD_TRY(space.read_u64(head))};
  while (entry != head) {
    if (!is_kernel_address(entry.value) || !seen.insert(entry.value).second || seen.size() > limit)
      return Error{ErrorCode::kCorrupt, "the list at " + hex(head.value) + " does not end"};
    if (!found(entry)) return {};
    entry = VirtAddr{HVD_TRY(space.read_u64(entry))};
  }
  return {};
}

class Reader {
 public:
  explicit Reader(const Kernel& kernel)
      : kernel_(kernel), space_(kernel.space()), data_(kernel.debugger_data()->data) {}

  Result<void> read(std::vector<Process>& out, std::vector<std::string>& problems) {
    HVD_TRY(find_process_layout());
    find_thread_layout();
    if (!layout_.has_threads)
      problems.emplace_back("where a process keeps its threads was not found: none are listed");
    const auto done =
        walk_list(space_, kernel_.active_processes(), kMaxProcesses, [&](VirtAddr entry) {
          out.push_back(process(entry - layout_.links));
          return true;
        });
    if (!done) problems.push_back("the list of processes ends early: " + done.error().message);
    return {};
  }

 private:
  Result<std::uint64_t> member(const char* type, const char* name) const {
    if (!kernel_.symbols()) return Error{ErrorCode::kNotFound, "no symbols"};
    const std::uint32_t at = HVD_TRY(kernel_.symbols()->member(type, name));
    return std::uint64_t{at};
  }

  // The first process of the list is System, whose thread started all others.
  Result<void> find_process_layout() {
    layout_.parent = data_.process_parent();
    const auto links = member("_EPROCESS", "ActiveProcessLinks");
    const auto id = member("_EPROCESS", "UniqueProcessId");
    const auto name = member("_EPROCESS", "ImageFileName");
    if (links && id && name) {
      layout_.links = *links, layout_.id = *id, layout_.name = *name;
      return {};
    }
    const VirtAddr first{HVD_TRY(space_.read_u64(kernel_.active_processes()))};
    const std::uint64_t size = data_.process_size() != 0 ? data_.process_size() : 0x1000;
    const std::uint64_t number = HVD_TRY(space_.read_u64(first - 8));
    if (number != kSystemId)
      return Error{ErrorCode::kCorrupt,
                   "the first process is not System: its id is " + std::to_string(number)};
    // Its beginning: an object of the dispatcher with page tables.
    for (std::uint64_t back = 0x40; back < size; back += 8) {
      const auto head = space_.read_u64(first - back);
      const auto tables = space_.read_u64(first - back + data_.process_page_table());
      if (!head || !tables || (*head & 0xff) != kProcessObject || !is_page_table(*tables)) continue;
      const auto at = name_within(first - back, size);
      if (!at) continue;
      layout_.links = back, layout_.id = back - 8, layout_.name = *at;
      return {};
    }
    return Error{ErrorCode::kNotFound, "what a process looks like was not found"};
  }

  bool is_page_table(std::uint64_t value) const {
    // Every process maps the shared data; the low bits may hold an address space's number.
    return (value & kFrameMask) != 0 &&
           maps_shared_data(
               *open_space(*kernel_.image().memory, PhysAddr{value}, *kernel_.paging()));
  }

  std::optional<std::uint64_t> name_within(VirtAddr process, std::uint64_t size) const {
    constexpr char kName[8] = "System";
    const Bytes bytes = space_.read_up_to(process, static_cast<std::size_t>(size));
    const auto begin = reinterpret_cast<const char*>(bytes.data());
    const auto at = std::search(begin, begin + bytes.size(), kName, kName + sizeof kName);
    if (at == begin + bytes.size()) return std::nullopt;
    return static_cast<std::uint64_t>(at - begin);
  }

  // A running thread says where threads are linked: its process's list leads into it.
  void find_thread_layout() {
    const auto threads = member("_KPROCESS", "ThreadListHead");
    const auto links = member("_KTHREAD", "ThreadListEntry");
    const auto client = member("_ETHREAD", "Cid");
    if (threads && links && client) {
      layout_.threads = *threads, layout_.thread_links = *links, layout_.client = *client;
      layout_.has_threads = true;
      return;
    }
    // KPROCESS: the list's head follows the page tables.
    layout_.threads = data_.process_page_table() + std::uint64_t{8};
    const std::uint64_t size = data_.thread_size() != 0 ? data_.thread_size() : 0x1000;
    for (const Cpu& cpu : kernel_.cpus()) {
      if (cpu.thread.value == 0) continue;
      const auto process = space_.read_u64(cpu.thread + data_.thread_process());
      if (!process || !is_kernel_address(*process)) continue;
      const VirtAddr head = VirtAddr{*process} + layout_.threads;
      (void)walk_list(space_, head, kMaxThreads, [&](VirtAddr entry) {
        const std::uint64_t within = entry - cpu.thread;
        if (within >= size) return true;
        layout_.thread_links = within;
        layout_.has_threads = true;
        return false;
      }).has_value();
      if (layout_.has_threads && find_client(cpu.thread, VirtAddr{*process}, size)) return;
      layout_.has_threads = false;
    }
  }

  // CLIENT_ID: the process's id and the thread's.
  bool find_client(VirtAddr thread, VirtAddr process, std::uint64_t size) {
    const auto id = space_.read_u64(process + layout_.id);
    if (!id) return false;
    const Bytes bytes = space_.read_up_to(thread, static_cast<std::size_t>(size));
    const auto word = [&](std::size_t at) {
      le64 value;
      std::memcpy(&value, bytes.data() + at, sizeof value);
      return std::uint64_t{value};
    };
    for (std::size_t at = 0; at + 16 <= bytes.size(); at += 8) {
      const std::uint64_t own = word(at + 8);
      const bool is_id = own % 4 == 0 && own < (std::uint64_t{1} << 32);
      // The idle process has the id 0, of which there is too much in a thread.
      if (word(at) != *id || *id == 0 || !is_id || own == 0) continue;
      layout_.client = at;
      return true;
    }
    return false;
  }

  Process process(VirtAddr at) const {
    Process out;
    out.at = at;
    out.id = space_.read_u64(at + layout_.id).value_or(std::uint64_t{0});
    if (layout_.parent != 0)
      out.parent = space_.read_u64(at + layout_.parent).value_or(std::uint64_t{0});
    out.name = space_.read_string(at + layout_.name, kNameBytes).value_or(std::string());
    if (!layout_.has_threads) return out;
    (void)walk_list(space_, at + layout_.threads, kMaxThreads, [&](VirtAddr entry) {
      const VirtAddr thread_at = entry - layout_.thread_links;
      const auto head = space_.read_u64(thread_at);
      if (!head || (*head & 0x7f) != kThreadObject) return true;
      out.threads.push_back(thread(thread_at));
      return true;
    }).has_value();
    return out;
  }

  Thread thread(VirtAddr at) const {
    Thread out;
    out.at = at;
    out.id = space_.read_u64(at + layout_.client + 8).value_or(std::uint64_t{0});
    if (data_.thread_state() != 0) {
      const auto state = space_.read<le16>(at + data_.thread_state());
      if (state) out.state = static_cast<std::uint8_t>(*state & 0xff);
    }
    if (const auto stack = space_.read_u64(at + data_.thread_kernel_stack()))
      out.kernel_stack = VirtAddr{*stack};
    for (const Cpu& cpu : kernel_.cpus())
      if (cpu.thread == at) out.cpu = cpu.id;
    return out;
  }

  const Kernel& kernel_;
  const AddressSpace& space_;
  const DebuggerData& data_;
  Layout layout_;
};

// A triage dump keeps one process and one thread, by themselves.
std::vector<Process> from_triage(const Kernel& kernel) {
  const Bytes* process = note_of(kernel.image(), "TRIAGE_PROCESS");
  const Bytes* thread = note_of(kernel.image(), "TRIAGE_THREAD");
  std::vector<Process> out;
  if (!process || !thread || !kernel.debugger_data()) return out;
  const DebuggerData& data = kernel.debugger_data()->data;
  const auto word = [](const Bytes& bytes, std::size_t at) {
    le64 value = 0;
    if (at + 8 <= bytes.size()) std::memcpy(&value, bytes.data() + at, sizeof value);
    return std::uint64_t{value};
  };
  Process found;
  found.at = VirtAddr{word(*thread, data.thread_process())};
  found.parent = word(*process, data.process_parent());
  // The id that both have: in the process before its list entry, in the thread beside its own.
  for (std::size_t at = data.process_page_table(); at + 24 <= process->size() && found.id == 0;
       at += 8) {
    const std::uint64_t id = word(*process, at);
    const bool is_id = id != 0 && id % 4 == 0 && id < (std::uint64_t{1} << 32);
    const bool linked =
        is_kernel_address(word(*process, at + 8)) && is_kernel_address(word(*process, at + 16));
    if (!is_id || !linked) continue;
    for (std::size_t in = 0; in + 16 <= thread->size(); in += 8) {
      const std::uint64_t own = word(*thread, in + 8);
      if (word(*thread, in) != id || own == 0 || own % 4 != 0 || own >> 32 != 0) continue;
      found.id = id;
      Thread its;
      its.id = own;
      its.state = static_cast<std::uint8_t>(word(*thread, data.thread_state()) & 0xff);
      its.kernel_stack = VirtAddr{word(*thread, data.thread_kernel_stack())};
      if (!kernel.cpus().empty()) {
        its.at = kernel.cpus().front().thread;
        its.cpu = kernel.cpus().front().id;
      }
      found.threads.push_back(its);
      break;
    }
  }
  // The only text of a process that is long enough to be a name and ends with NULs.
  const std::string whole = to_string(*process);
  if (const auto at = whole.find(found.id == kSystemId ? std::string("System\0\0", 8) : ".exe");
      at != std::string::npos) {
    const std::size_t begin = found.id == kSystemId ? at : whole.rfind('\0', at) + 1;
    found.name =
        whole.substr(begin, std::min<std::size_t>(kNameBytes, whole.find('\0', begin) - begin));
  }
  out.push_back(std::move(found));
  return out;
}

}  // namespace

std::vector<Process> read_processes(const Kernel& kernel, std::vector<std::string>& problems) {
  if (!kernel.debugger_data()) return {};
  if (!kernel.paging()) return from_triage(kernel);
  std::vector<Process> out;
  if (const auto done = Reader(kernel).read(out, problems); !done)
    problems.push_back("processes: " + done.error().message);
  return out;
}

}  // namespace hvd::windows
