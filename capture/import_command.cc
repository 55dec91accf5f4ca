#include "capture/import_command.h"

#include <cstdio>

#include "base/byte_source.h"
#include "base/output_file.h"
#include "base/text.h"
#include "capture/guest_pages.h"
#include "capture/session.h"
#include "envelope/keyring.h"
#include "formats/imported_file.h"
#include "formats/open_dump.h"

namespace hvd {
namespace {

// What is to be imported, and what it reads from.
struct Imported {
  Image image;
  std::string kind;
};

Result<Imported> open_file(const std::string& path) {
  Imported out;
  auto opened = open_dump(path, Keyring(), "");
  if (!opened) {
    if (opened.error().code != ErrorCode::kUnsupported) return std::move(opened).error();
    const std::shared_ptr<const ByteSource> source = HVD_TRY(FileSource::open(path));
    if (source->size() == 0 || source->size() % kPageSize != 0) return std::move(opened).error();
    std::fprintf(stderr, "%s: unrecognised dump format; treating it as raw memory\n",
                 printable(path).c_str());
    out.kind = "raw memory";
    out.image.memory = memory_of_file(source);
    return out;
  }
  if (!opened->id.empty()) return Error{ErrorCode::kInvalidArgument, path + " is an .hvd already"};
  out.image = std::move(opened->partitions.front());
  out.kind = "dump";
  if (!by_virtual_address(out.image)) return out;
  // There is no physical memory in it: the file is kept as it is, for whoever opens the partition.
  const std::shared_ptr<const ByteSource> source = HVD_TRY(FileSource::open(path));
  out.kind = "triage dump";
  out.image.facts = file_facts(source->size());
  out.image.memory = memory_of_file(source);
  out.image.notes.clear();
  out.image.registers.clear();
  return out;
}

}  // namespace

CommandOutcome run_import(const ImportOptions& options) {
  HVD_TRY(require_sodium());
  if (options.name.empty() || options.name == "*" || options.name == kHostUserName ||
      options.name.starts_with("hypervisor"))
    return Error{ErrorCode::kInvalidArgument, "--name: " + options.name + " is a reserved name"};
  HVD_TRY(refuse_inputs_as_output(options.output, {options.file}));
  Policy whole = HVD_TRY(build_policy(options));
  Imported imported = HVD_TRY(open_file(options.file));
  Facts facts = imported.image.facts;
  const PartitionPolicy policy = whole.for_guest(options.name, facts.uuid);
  const auto session = HVD_TRY(CaptureSession::open(options, std::move(whole), "import"));
  const auto not_written = [&](PartitionState state, const std::string& reason) -> CommandOutcome {
    HVD_TRY(session->not_written(options.name, Role::kGuest, state, reason));
    return session->finish(std::nullopt);
  };
  if (policy.stateless) return not_written(PartitionState::kStateless, policy.note);
  if (const auto refused = refusal(policy)) return not_written(PartitionState::kFailed, *refused);

  const Image& image = imported.image;
  const RestrictedMemory allowed(*image.memory, policy.restricted);
  const auto pages = GuestPages::open(allowed, image.registers, image.notes, policy.level, true);
  std::vector<std::string> problems = image.problems;
  if (const auto short_of = pages->shortfall(policy.level)) problems.push_back(*short_of);
  facts.imported = ImportedFact{options.file.substr(options.file.rfind('/') + 1), imported.kind};
  facts.ranges.clear();
  for (const PhysRange& range : allowed.ranges()) facts.ranges.push_back({range, "ram", {}});
  add_excluded(facts, *pages, policy);

  auto partition = session->begin(options.name, Role::kGuest, policy);
  if (!partition) return not_written(PartitionState::kFailed, partition.error().message);
  const auto write = [&]() -> Result<format::MemoryTotals> {
    HVD_TRY((*partition)->facts(facts));
    for (const Note& note : image.notes) HVD_TRY((*partition)->note(note));
    if (const auto& note = pages->found_note()) HVD_TRY((*partition)->note(*note));
    for (const Registers& registers : image.registers) HVD_TRY((*partition)->registers(registers));
    Progress progress("Importing " + printable(options.name), total_size(allowed.ranges()));
    format::MemoryOptions memory = session->memory_options();
    memory.mark = [&](std::uint64_t first, std::size_t count) {
      return pages->marks(first, count);
    };
    return write_memory(allowed, **partition, memory, progress);
  };
  const auto done = session->end(options.name, **partition, write(), std::move(problems));
  return session->finish(done ? std::nullopt : std::optional<Error>(done.error()));
}

void add_import_command(CLI::App& app, CommandOutcome& outcome) {
  auto options = std::make_shared<ImportOptions>();
  auto* command = app.add_subcommand(
      "import", "Turn one guest's existing dump into an .hvd, sealed to its owner");
  command
      ->add_option("file", options->file,
                   "ELF vmcore, kdump-compressed, Windows dump, or raw memory")
      ->required();
  command->add_option("--name", options->name, "Name of the partition")->required();
  add_capture_options(*command, *options);
  command->callback([options, &outcome] { outcome = run_import(*options); });
}

}  // namespace hvd
