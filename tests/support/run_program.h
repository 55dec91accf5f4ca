// Runs another program and keeps what it printed.
#pragma once

#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <string>

namespace hvd {

struct ProgramOutput {
  int exit_code = -1;
  std::string text;
};

/// Through the shell, standard error included.
inline ProgramOutput run_program(const std::string& command) {
  ProgramOutput out;
  std::FILE* pipe = ::popen(("( " + command + " ) 2>&1").c_str(), "r");
  if (!pipe) return out;
  std::array<char, 4096> buffer{};
  while (const std::size_t got = std::fread(buffer.data(), 1, buffer.size(), pipe))
    out.text.append(buffer.data(), got);
  const int status = ::pclose(pipe);
  out.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return out;
}

inline bool have_program(const std::string& name) {
  return run_program("command -v " + name).exit_code == 0;
}

}  // namespace hvd
