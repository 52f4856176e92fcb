#include "tailrace/pool/shared_segment.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <system_error>

namespace tailrace::pool {

namespace {

constexpr std::uint64_t kMagic = 0x6c6f6f7064726873;  // "shrdpool"
constexpr std::uint32_t kVersion = 1;
constexpr std::size_t kTableAlignment = std::size_t{64} << 10;  // the largest page of the machines we run on
constexpr unsigned kLeastShift = 12;
constexpr unsigned kUsualShift = 16;
constexpr std::uint64_t kFewGranules = 1024;
constexpr std::uint64_t kMostGranules = std::uint64_t{1} << 20;
constexpr unsigned kSeals = F_SEAL_SHRINK | F_SEAL_GROW;
constexpr unsigned kNoExecSeal = 8;  // MFD_NOEXEC_SEAL, from Linux 6.3 on; some systems are set to insist on it

const char* text_of(SharedFault fault) {
  switch (fault) {
    case SharedFault::kNoMemfd:
      return "the descriptor is not a memfd that can be sealed";
    case SharedFault::kUnsealed:
      return "the memfd is not sealed against shrinking";
    case SharedFault::kNoPool:
      return "the memfd holds no shared pool, or a damaged one";
    case SharedFault::kVersion:
      return "the shared pool was made by another version of the library";
    case SharedFault::kFull:
      return "the shared pool has as many participants as there can be";
    case SharedFault::kForeign:
      return "the handle belongs to another pool";
    case SharedFault::kBad:
      return "no pool has made this handle";
    case SharedFault::kStale:
      return "the block of this handle is gone";
    case SharedFault::kReadOnly:
      return "the pool was attached for reading";
    case SharedFault::kClosed:
      return "the pool is closed";
    case SharedFault::kForked:
      return "the process was forked when the shared pool had no slot left";
  }
  return "unknown";
}

[[noreturn]] void fail(const char* what) { throw std::system_error{errno, std::generic_category(), what}; }

unsigned shift_for(std::uint64_t bytes) {
  unsigned shift = kLeastShift;
  while (shift < kUsualShift && (bytes >> shift) > kFewGranules) ++shift;
  while ((bytes >> shift) > kMostGranules) ++shift;
  return shift;
}

std::uint64_t random_id() {
  std::uint64_t id = 0;
  while (id == 0) {
    if (::getrandom(&id, sizeof(id), 0) != sizeof(id)) fail("getrandom");
    id >>= 12;  // exact as a double, and so in JSON
  }
  return id;
}

}  // namespace

SharedPoolError::SharedPoolError(SharedFault fault) : std::runtime_error{text_of(fault)}, fault_{fault} {}

struct SharedSegment::Header {
  struct Fixed {  // written before the descriptor is given to anybody
    std::uint64_t magic;
    std::uint32_t version;
    std::uint32_t granule_shift;
    std::uint64_t granules;
    std::uint64_t id;
  };
  Fixed fixed;
  alignas(base::kCacheLine) SlotWords slots[kSharedSlots];
};

std::size_t SharedSegment::table_bytes() const noexcept {
  const std::size_t bytes = sizeof(Header) + 3 * std::size_t{granules_} * sizeof(SharedLedger::Word);
  return (bytes + kTableAlignment - 1) / kTableAlignment * kTableAlignment;
}

SharedSegment::Header& SharedSegment::header() const noexcept { return *reinterpret_cast<Header*>(tables_); }
SlotWords& SharedSegment::slot(unsigned index) noexcept { return header().slots[index]; }
const SlotWords& SharedSegment::slot(unsigned index) const noexcept { return header().slots[index]; }

void SharedSegment::map() {
  static_assert(SharedLedger::Word::is_always_lock_free && sizeof(Header) <= 4096);
  const auto piece = [this](std::size_t bytes, std::size_t offset, int rights) {
    void* at = ::mmap(nullptr, bytes, rights, MAP_SHARED, file_, static_cast<off_t>(offset));
    if (at == MAP_FAILED) fail("mmap of a shared pool");
    return static_cast<std::byte*>(at);
  };
  tables_ = piece(table_bytes(), 0, PROT_READ | PROT_WRITE);
  reading_ = piece(limit_bytes(), table_bytes(), PROT_READ);
  if (writable_) data_ = piece(limit_bytes(), table_bytes(), PROT_READ | PROT_WRITE);
  auto* words = reinterpret_cast<SharedLedger::Word*>(tables_ + sizeof(Header));
  ledger_ = SharedLedger{{.owners = words,
                          .holds = words + granules_,
                          .sizes = words + 2 * std::size_t{granules_},
                          .slots = header().slots,
                          .granules = granules_,
                          .granule_shift = granule_shift_}};
}

SharedSegment::SharedSegment(std::size_t limit_bytes) {
  if (limit_bytes < kMinSharedBytes || limit_bytes > kMaxSharedBytes) {
    throw std::invalid_argument{"the limit of a shared pool is 4 KiB to 1 TiB, not " + std::to_string(limit_bytes)};
  }
  granule_shift_ = shift_for(limit_bytes);
  granules_ = static_cast<std::uint32_t>((limit_bytes + granule_bytes() - 1) >> granule_shift_);
  id_ = random_id();
  const unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
  file_ = ::memfd_create("tailrace-shared-pool", flags | kNoExecSeal);
  if (file_ < 0 && errno == EINVAL) file_ = ::memfd_create("tailrace-shared-pool", flags);
  if (file_ < 0) fail("memfd_create");
  try {
    if (::ftruncate(file_, static_cast<off_t>(file_bytes())) != 0) fail("ftruncate of a shared pool");
    map();
    header().fixed = {kMagic, kVersion, granule_shift_, granules_, id_};
    if (::fcntl(file_, F_ADD_SEALS, kSeals | F_SEAL_SEAL) != 0) fail("sealing a shared pool");
  } catch (...) {
    release();
    throw;
  }
}

SharedSegment::SharedSegment(int descriptor, bool writable) : writable_{writable} {
  const int seals = ::fcntl(descriptor, F_GET_SEALS);
  if (seals < 0 && errno == EBADF) fail("attaching a shared pool");
  if (seals < 0) throw SharedPoolError{SharedFault::kNoMemfd};
  if ((static_cast<unsigned>(seals) & kSeals) != kSeals) throw SharedPoolError{SharedFault::kUnsealed};
  struct stat status{};
  if (::fstat(descriptor, &status) != 0) fail("attaching a shared pool");
  Header::Fixed fixed{};
  if (::pread(descriptor, &fixed, sizeof(fixed), 0) != sizeof(fixed) || fixed.magic != kMagic) {
    throw SharedPoolError{SharedFault::kNoPool};
  }
  if (fixed.version != kVersion) throw SharedPoolError{SharedFault::kVersion};
  if (fixed.granules == 0 || fixed.granules > kMostGranules || fixed.granule_shift < kLeastShift ||
      fixed.granule_shift > 40 || fixed.id == 0) {
    throw SharedPoolError{SharedFault::kNoPool};
  }
  granule_shift_ = fixed.granule_shift;
  granules_ = static_cast<std::uint32_t>(fixed.granules);
  id_ = fixed.id;
  if (limit_bytes() > kMaxSharedBytes + granule_bytes() || static_cast<std::size_t>(status.st_size) != file_bytes()) {
    throw SharedPoolError{SharedFault::kNoPool};
  }
  file_ = ::fcntl(descriptor, F_DUPFD_CLOEXEC, 3);
  if (file_ < 0) fail("attaching a shared pool");
  try {
    map();
  } catch (...) {
    release();
    throw;
  }
}

SharedSegment::~SharedSegment() { release(); }

void SharedSegment::release() noexcept {
  if (data_ != nullptr) ::munmap(data_, limit_bytes());
  if (reading_ != nullptr) ::munmap(reading_, limit_bytes());
  if (tables_ != nullptr) ::munmap(tables_, table_bytes());
  if (file_ >= 0) ::close(file_);
}

void SharedSegment::discard(std::uint32_t first, std::uint32_t count) noexcept {
  const std::size_t at = table_bytes() + (std::size_t{first} << granule_shift_);
  // A system that cannot do it keeps the pages.
  (void)::fallocate(file_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(at),
                    static_cast<off_t>(std::size_t{count} << granule_shift_));
}

// A descriptor that was inherited or received shares its description, and with it the locks; one opened anew does not.
int SharedSegment::open_locks() const {
  const int locks = ::open(("/proc/self/fd/" + std::to_string(file_)).c_str(), O_RDWR | O_CLOEXEC);
  if (locks < 0) fail("opening a shared pool by /proc/self/fd");
  return locks;
}

void* SharedSegment::anchor(int locks) noexcept {
  void* const at = ::mmap(nullptr, kTableAlignment, PROT_NONE, MAP_SHARED, locks, 0);
  if (at == MAP_FAILED) return nullptr;
  inherit(at, false);
  return at;
}

void SharedSegment::inherit(void* anchor, bool yes) noexcept {
  (void)::madvise(anchor, kTableAlignment, yes ? MADV_DOFORK : MADV_DONTFORK);
}

void SharedSegment::drop_anchor(void* anchor) noexcept { ::munmap(anchor, kTableAlignment); }

bool SharedSegment::try_lock(int locks, unsigned slot) const noexcept {
  struct flock range{};
  range.l_type = F_WRLCK;
  range.l_whence = SEEK_SET;
  range.l_start = slot;
  range.l_len = 1;
  return ::fcntl(locks, F_OFD_SETLK, &range) == 0;
}

void SharedSegment::unlock(int locks, unsigned slot) const noexcept {
  struct flock range{};
  range.l_type = F_UNLCK;
  range.l_whence = SEEK_SET;
  range.l_start = slot;
  range.l_len = 1;
  (void)::fcntl(locks, F_OFD_SETLK, &range);
}

}  // namespace tailrace::pool
