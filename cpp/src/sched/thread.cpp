#include "tailrace/sched/thread.hpp"

#include <system_error>

#include "tailrace/base/clock.hpp"

namespace tailrace::sched {

struct Thread::Shared {
  std::string name;
  std::function<void()> body;
  base::atomic<std::uint32_t> finished{0};
};

Thread::Thread(std::string name, std::function<void()> body) : shared_{std::make_shared<Shared>()} {
  shared_->name = std::move(name);
  shared_->body = std::move(body);
  auto* handed_over = new std::shared_ptr<Shared>{shared_};
  if (const int error = pthread_create(&handle_, nullptr, &Thread::enter, handed_over); error != 0) {
    delete handed_over;
    throw std::system_error{error, std::generic_category(), "tailrace: cannot start a thread"};
  }
}

// Not noexcept: CPython ends threads at interpreter exit by unwinding them, and that must pass through here.
void* Thread::enter(void* argument) {
  const std::unique_ptr<std::shared_ptr<Shared>> handed_over{static_cast<std::shared_ptr<Shared>*>(argument)};
  Shared& shared = **handed_over;
  pthread_setname_np(pthread_self(), shared.name.substr(0, 15).c_str());
  shared.body();
  // [T1] release: all that the body did is seen by who joins. Pairs with [T2].
  shared.finished.store(1, base::release);
  base::StdAtomics::unpark(shared.finished, 1);
  return nullptr;
}

// [T2] acquire: pairs with [T1].
bool Thread::finished() const noexcept { return shared_->finished.load(base::acquire) != 0; }

const std::string& Thread::name() const noexcept { return shared_->name; }

bool Thread::join_until(std::int64_t deadline_ns) {
  if (pthread_equal(handle_, pthread_self()) != 0) return false;  // a body that stops what it runs on
  // [T2] acquire: pairs with [T1].
  while (shared_->finished.load(base::acquire) == 0) {
    const std::int64_t left = deadline_ns - base::monotonic_ns();
    if (left <= 0) return false;
    base::StdAtomics::park(shared_->finished, 0, left);
  }
  pthread_join(handle_, nullptr);
  return true;
}

}  // namespace tailrace::sched
