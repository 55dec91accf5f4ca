// The bytes of a QMP peer behind its greeting: replies to one command, whatever they are.
#include <nlohmann/json.hpp>

#include "capture/qemu/qmp.h"
#include "tests/fuzz/fuzz.h"
#include "tests/support/fake_qmp.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace hvd;
  const std::string text = to_string(fuzz::bytes_of_input(data, size));
  FakeQmpPeer peer([&](FakeQmpPeer::Connection& connection) {
    connection.greet();
    if (!connection.receive().is_discarded()) connection.send(text);
  });
  auto client = QmpClient::connect(peer.path());
  if (client)
    (void)client->execute("query-status", nlohmann::json::object(), std::chrono::seconds(5))
        .has_value();
  return 0;
}
