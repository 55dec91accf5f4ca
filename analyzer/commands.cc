#include "analyzer/commands.h"

#include <algorithm>
#include <charconv>
#include <cinttypes>
#include <cstdio>

#include "analyzer/html_report.h"
#include "analyzer/opened_guest.h"
#include "analyzer/report_json.h"
#include "analyzer/text_pieces.h"
#include "analyzer/text_report.h"
#include "analyzer/triage.h"
#include "base/json.h"
#include "base/output_file.h"
#include "base/text.h"
#include "envelope/keyring.h"

namespace hvd {
namespace {

// Problems to standard error; the exit code says that there were some.
ExitCode report_problems(const OpenedGuest& opened) {
  for (const std::string& problem : opened.problems())
    std::fprintf(stderr, "%s\n", printable(problem).c_str());
  return opened.is_damaged() ? ExitCode::kDamaged : ExitCode::kDone;
}

void print(const std::string& text) { std::fwrite(text.data(), 1, text.size(), stdout); }
// What guests and dumps say must not reach a terminal as it is.
void print_lines(const std::string& text) { print(printable(text, true)); }

Result<VirtAddr> parse_address(const std::string& text, OpenedGuest& opened) {
  std::uint64_t value = 0;
  if (text.starts_with("0x")) {
    const auto [end, error] =
        std::from_chars(text.data() + 2, text.data() + text.size(), value, 16);
    if (error == std::errc{} && end == text.data() + text.size()) return VirtAddr{value};
    return Error{ErrorCode::kInvalidArgument, text + " is not an address"};
  }
  return opened.guest().symbol(text);
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
  HVD_TRY(refuse_inputs_as_output(options.output, options.identities));
  HVD_TRY(refuse_inputs_as_output(options.output, options.passphrases));
  const Keyring keys = HVD_TRY(Keyring::load(options.identities, options.passphrases));
  const OpenedDump dump = HVD_TRY(open_dump(options.dump, keys, options.partition));
  const Report report = triage(dump, {options.symbols});
  const std::string text = options.format == "text"   ? text_report(report)
                           : options.format == "html" ? html_report(report)
                                                      : json_text(to_json(report));
  HVD_TRY(write_whole_file(options.output, as_bytes(text), options.dump));
  const bool damaged =
      !dump.complete ||
      std::any_of(dump.partitions.begin(), dump.partitions.end(), [](const Image& i) {
        return i.state == PartitionState::kIncomplete || (!i.locked && !i.problems.empty());
      });
  return damaged ? ExitCode::kDamaged : ExitCode::kDone;
}

CommandOutcome run_log(const AnalyzeOptions& options) {
  const auto opened = HVD_TRY(OpenedGuest::open(options));
  const std::vector<LogLine> log = HVD_TRY(opened->guest().log());
  if (options.json) print(json_text(to_json(log)));
  else
    for (const LogLine& line : log) print_lines(log_text(line));
  return report_problems(*opened);
}

namespace {

void print_stack(const std::string& title, const std::vector<FrameReport>& stack) {
  const std::string text = stack_text(stack);
  print_lines(title + "\n" + (text.empty() ? "nothing is known of its stack\n" : text) + "\n");
}

void print_stacks(const std::vector<CpuReport>& cpus) {
  for (const CpuReport& cpu : cpus) {
    std::string title = "CPU " + std::to_string(cpu.id);
    if (cpu.task) title += "  PID " + std::to_string(cpu.task->pid) + "  " + cpu.task->comm;
    print_stack(title, cpu.stack);
  }
}

void print_stacks(const std::vector<TaskReport>& tasks) {
  for (const TaskReport& task : tasks)
    print_stack("PID " + std::to_string(task.pid) + "  " + task.comm + "  " + task.state,
                task.stack);
}

template <typename Item>
CommandOutcome bt_of(const OpenedGuest& opened, const AnalyzeOptions& options,
                     const std::vector<Item>& chosen) {
  if (chosen.empty())
    return Error{ErrorCode::kNotFound, "there is no task with pid " + std::to_string(options.pid)};
  if (options.json) print(json_text(to_json(chosen)));
  else print_stacks(chosen);
  return report_problems(opened);
}

}  // namespace

CommandOutcome run_bt(const AnalyzeOptions& options) {
  const auto opened = HVD_TRY(OpenedGuest::open(options));
  if (options.all) return bt_of(*opened, options, opened->guest().tasks(std::nullopt));
  if (options.pid >= 0) return bt_of(*opened, options, opened->guest().tasks(options.pid));
  return bt_of(*opened, options, opened->guest().cpus());
}

CommandOutcome run_ps(const AnalyzeOptions& options) {
  const auto opened = HVD_TRY(OpenedGuest::open(options));
  const std::vector<TaskReport> tasks = opened->guest().tasks(std::nullopt);
  if (options.json) print(json_text(to_json(tasks)));
  else print_lines(tasks_text(tasks));
  return report_problems(*opened);
}

CommandOutcome run_modules(const AnalyzeOptions& options) {
  const auto opened = HVD_TRY(OpenedGuest::open(options));
  const std::vector<ModuleReport> modules = opened->guest().modules();
  if (options.json) print(json_text(to_json(modules)));
  else print_lines(modules_text(modules));
  return report_problems(*opened);
}

CommandOutcome run_read(const AnalyzeOptions& options) {
  if (options.size > (16u << 20))
    return Error{ErrorCode::kInvalidArgument, "at most 16 MiB can be read at once"};
  const auto opened = HVD_TRY(OpenedGuest::open(options));
  const VirtAddr at = HVD_TRY(parse_address(options.address, *opened));
  Bytes bytes(options.size);
  if (options.physical) HVD_TRY(opened->image().memory->read(PhysAddr{at.value}, bytes));
  else HVD_TRY(opened->guest().read(at, bytes));
  if (options.json) print(json_text({{"address", hex(at.value)}, {"bytes", hex_bytes(bytes)}}));
  else print(hex_dump(at.value, bytes));
  return report_problems(*opened);
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
