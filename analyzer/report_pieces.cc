#include "analyzer/report_pieces.h"

#include <algorithm>

#include "guest/x86_64/disassemble.h"

namespace hvd {

std::string utc(std::time_t seconds) {
  std::tm parts{};
  if (::gmtime_r(&seconds, &parts) == nullptr) return {};
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

RegisterValues register_values(const Registers& registers) {
  RegisterValues out;
  for (std::size_t i = 0; i < kRegCount; ++i) {
    const auto reg = static_cast<Reg>(i);
    if (const auto value = registers.get(reg)) out[std::string(name_of(reg))] = *value;
  }
  return out;
}

RegisterValues register_values(const Arm64Registers& registers) {
  RegisterValues out{{"sp", registers.sp}, {"pc", registers.pc}, {"pstate", registers.pstate}};
  for (std::size_t i = 0; i < registers.x.size(); ++i)
    out["x" + std::to_string(i)] = registers.x[i];
  return out;
}

std::vector<CodeLine> code_around(const ReadMemory& read, VirtAddr rip, std::uint64_t into) {
  constexpr std::uint64_t kBefore = 42;  // bytes before RIP, as Linux's own "Code:" line
  constexpr std::uint64_t kAfter = 22;
  constexpr std::uint64_t kMaxFunction = 64u << 10;
  std::uint64_t before = into <= kMaxFunction ? into : 0, after = kAfter;
  // The function may end with its page, and the next one need not be mapped.
  if (!read(rip, after)) after = std::min(after, kPageSize - rip.value % kPageSize);
  auto bytes = read(rip - before, before + after);
  if (!bytes) before = 0, bytes = read(rip, after);
  std::vector<CodeLine> out;
  if (!bytes) return out;
  auto code = disassemble(rip - before, *bytes, bytes->size());
  const auto is_rip = [rip](const Instruction& i) { return i.address == rip; };
  if (code && std::none_of(code->begin(), code->end(), is_rip)) {
    code = disassemble(rip, ByteView(*bytes).subspan(before), after);
  }
  if (!code) return out;
  for (Instruction& i : *code) {
    if (i.address < rip && rip - i.address > kBefore) continue;
    out.push_back({i.address.value, std::move(i.bytes), std::move(i.text)});
  }
  return out;
}

}  // namespace hvd
