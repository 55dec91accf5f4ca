// hypervisor: what ran the guests, without their memory.
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "base/output_file.h"
#include "base/text.h"
#include "envelope/keyring.h"
#include "extractor/commands.h"
#include "extractor/core_file.h"
#include "extractor/merged_memory.h"

namespace hvd {
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

CommandOutcome run_hypervisor(const HypervisorOptions& options) {
  HVD_TRY(refuse_inputs_as_output(options.output, options.keys.files()));
  const Keyring keys = HVD_TRY(Keyring::load(options.keys.identities, options.keys.passphrases));
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

void add_hypervisor_command(CLI::App& app, CommandOutcome& outcome) {
  const auto options = std::make_shared<HypervisorOptions>();
  CLI::App* command =
      app.add_subcommand("hypervisor", "Write the hypervisor image: no tenant's memory");
  command->add_option("dump", options->dump, "The .hvd dump")->required();
  command->add_option("-o,--output", options->output, "File to write")->required();
  add_key_options(*command, options->keys);
  command->callback([options, &outcome] { outcome = run_hypervisor(*options); });
}

}  // namespace hvd
