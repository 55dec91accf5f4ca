#include "analyzer/commands.h"

#include <algorithm>
#include <charconv>
#include <cinttypes>
#include <cstdio>

#include "analyzer/guest.h"
#include "analyzer/text_pieces.h"
#include "analyzer/triage.h"
#include "base/output_file.h"
#include "base/text.h"
#include "envelope/keyring.h"

namespace hvd {
namespace {

using namespace linux_guest;
using nlohmann::json;

// What log, bt, ps, modules and read work on: one guest, unlocked.
struct Opened {
  OpenedDump dump;
  std::unique_ptr<LinuxGuest> host;  // when the guest is one of a dumped host's VMs
  std::optional<Image> vm;           // then
  Guest guest;
  const Image& image() const { return vm ? *vm : dump.partitions.front(); }
};

// Without --partition: the only guest there is.
Result<std::string> choose_partition(const AnalyzeOptions& options, const Keyring& keys) {
  if (!options.partition.empty()) return options.partition;
  const OpenedDump all = HVD_TRY(open_dump(options.dump, keys, ""));
  std::vector<std::string> guests;
  for (const Image& image : all.partitions) {
    if (image.role == Role::kGuest) guests.push_back(image.name);
  }
  if (guests.size() == 1) return all.id.empty() ? std::string() : guests.front();
  std::string names;
  for (const std::string& name : guests) names += " " + name;
  return Error{ErrorCode::kInvalidArgument,
               "the dump holds several guests; choose one with --partition:" + names};
}

// A VM by its name in the dump of its host.
Result<void> open_vm(const AnalyzeOptions& options, const Keyring& keys, Opened& opened) {
  opened.dump = HVD_TRY(open_dump(options.dump, keys, ""));
  std::string names;
  if (opened.dump.partitions.size() == 1) {
    opened.host = HVD_TRY(LinuxGuest::open(opened.dump.partitions.front()));
    for (Image& image : opened.host->vm_images()) {
      names += " " + printable(image.name);
      if (image.name == options.partition) opened.vm = std::move(image);
    }
  }
  if (opened.vm) return {};
  return Error{ErrorCode::kNotFound, options.dump + " holds no partition " + options.partition +
                                         (names.empty() ? "" : "; its host ran" + names)};
}

Result<std::unique_ptr<Opened>> open(const AnalyzeOptions& options) {
  const Keyring keys = HVD_TRY(Keyring::load(options.identities, options.passphrases));
  const std::string partition = HVD_TRY(choose_partition(options, keys));
  auto opened = std::make_unique<Opened>();
  auto dump = open_dump(options.dump, keys, partition);
  if (dump) opened->dump = std::move(*dump);
  else if (dump.error().code == ErrorCode::kNotFound && !options.partition.empty())
    HVD_TRY(open_vm(options, keys, *opened));
  else return std::move(dump).error();
  opened->guest = HVD_TRY(open_guest(opened->image(), options.symbols));
  return opened;
}

// Problems to standard error; the exit code says that there were some.
ExitCode tell_problems(const Opened& opened) {
  for (const std::string& problem : opened.image().problems)
    std::fprintf(stderr, "%s\n", printable(problem).c_str());
  for (const std::string& problem : opened.guest.problems())
    std::fprintf(stderr, "%s\n", printable(problem).c_str());
  return opened.image().problems.empty() && opened.dump.complete ? ExitCode::kDone
                                                                 : ExitCode::kDamaged;
}

void print(const std::string& text) { std::fwrite(text.data(), 1, text.size(), stdout); }
void print_json(const json& value) {
  print(value.dump(2, ' ', false, json::error_handler_t::replace) + "\n");
}

Result<VirtAddr> parse_address(const std::string& text, const Opened& opened) {
  std::uint64_t value = 0;
  if (text.starts_with("0x")) {
    const auto [end, error] =
        std::from_chars(text.data() + 2, text.data() + text.size(), value, 16);
    if (error == std::errc{} && end == text.data() + text.size()) return VirtAddr{value};
    return Error{ErrorCode::kInvalidArgument, text + " is not an address"};
  }
  return opened.guest.symbol(text);
}

std::string hex_dump(std::uint64_t address, ByteView bytes) {
  std::string out;
  for (std::size_t at = 0; at < bytes.size(); at += 16) {
    const ByteView row = bytes.subspan(at, std::min<std::size_t>(16, bytes.size() - at));
    char head[32];
    std::snprintf(head, sizeof head, "%016" PRIx64 ": ", address + at);
    std::string hexes = hex_bytes(row), line = head;
    for (std::size_t i = 0; i < 16; ++i)
      line += i < row.size() ? hexes.substr(2 * i, 2) + " " : "   ";
    for (std::byte b : row) {
      const auto c = std::to_integer<unsigned char>(b);
      line += c >= 32 && c < 127 ? static_cast<char>(c) : '.';
    }
    out += line + "\n";
  }
  return out;
}

}  // namespace

CommandOutcome run_triage(const AnalyzeOptions& options) {
  for (const std::string& identity : options.identities)
    HVD_TRY(refuse_input_as_output(options.output, identity));
  const Keyring keys = HVD_TRY(Keyring::load(options.identities, options.passphrases));
  const OpenedDump dump = HVD_TRY(open_dump(options.dump, keys, options.partition));
  const json report = triage(dump, {options.partition, options.symbols});
  std::string text;
  if (options.format == "text") text = text_report(report);
  else if (options.format == "html") text = html_report(report);
  else text = report.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
  HVD_TRY(write_whole_file(options.output, as_bytes(text), options.dump));
  const bool damaged =
      !dump.complete ||
      std::any_of(dump.partitions.begin(), dump.partitions.end(), [](const Image& i) {
        return i.state == PartitionState::kIncomplete || (!i.locked && !i.problems.empty());
      });
  return damaged ? ExitCode::kDamaged : ExitCode::kDone;
}

CommandOutcome run_log(const AnalyzeOptions& options) {
  const auto opened = HVD_TRY(open(options));
  if (!opened->guest.linux_os)
    return Error{ErrorCode::kUnsupported, "Windows keeps no log in its kernel's memory"};
  const json log = log_json(*opened->guest.linux_os);
  if (options.json) print_json(log);
  else
    for (const json& record : log) print(log_line(record));
  return tell_problems(*opened);
}

CommandOutcome run_bt(const AnalyzeOptions& options) {
  const auto opened = HVD_TRY(open(options));
  const bool tasks = options.pid >= 0 || options.all;
  const std::optional<std::int64_t> pid = options.all ? std::nullopt : std::optional(options.pid);
  const json chosen = tasks ? opened->guest.tasks_json(pid) : opened->guest.cpus_json();
  if (chosen.empty())
    return Error{ErrorCode::kNotFound, "there is no task with pid " + std::to_string(options.pid)};
  if (options.json) {
    print_json(chosen);
    return tell_problems(*opened);
  }
  for (const json& item : chosen) {
    if (item.contains("id")) {
      print("CPU " + item["id"].dump());
      if (item["task"].is_object())
        print("  PID " + item["task"]["pid"].dump() + "  " +
              item["task"]["comm"].get<std::string>());
    } else {
      print("PID " + item["pid"].dump() + "  " + item["comm"].get<std::string>() + "  " +
            item["state"].get<std::string>());
    }
    const std::string stack = stack_text(item["stack"]);
    print("\n" + (stack.empty() ? "nothing is known of its stack\n" : stack) + "\n");
  }
  return tell_problems(*opened);
}

CommandOutcome run_ps(const AnalyzeOptions& options) {
  const auto opened = HVD_TRY(open(options));
  const json tasks = opened->guest.tasks_json(std::nullopt);
  if (options.json) print_json(tasks);
  else print(tasks_text(tasks));
  return tell_problems(*opened);
}

CommandOutcome run_modules(const AnalyzeOptions& options) {
  const auto opened = HVD_TRY(open(options));
  const json modules = opened->guest.modules_json();
  if (options.json) print_json(modules);
  else print(modules_text(modules));
  return tell_problems(*opened);
}

CommandOutcome run_read(const AnalyzeOptions& options) {
  if (options.size > (16u << 20))
    return Error{ErrorCode::kInvalidArgument, "at most 16 MiB can be read at once"};
  const auto opened = HVD_TRY(open(options));
  const VirtAddr at = HVD_TRY(parse_address(options.address, *opened));
  Bytes bytes(options.size);
  if (options.physical) HVD_TRY(opened->image().memory->read(PhysAddr{at.value}, bytes));
  else HVD_TRY(opened->guest.read(at, bytes));
  if (options.json) print_json({{"address", hex(at.value)}, {"bytes", hex_bytes(bytes)}});
  else print(hex_dump(at.value, bytes));
  return tell_problems(*opened);
}

namespace {

CLI::App* add_command(CLI::App& app, const char* name, const char* help,
                      const std::shared_ptr<AnalyzeOptions>& options,
                      CommandOutcome (*run)(const AnalyzeOptions&), CommandOutcome& outcome) {
  CLI::App* command = app.add_subcommand(name, help);
  command
      ->add_option("dump", options->dump, ".hvd, ELF vmcore, kdump-compressed file or Windows dump")
      ->required();
  command->add_option("--partition", options->partition,
                      "The partition to look at (default: the only guest; triage: all)");
  command->add_option("--identity", options->identities,
                      "age identity file, or .hvgrant (may repeat)");
  command->add_option("--passphrase-file", options->passphrases,
                      "File with a passphrase in its first line (may repeat)");
  command->add_option("--symbols", options->symbols,
                      "vmlinux with DWARF, PDB, or folder of them (may repeat)");
  command->callback([options, run, &outcome] { outcome = run(*options); });
  return command;
}

}  // namespace

void add_analyze_commands(CLI::App& app, CommandOutcome& outcome) {
  const auto options = std::make_shared<AnalyzeOptions>();
  auto* triage_command =
      add_command(app, "triage", "Report what happened", options, run_triage, outcome);
  triage_command->add_option("--format", options->format, "json, text or html")
      ->check(CLI::IsMember({"json", "text", "html"}));
  triage_command->add_option("-o,--output", options->output,
                             "Write the report to this file (default: standard output)");
  auto* log = add_command(app, "log", "Print the kernel log", options, run_log, outcome);
  auto* bt =
      add_command(app, "bt", "Print the stack of every CPU, or of tasks", options, run_bt, outcome);
  bt->add_option("--pid", options->pid, "The task with this pid");
  bt->add_flag("--all", options->all, "Every task");
  auto* ps = add_command(app, "ps", "List the tasks", options, run_ps, outcome);
  auto* modules =
      add_command(app, "modules", "List the loaded modules", options, run_modules, outcome);
  auto* read =
      add_command(app, "read", "Print memory at a symbol or address", options, run_read, outcome);
  read->add_option("address", options->address, "Symbol, or 0x... address")->required();
  read->add_option("size", options->size, "Bytes (default 64)");
  read->add_flag("--physical", options->physical, "The address is a physical one");
  for (CLI::App* command : {log, bt, ps, modules, read})
    command->add_flag("--json", options->json, "Print JSON");
}

}  // namespace hvd
