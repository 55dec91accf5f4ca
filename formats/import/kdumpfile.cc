#include "formats/import/kdumpfile.h"

#include <fcntl.h>
#include <libkdumpfile/kdumpfile.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <mutex>

#include "base/file_descriptor.h"
#include "base/text.h"

namespace hvd {
namespace {

constexpr std::string_view kOpens = "opens";
constexpr unsigned kMostSeconds = 60;  // for opening a file: its bitmap is read whole

struct FreeContext {
  void operator()(kdump_ctx_t* context) const { kdump_free(context); }
};
using Context = std::unique_ptr<kdump_ctx_t, FreeContext>;

// A read that is only shorter than asked for leaves no error behind.
std::string last_error(kdump_ctx_t* context) {
  const char* text = kdump_get_err(context);
  return text ? text : "not all of it is there";
}

class KdumpMemory final : public PhysicalMemory {
 public:
  KdumpMemory(FileDescriptor file, Context context, std::uint64_t size)
      : file_(std::move(file)), context_(std::move(context)), ranges_{{PhysAddr{0}, size}} {}

  const std::vector<PhysRange>& ranges() const override { return ranges_; }

  Extent extent_at(PhysAddr at) const override {
    Extent extent;
    const PhysRange& all = ranges_.front();
    if (!all.contains(at)) {
      extent.range = {at, ~at.value};
      return extent;
    }
    std::byte probe{};
    extent.kind =
        read_some(at, MutableBytes(&probe, 1)) ? Extent::Kind::kStored : Extent::Kind::kAbsent;
    extent.range = {at, std::min(kPageSize - at.value % kPageSize, all.size - at.value)};
    return extent;
  }

 private:
  Result<std::size_t> read_some(PhysAddr at, MutableBytes out) const override {
    const auto size = static_cast<std::size_t>(
        std::min<std::uint64_t>(out.size(), kPageSize - at.value % kPageSize));
    std::size_t got = size;
    std::lock_guard lock(mutex_);  // one context, one reader at a time
    const kdump_status status =
        kdump_read(context_.get(), KDUMP_MACHPHYSADDR, at.value, out.data(), &got);
    if (status == KDUMP_OK && got == size) return size;
    const ErrorCode code = status == KDUMP_ERR_NODATA    ? ErrorCode::kNotCaptured
                           : status == KDUMP_ERR_CORRUPT ? ErrorCode::kCorrupt
                                                         : ErrorCode::kIo;
    Error error{code, "address " + hex(at.value) + ": " + last_error(context_.get())};
    kdump_clear_err(context_.get());
    return error;
  }

  const FileDescriptor file_;
  const Context context_;
  const std::vector<PhysRange> ranges_;
  mutable std::mutex mutex_;
};

Result<void> use_file(kdump_ctx_t* context, int file) {
  if (!context) return Error{ErrorCode::kIo, "libkdumpfile does not start"};
  // A mapping of a file that is shorter than it claims is a signal instead of an error.
  kdump_set_number_attr(context, KDUMP_ATTR_FILE_MMAP_POLICY, KDUMP_MMAP_NEVER);
  if (kdump_set_number_attr(context, KDUMP_ATTR_FILE_FD, static_cast<kdump_num_t>(file)) ==
      KDUMP_OK)
    return {};
  return Error{ErrorCode::kUnsupported, last_error(context)};
}

// libkdumpfile 0.5.1 runs into wild pointers on some damaged headers, while it opens the file or
// when it gives up. So a process that has nothing to lose tries it first, and says what came of it.
Result<void> try_to_open(int file) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return errno_error("cannot make a pipe");
  const FileDescriptor from(ends[0]);
  FileDescriptor to(ends[1]);
  const pid_t child = ::fork();
  if (child < 0) return errno_error("cannot start a process");
  if (child == 0) {
    const rlimit none{0, 0};
    ::setrlimit(RLIMIT_CORE, &none);
    ::alarm(kMostSeconds);
    const auto opened = use_file(kdump_new(), file);
    const std::string said = opened ? std::string(kOpens) : opened.error().message;
    (void)!::write(to.get(), said.data(), said.size());
    ::_exit(0);  // with the context, which is not safe to free
  }
  to.reset();
  std::string said(512, '\0');
  ssize_t got = 0;
  while ((got = ::read(from.get(), said.data(), said.size())) < 0 && errno == EINTR) continue;
  while (::waitpid(child, nullptr, 0) < 0 && errno == EINTR) continue;
  said.resize(static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
  if (said == kOpens) return {};
  if (said.empty())
    return Error{ErrorCode::kCorrupt,
                 "its headers are damaged: libkdumpfile does not survive them"};
  return Error{ErrorCode::kUnsupported, printable(said)};
}

std::optional<std::uint64_t> number(kdump_ctx_t* context, const std::string& key) {
  kdump_num_t value = 0;
  if (kdump_get_number_attr(context, key.c_str(), &value) == KDUMP_OK) return value;
  kdump_clear_err(context);
  return std::nullopt;
}

std::vector<Registers> read_registers(kdump_ctx_t* context) {
  std::vector<Registers> out;
  const std::uint64_t count =
      std::min<std::uint64_t>(number(context, "cpu.number").value_or(0), 8192);
  for (std::uint64_t cpu = 0; cpu < count; ++cpu) {
    Registers registers;
    registers.id = static_cast<std::uint32_t>(cpu);
    const std::string base = "cpu." + std::to_string(cpu) + ".reg.";
    bool any = false;
    for (std::size_t i = 0; i < kRegCount; ++i) {
      const auto reg = static_cast<Reg>(i);
      if (const auto value = number(context, base + std::string(name_of(reg)))) {
        registers.set(reg, *value);
        any = true;
      }
    }
    if (any) out.push_back(registers);
  }
  return out;
}

}  // namespace

Result<Image> open_kdumpfile(const std::string& path, const std::string& name) {
  FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return errno_error("cannot open " + path);
  HVD_TRY(with_context(try_to_open(file.get()), path));
  Context context(kdump_new());
  HVD_TRY(with_context(use_file(context.get(), file.get()), path));
  const char* arch = nullptr;
  if (kdump_get_string_attr(context.get(), KDUMP_ATTR_ARCH_NAME, &arch) != KDUMP_OK ||
      std::string_view(arch) != KDUMP_ARCH_X86_64) {
    return Error{ErrorCode::kUnsupported, path + ": not a dump of an x86-64 machine"};
  }
  Image image;
  image.name = name;
  image.registers = read_registers(context.get());
  char* raw = nullptr;
  if (kdump_vmcoreinfo_raw(context.get(), &raw) == KDUMP_OK) {
    const std::unique_ptr<char, void (*)(void*)> owner(raw, std::free);
    const ByteView text = as_bytes(raw);
    image.notes.push_back({"VMCOREINFO", 0, Bytes(text.begin(), text.end())});
  }
  kdump_clear_err(context.get());
  const std::uint64_t pages = number(context.get(), "max_pfn").value_or(0);
  if (pages > (std::uint64_t{1} << 46))
    return Error{ErrorCode::kCorrupt, path + ": claims more memory than addresses reach"};
  image.memory =
      std::make_shared<KdumpMemory>(std::move(file), std::move(context), pages * kPageSize);
  return image;
}

}  // namespace hvd
