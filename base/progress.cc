#include "base/progress.h"

#include <unistd.h>

#include <cstdio>

#include "base/text.h"

namespace hvd {

Progress::Progress(std::string what, std::uint64_t total_bytes)
    : what_(std::move(what)),
      total_(total_bytes),
      terminal_(::isatty(STDERR_FILENO) == 1),
      start_(std::chrono::steady_clock::now()) {}

Progress::~Progress() {
  if (terminal_) std::fputs("\r\033[K", stderr);
}

void Progress::advance(std::uint64_t bytes) {
  done_ += bytes;
  if (!terminal_) return;
  const auto now = std::chrono::steady_clock::now();
  std::int64_t due = next_show_ns_;
  const std::int64_t elapsed = std::chrono::nanoseconds(now - start_).count();
  // Whoever moves the deadline shows the line, so that threads do not write over each other.
  if (elapsed >= due && next_show_ns_.compare_exchange_strong(due, elapsed + 200'000'000))
    show(now);
}

void Progress::show(std::chrono::steady_clock::time_point now) {
  const double seconds = std::chrono::duration<double>(now - start_).count();
  const std::uint64_t done = done_;
  const double rate = seconds > 0 ? static_cast<double>(done) / seconds : 0;
  std::string line = "\r\033[K" + what_ + ": " + human_size(done) + " of " + human_size(total_);
  if (total_ > 0) line += " (" + std::to_string(done * 100 / total_) + " %)";
  if (rate > 0 && done <= total_) {
    line += ", " + human_size(static_cast<std::uint64_t>(rate)) + "/s, " +
            std::to_string(static_cast<std::uint64_t>(static_cast<double>(total_ - done) / rate)) +
            " s left";
  }
  std::fputs(line.c_str(), stderr);
}

}  // namespace hvd
