// hypervisor and partition: images for debuggers.
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "base/output_file.h"
#include "base/text.h"
#include "envelope/keyring.h"
#include "extractor/commands.h"
#include "extractor/linux_core.h"
#include "extractor/merged_memory.h"
#include "extractor/vmm_image.h"
#include "extractor/windows_dump.h"
#include "formats/hvd/dump.h"
#include "formats/imported_file.h"
#include "formats/memory_file.h"

namespace hvd {
namespace {

ExitCode tell(const std::string& name, const std::vector<std::string>& problems) {
  for (const std::string& problem : problems) {
    std::fprintf(stderr, "%s: %s\n", printable(name).c_str(), printable(problem).c_str());
  }
  return problems.empty() ? ExitCode::kDone : ExitCode::kDamaged;
}

// Keeps only some classes of a key that opens all: --class.
class LimitedOpener final : public Opener {
 public:
  LimitedOpener(std::shared_ptr<const Opener> inner, std::vector<PageClass> classes)
      : inner_(std::move(inner)), classes_(std::move(classes)) {}
  bool has(KeyName key) const override { return allowed(key) && inner_->has(key); }
  Result<Bytes> open(const SealedPiece& piece, ByteView sealed) const override {
    if (!allowed(piece.key)) return Error{ErrorCode::kSealed, "left out by --class"};
    return inner_->open(piece, sealed);
  }

