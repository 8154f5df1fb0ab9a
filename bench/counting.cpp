// See counting.hpp.
#include "counting.hpp"

#include "os/process.hpp"
#include "support/layered_system.hpp"

#include <utility>

namespace bench {

using namespace lockfile;

namespace {

class CountingSystem final : public testing::LayeredSystem {
 public:
  CountingSystem() : LayeredSystem(os::real_system()) {
    before = [this](os::Call call) {
      const bool of_memory = call == os::Call::load || call == os::Call::store || call == os::Call::compare_exchange;
      if (!of_memory) ++calls;
      return 0;
    };
  }
  // Those that cannot fail are not announced.
  std::int64_t process_id() noexcept override {
    ++calls;
    return LayeredSystem::process_id();
  }
  std::int64_t thread_id() noexcept override {
    ++calls;
    return LayeredSystem::thread_id();
  }
  void event_set(int event) noexcept override {
    ++calls;
    LayeredSystem::event_set(event);
  }
  void event_clear(int event) noexcept override {
    ++calls;
    LayeredSystem::event_clear(event);
  }

  std::int64_t calls = 0;
};

}  // namespace

struct CallCounter::Layer {
  CountingSystem system;
  os::Process process{system};
};

CallCounter::CallCounter() : layer_(std::make_unique<Layer>()) { os::Process::set_current(&layer_->process); }

CallCounter::~CallCounter() { os::Process::set_current(nullptr); }

std::int64_t CallCounter::calls() const noexcept { return layer_->system.calls; }

struct FirstSleep::Layer {
  testing::LayeredSystem system{os::real_system()};
  os::Process process{system};
  bool expected = false;
};

FirstSleep::FirstSleep(std::function<void()> tell) : layer_(std::make_unique<Layer>()) {
  layer_->system.before = [layer = layer_.get(), tell = std::move(tell)](os::Call call) {
    if (call == os::Call::wait && std::exchange(layer->expected, false)) tell();
    return 0;
  };
  os::Process::set_current(&layer_->process);
}

FirstSleep::~FirstSleep() { os::Process::set_current(nullptr); }

void FirstSleep::expect() noexcept { layer_->expected = true; }

bool FirstSleep::came() const noexcept { return !layer_->expected; }

}  // namespace bench
