#include <atomic>
#include <thread>

#include "generate/engine.h"
#include "runtime/base/system.h"

namespace octet::generate {

struct EngineThread::Impl {
  explicit Impl(Engine& stepped)
      : engine(stepped), thread([this] {
          using namespace std::chrono_literals;
          name_this_thread("octet-engine");
          // The wait has an end for the sake of requests that wait too long in the queue.
          while (!stop)
            if (!engine.step()) engine.wait(100ms);
          do engine.cancel_all();
          while (engine.step());
        }) {}
  Engine& engine;
  std::atomic<bool> stop = false;
  std::thread thread;
};

EngineThread::EngineThread(Engine& engine) : impl_(std::make_unique<Impl>(engine)) {}

EngineThread::~EngineThread() {
  impl_->stop = true;
  impl_->engine.wake();
  impl_->thread.join();
}

}  // namespace octet::generate
