// Progress: one line on a terminal that says how far long work is, its rate and the time left.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <string>

namespace hvd {

/// Silent unless standard error is a terminal. advance() is cheap and safe from several threads.
class Progress {
 public:
  Progress(std::string what, std::uint64_t total_bytes);
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  ~Progress();  // erases the line

  void advance(std::uint64_t bytes);

 private:
  void show(std::chrono::steady_clock::time_point now);
  const std::string what_;
  const std::uint64_t total_;
  const bool terminal_;
  const std::chrono::steady_clock::time_point start_;
  std::atomic<std::uint64_t> done_{0};
  std::atomic<std::int64_t> next_show_ns_{0};
};

}  // namespace hvd
