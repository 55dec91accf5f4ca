// partition: one guest for a debugger.
#include <algorithm>

#include "base/output_file.h"
#include "base/text.h"
#include "envelope/keyring.h"
#include "extractor/commands.h"
#include "extractor/core_file.h"
#include "extractor/vmm_image.h"
#include "extractor/windows_dump.h"
#include "formats/imported_file.h"
#include "formats/memory_file.h"

namespace hvd {
namespace {

// Keeps only some classes of a key that opens all: --class.
class LimitedOpener final : public Opener {
 public:
  LimitedOpener(std::shared_ptr<const Opener> inner, std::vector<PageClass> classes)
      : inner_(std::move(inner)), classes_(std::move(classes)) {}
  bool has(KeyName key) const override { return allowed(key) && inner_->has(key); }
  Result<KeyCommitment> commitment(KeyName key) const override { return inner_->commitment(key); }
  Result<Bytes> open(const SealedPiece& piece, ByteView sealed) const override {
    if (!allowed(piece.key)) return Error{ErrorCode::kSealed, "excluded by --class"};
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

Result<std::optional<WindowsDumpType>> parse_dump_type(const PartitionOptions& options) {
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

CommandOutcome run_partition(const PartitionOptions& options) {
  const std::optional<WindowsDumpType> dump_type = HVD_TRY(parse_dump_type(options));
  HVD_TRY(refuse_inputs_as_output(options.output, options.keys.files()));
  const Keyring keys = HVD_TRY(Keyring::load(options.keys.identities, options.keys.passphrases));
  const std::vector<PageClass> classes =
      HVD_TRY(with_context(page_classes_from(options.classes), "--class"));
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

void add_partition_command(CLI::App& app, CommandOutcome& outcome) {
  const auto options = std::make_shared<PartitionOptions>();
  CLI::App* command = app.add_subcommand("partition", "Write one partition for a debugger");
  command->add_option("dump", options->dump, "The .hvd dump")->required();
  command->add_option("name", options->partition, "The partition")->required();
  command
      ->add_option("--format", options->format,
                   "elf (gdb, crash, drgn), dmp (WinDbg: Windows guests) or raw")
      ->check(CLI::IsMember({"elf", "raw", "dmp"}));
  command->add_option("--dmp-type", options->dump_type,
                      "Of dmp: full, bitmap (default), kernel, or triage");
  command->add_option("--symbols", options->symbols,
                      "Folder, symbol store or file with PDBs, for dmp (may repeat)");
  command->add_flag(
      "--vmm", options->vmm,
      "The VMM's own memory instead, as a core of that process (gdb), with KVM's state in notes");
  command->add_option("--class", options->classes, "Only these page classes")->delimiter(',');
  command->add_option("-o,--output", options->output, "File to write")->required();
  add_key_options(*command, options->keys);
  command->callback([options, &outcome] { outcome = run_partition(*options); });
}

}  // namespace hvd
