#include "guest/x86_64/disassemble.h"

#include <capstone/capstone.h>

namespace hvd {

Result<std::vector<Instruction>> disassemble(VirtAddr at, ByteView code, std::size_t limit) {
  csh handle = 0;
  if (cs_open(CS_ARCH_X86, CS_MODE_64, &handle) != CS_ERR_OK) {
    return Error{ErrorCode::kUnsupported, "the disassembler does not start"};
  }
  cs_option(handle, CS_OPT_SYNTAX, CS_OPT_SYNTAX_ATT);
  cs_insn* instructions = nullptr;
  const std::size_t count =
      cs_disasm(handle, u8(code), code.size(), at.value, limit, &instructions);
  std::vector<Instruction> out;
  for (std::size_t i = 0; i < count; ++i) {
    const cs_insn& in = instructions[i];
    const ByteView bytes = std::as_bytes(std::span(in.bytes, in.size));
    std::string text = in.mnemonic;
    if (in.op_str[0] != '\0') text += std::string(" ") + in.op_str;
    out.push_back({VirtAddr{in.address}, Bytes(bytes.begin(), bytes.end()), std::move(text)});
  }
  if (instructions) cs_free(instructions, count);
  cs_close(&handle);
  return out;
}

}  // namespace hvd
