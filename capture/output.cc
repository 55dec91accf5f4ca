#include "capture/output.h"

namespace hvd {

Result<std::unique_ptr<ByteSink>> open_sink(const std::string& output, Stop stop) {
  constexpr std::string_view kScheme = "tcp://";
  if (output.starts_with(kScheme)) {
    const HostPort to = HVD_TRY(HostPort::parse(output.substr(kScheme.size())));
    auto sink = HVD_TRY(SocketSink::connect(to, std::chrono::seconds(30), std::move(stop)));
    return std::unique_ptr<ByteSink>(std::move(sink));
  }
  auto sink = HVD_TRY(FileSink::create(output));
  return std::unique_ptr<ByteSink>(std::move(sink));
}

}  // namespace hvd