 private:
  bool allowed(KeyName key) const {
    return key.is_map || key.page_class == PageClass::kRegisters ||
           std::find(classes_.begin(), classes_.end(), key.page_class) != classes_.end();
  }
  const std::shared_ptr<const Opener> inner_;
  const std::vector<PageClass> classes_;
};

Result<std::vector<PageClass>> parse_classes(const std::vector<std::string>& names) {
  std::vector<PageClass> classes;
  for (const std::string& name : names) {
    const auto page_class = page_class_from(name);
    if (!page_class)
      return Error{ErrorCode::kInvalidArgument, "--class: there is no page class " + name};
    classes.push_back(*page_class);
  }
  return classes;
}

Result<void> need_memory(const format::DumpPartition& partition, const Image& image) {
  const bool none =
      partition.state == PartitionState::kStateless || partition.state == PartitionState::kFailed;
  if (!none && image.memory && !image.memory->ranges().empty()) return {};
  if (!none && !image.problems.empty()) {
    return Error{ErrorCode::kCorrupt,
                 "partition " + partition.name + ": " + image.problems.front()};
  }
  std::string why =
      "the dump holds no memory of it (" + std::string(name_of(partition.state)) + ")";
  if (!partition.reason.empty()) why += ": " + partition.reason;
  return Error{ErrorCode::kNotCaptured, "partition " + partition.name + ": " + why};
}

Result<void> write_elf(const GuestCore& core, const Image& image, const std::string& output,
                       const std::string& input, std::vector<std::string>& damage) {
  OutputFile file = HVD_TRY(OutputFile::create(output, input));
  Progress progress("Extracting " + printable(image.name), total_size(core.plan.pieces));
  HVD_TRY(elf::write_core(core.plan, *image.memory, file, progress, damage));
  return file.commit();
}

// What debuggers of the image's kind open: of a process, or of a machine and its kernel.
Result<void> write_core(const Image& image, const std::string& output, const std::string& input,
                        std::vector<std::string>& problems) {
  const GuestCore core =
      is_process(image) ? plan_process_core(image) : plan_guest_core(image, output);
  problems.insert(problems.end(), core.problems.begin(), core.problems.end());
  HVD_TRY(write_elf(core, image, output, input, problems));
  if (!core.gdb_script) return {};
  return write_whole_file(output + ".gdb", as_bytes(*core.gdb_script));
}

Result<void> write_raw(const Image& image, const std::string& output, const std::string& input,
                       std::vector<std::string>& damage) {
  OutputFile file = HVD_TRY(OutputFile::create(output, input));
  const auto pieces = readable_pieces(*image.memory);
  Progress progress("Extracting " + printable(image.name), total_size(pieces));
  for (const PhysRange& piece : pieces) {
    HVD_TRY(copy_memory(*image.memory, piece, file, piece.begin.value, progress, damage));
  }
  const auto& ranges = image.memory->ranges();
  HVD_TRY(file.resize(ranges.empty() ? 0 : ranges.back().begin.value + ranges.back().size));
  if (total_size(pieces) != total_size(ranges))
    damage.emplace_back("pages that are not in the dump read as zero in a raw image");
  return file.commit();
}

Result<std::optional<WindowsDumpType>> parse_dump_type(const ExtractOptions& options) {
  if (options.format != "dmp") {
    if (options.dump_type.empty()) return std::optional<WindowsDumpType>();
    return Error{ErrorCode::kInvalidArgument, "--dmp-type goes with --format dmp"};
  }
  constexpr std::pair<std::string_view, WindowsDumpType> kTypes[] = {
      {"", WindowsDumpType::kBitmap},
      {"full", WindowsDumpType::kFull},
      {"bitmap", WindowsDumpType::kBitmap},
      {"kernel", WindowsDumpType::kKernel},
      {"triage", WindowsDumpType::kTriage}};
  for (const auto& [name, type] : kTypes)
    if (options.dump_type == name) return std::optional(type);
  return Error{ErrorCode::kInvalidArgument,
               "--dmp-type " + options.dump_type + ": expected full, bitmap, kernel or triage"};
}

}  // namespace

CommandOutcome run_partition(const ExtractOptions& options) {
  const std::optional<WindowsDumpType> dump_type = HVD_TRY(parse_dump_type(options));
  for (const std::string& identity : options.identities)
    HVD_TRY(refuse_input_as_output(options.output, identity));
  const Keyring keys = HVD_TRY(Keyring::load(options.identities, options.passphrases));
  const std::vector<PageClass> classes = HVD_TRY(parse_classes(options.classes));
  const format::Dump dump = HVD_TRY(format::Dump::open(options.dump));
  const format::DumpPartition* partition = HVD_TRY(dump.find(options.partition));
  std::shared_ptr<const Opener> opener = HVD_TRY(dump.unlock(*partition, keys));
  if (opener && !classes.empty()) opener = std::make_shared<LimitedOpener>(opener, classes);
  Image whole = HVD_TRY(dump.image(*partition, opener));
  HVD_TRY(need_memory(*partition, whole));
  // As raw bytes, a file in a partition is that file.
  const Image image = options.format == "raw" ? std::move(whole) : opened_file(std::move(whole));
  std::vector<std::string> problems = image.problems;
  if (partition->state == PartitionState::kIncomplete)
    problems.push_back("incomplete: " + partition->reason);
  if (options.vmm) {
    const Image vmm = HVD_TRY(vmm_image(image));
    HVD_TRY(write_core(vmm, options.output, options.dump, problems));
    return tell(vmm.name, problems);
  }
  if (options.format == "raw") {
    HVD_TRY(write_raw(image, options.output, options.dump, problems));
    return tell(image.name, problems);
  }
  if (dump_type) {
    HVD_TRY(write_windows_dump(image, *dump_type, options.symbols, options.output, options.dump,
                               problems));
  } else {
    HVD_TRY(write_core(image, options.output, options.dump, problems));
  }
  return tell(image.name, problems);
}

namespace {

// The memory of the host's other processes, for whoever has a key for it: a debugger of the kernel
// shows theirs as well.
std::optional<Image> host_user(const format::Dump& dump, const Keyring& keys) {
  const auto partition = dump.find(kHostUserName);
  if (!partition || (*partition)->role != Role::kHypervisor) return std::nullopt;
  const auto opener = dump.unlock(**partition, keys);
  if (!opener) return std::nullopt;
  auto image = dump.image(**partition, *opener);
  if (!image || !image->memory) return std::nullopt;
  return std::move(*image);
}

Result<ExitCode> extract_one_hypervisor(const format::Dump& dump,
                                        const format::DumpPartition& partition, const Keyring& keys,
                                        const std::string& output, const std::string& input) {
  const auto opener = HVD_TRY(dump.unlock(partition, keys));
  Image image = HVD_TRY(dump.image(partition, opener));
  HVD_TRY(need_memory(partition, image));
  std::vector<std::string> problems = image.problems;
  if (const auto others = host_user(dump, keys); others && !is_process(image)) {
    image.memory = std::make_shared<MergedMemory>(image.memory, others->memory);
    problems.insert(problems.end(), others->problems.begin(), others->problems.end());
  }
  HVD_TRY(write_core(image, output, input, problems));
  return tell(image.name, problems);
}

// "hypervisor:web 1/x" -> "web_1_x.core"
std::string core_name(const std::string& partition) {
  std::string name = partition.substr(partition.find(':') + 1);
  for (char& c : name) {
    const bool plain = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
                       c == '-' || c == '_';
    if (!plain) c = '_';
  }
  return name + ".core";
}

}  // namespace

CommandOutcome run_hypervisor(const ExtractOptions& options) {
  for (const std::string& identity : options.identities)
    HVD_TRY(refuse_input_as_output(options.output, identity));
  const Keyring keys = HVD_TRY(Keyring::load(options.identities, options.passphrases));
  const format::Dump dump = HVD_TRY(format::Dump::open(options.dump));
  std::vector<const format::DumpPartition*> found;
  for (const auto& partition : dump.partitions()) {
    if (partition.role == Role::kHypervisor && partition.name != kHostUserName)
      found.push_back(&partition);
  }
  if (found.empty()) return Error{ErrorCode::kNotFound, "the dump has no hypervisor partition"};
  if (found.size() == 1)
    return extract_one_hypervisor(dump, *found[0], keys, options.output, options.dump);

  // A folder appears whole or not at all, like a file. What fails for one process is told; the
  // others are written.
  std::string folder = options.output + ".XXXXXX";
  if (::mkdtemp(folder.data()) == nullptr) return errno_error("cannot create " + options.output);
  ExitCode outcome = ExitCode::kDone;
  std::vector<std::string> written;
  std::optional<Error> last;
  for (const format::DumpPartition* partition : found) {
    const std::string path = folder + "/" + core_name(partition->name);
    const auto done = extract_one_hypervisor(dump, *partition, keys, path, options.dump);
    if (done) {
      written.push_back(path);
      if (*done != ExitCode::kDone) outcome = *done;
      continue;
    }
    std::fprintf(stderr, "%s\n", printable(done.error().message).c_str());
    last = done.error();
    outcome = ExitCode::kDamaged;
  }
  ::chmod(folder.c_str(), 0755);
  if (!written.empty() && ::rename(folder.c_str(), options.output.c_str()) == 0) return outcome;
  const Error failed =
      written.empty() && last ? *last : errno_error("cannot put " + options.output + " in place");
  for (const std::string& path : written) ::unlink(path.c_str());
  ::rmdir(folder.c_str());
  return failed;
}

void add_extract_commands(CLI::App& app, CommandOutcome& outcome) {
  const auto options = std::make_shared<ExtractOptions>();
  const auto add = [&](const char* name, const char* help,
                       CommandOutcome (*run)(const ExtractOptions&)) {
    CLI::App* command = app.add_subcommand(name, help);
    command->add_option("dump", options->dump, "The .hvd dump")->required();
    command->callback([options, run, &outcome] { outcome = run(*options); });
    return command;
  };
  auto* list = add("list", "List the partitions", run_list);
  auto* ledger = add("ledger", "What of a dead host was kept, blanked and left out", run_ledger);
  ledger->add_option("--identity", options->identities, "age identity file (may repeat)");
  auto* verify = add("verify", "Check the signatures of all records", run_verify);
  verify->add_option("--signer", options->signer,
                     "The agent's public key (64 hexadecimal digits), known from elsewhere");
  for (CLI::App* command : {list, verify, ledger})
    command->add_flag("--json", options->json, "Print JSON");
  auto* hypervisor =
      add("hypervisor", "Write the hypervisor image: no tenant's memory", run_hypervisor);
  auto* partition = add("partition", "Write one partition for a debugger", run_partition);
  partition->add_option("name", options->partition, "The partition")->required();
  partition
      ->add_option("--format", options->format,
                   "elf (gdb, crash, drgn), dmp (WinDbg: Windows guests) or raw")
      ->check(CLI::IsMember({"elf", "raw", "dmp"}));
  partition->add_option("--dmp-type", options->dump_type,
                        "Of dmp: full, bitmap (default), kernel, or triage");
  partition->add_option("--symbols", options->symbols,
                        "Folder, symbol store or file with PDBs, for dmp (may repeat)");
  partition->add_flag(
      "--vmm", options->vmm,
      "The VMM's own memory instead, as a core of that process (gdb), with KVM's state in notes");
  partition->add_option("--class", options->classes, "Only these page classes")->delimiter(',');
  for (CLI::App* command : {hypervisor, partition}) {
    command->add_option("-o,--output", options->output, "File to write")->required();
    command->add_option("--identity", options->identities,
                        "age identity file, or .hvgrant (may repeat)");
    command->add_option("--passphrase-file", options->passphrases,
                        "File with a passphrase in its first line (may repeat)");
  }
}

}  // namespace hvd
