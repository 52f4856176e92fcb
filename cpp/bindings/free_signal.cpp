// GIL       Not needed.
// Lifetime  The pool calls a signal until it is destroyed; it keeps the pool's state.
#include "free_signal.hpp"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

namespace tailrace::bindings {

FreeSignal::FreeSignal(std::shared_ptr<PoolState> state)
    : state_{std::move(state)}, fd_{eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)} {
  if (fd_ < 0) throw std::system_error(errno, std::generic_category(), "eventfd");
  state_->add(this);
  state_->pool.listen(*this);
}

FreeSignal::~FreeSignal() {
  state_->pool.unlisten(*this);
  state_->remove(this);
  close(fd_);
}

// [MP1] acq_rel, both: of an arming and a free one comes second. If that is the arming, the try that follows it finds what
// was freed; if it is the free, it finds the mark and tells.
void FreeSignal::arm() noexcept { armed_.exchange(true, base::acq_rel); }

void FreeSignal::on_free() noexcept {
  if (armed_.exchange(false, base::acq_rel)) wake();  // [MP1] acq_rel: as above; a mere look could come too early
}

void FreeSignal::wake() noexcept { eventfd_write(fd_, 1); }

void FreeSignal::drain() noexcept {
  eventfd_t count = 0;
  eventfd_read(fd_, &count);
}

}  // namespace tailrace::bindings
