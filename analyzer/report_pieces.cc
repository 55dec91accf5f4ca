#include "analyzer/report_pieces.h"

#include <algorithm>

#include "base/text.h"
#include "guest/x86_64/disassemble.h"

namespace hvd {

using nlohmann::json;

json finding_json(const char* severity, const char* rule, const std::string& text, json evidence) {
  return {{"severity", severity},
          {"rule", rule},
          {"text", printable(text)},
          {"evidence", std::move(evidence)}};
}

std::string utc(std::time_t seconds) {
  std::tm parts{};
  if (::gmtime_r(&seconds, &parts) == nullptr) return {};
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

json registers_json(const Registers& registers) {
  json out = json::object();
  for (std::size_t i = 0; i < kRegCount; ++i) {
    const auto reg = static_cast<Reg>(i);
    if (const auto value = registers.get(reg)) out[std::string(name_of(reg))] = hex(*value);
  }
  return out;
}

json registers_json(const Arm64Registers& registers) {
  json out{{"sp", hex(registers.sp)}, {"pc", hex(registers.pc)}, {"pstate", hex(registers.pstate)}};
  for (std::size_t i = 0; i < registers.x.size(); ++i)
    out["x" + std::to_string(i)] = hex(registers.x[i]);
  return out;
}

json code_json(const ReadMemory& read, VirtAddr rip, std::uint64_t into) {
  constexpr std::uint64_t kBefore = 42;  // bytes before RIP, as Linux's own "Code:" line
  constexpr std::uint64_t kAfter = 22;
  constexpr std::uint64_t kMaxFunction = 64u << 10;
  std::uint64_t before = into <= kMaxFunction ? into : 0, after = kAfter;
  // The function may end with its page, and the next one need not be mapped.
  if (!read(rip, after)) after = std::min(after, kPageSize - rip.value % kPageSize);
  auto bytes = read(rip - before, before + after);
  if (!bytes) before = 0, bytes = read(rip, after);
  json out = json::array();
  if (!bytes) return out;
  auto code = disassemble(rip - before, *bytes, bytes->size());
  const auto is_rip = [rip](const Instruction& i) { return i.address == rip; };
  if (code && std::none_of(code->begin(), code->end(), is_rip)) {
    code = disassemble(rip, ByteView(*bytes).subspan(before), after);
  }
  if (!code) return out;
  for (const Instruction& i : *code) {
    if (i.address < rip && rip - i.address > kBefore) continue;
    out.push_back(
        {{"address", hex(i.address.value)}, {"bytes", hex_bytes(i.bytes)}, {"text", i.text}});
  }
  return out;
}

}  // namespace hvd
