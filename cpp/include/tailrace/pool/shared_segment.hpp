// shared_segment.hpp -- one memfd, mapped once, and what tells who of its users is alive.
//
// What      `SharedSegment` makes a memfd of a fixed, sealed size, or maps one that somebody else has made, after it has
//           looked at all that could make the mapping unsafe. `try_lock` locks a slot; `anchor` keeps its lock for as long
//           as this process has a certain page mapped.
// Why       The file has no name, so nothing is left behind by whatever death. The lock on a slot is the kernel's (an open
//           file description lock): it falls with its process, however that ends; no process id is read, so none can be
//           taken for another's, in whatever namespace its process lives. The description is held by a mapping and by no
//           descriptor: nobody can close it by mistake, and no child inherits it.
// Threads   The tables: any thread, any process. Slots: one thread of a process at a time.
// Safety    Sizes and offsets are read once, checked, and kept outside of the segment. The seals promise that a mapping
//           never loses its pages; a file without them is refused.
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>

#include "tailrace/pool/shared_ledger.hpp"

namespace tailrace::pool {

// What is wrong with a descriptor, a handle or a call.
enum class SharedFault : std::uint8_t {
  kNoMemfd,  // not a memfd, or one that cannot be sealed
  kUnsealed,  // it could shrink under its mappings
  kNoPool,  // no segment of this library, or damaged
  kVersion,  // made by another version of it
  kFull,  // as many participants as there can be
  kForeign,  // a handle of another pool
  kBad,  // a handle that no pool has made
  kStale,  // its block is gone
  kReadOnly,  // this pool was attached for reading
  kClosed,
  kForked,  // this process was forked when all slots were taken
};

class SharedPoolError : public std::runtime_error {
 public:
  explicit SharedPoolError(SharedFault fault);
  SharedFault fault() const noexcept { return fault_; }

 private:
  SharedFault fault_;
};

// What a slot is used as.
enum class SlotUse : std::uint64_t { kNone, kParticipant, kCourier };

inline constexpr std::size_t kMinSharedBytes = std::size_t{4} << 10;
inline constexpr std::size_t kMaxSharedBytes = std::size_t{1} << 40;

class SharedSegment {
 public:
  explicit SharedSegment(std::size_t limit_bytes);  // throws std::invalid_argument, std::system_error
  SharedSegment(int descriptor, bool writable);  // throws SharedPoolError, std::system_error
  ~SharedSegment();
  SharedSegment(const SharedSegment&) = delete;
  SharedSegment& operator=(const SharedSegment&) = delete;

  SharedLedger& ledger() noexcept { return ledger_; }
  const SharedLedger& ledger() const noexcept { return ledger_; }
  SlotWords& slot(unsigned index) noexcept;
  const SlotWords& slot(unsigned index) const noexcept;

  std::uint64_t id() const noexcept { return id_; }
  std::size_t granule_bytes() const noexcept { return std::size_t{1} << granule_shift_; }
  std::uint32_t granules() const noexcept { return granules_; }
  std::size_t limit_bytes() const noexcept { return std::size_t{granules_} << granule_shift_; }
  bool writable() const noexcept { return writable_; }
  int descriptor() const noexcept { return file_; }  // without locks: it may be given to others

  // The start of the data: null where it is attached for reading; and the same in pages that cannot be written.
  std::byte* data() const noexcept { return data_; }
  std::byte* data_for_reading() const noexcept { return reading_; }

  // Gives the pages of free granules back to the system.
  void discard(std::uint32_t first, std::uint32_t count) noexcept;

  // A description for locks, apart from that of `descriptor`, which others may have. Throws std::system_error.
  int open_locks() const;
  bool try_lock(int locks, unsigned slot) const noexcept;
  void unlock(int locks, unsigned slot) const noexcept;
  // Keeps what is locked on `locks` beyond its close, until `drop_anchor`; null where the system refuses. A child of a fork
  // has the anchors that are told so.
  static void* anchor(int locks) noexcept;
  static void inherit(void* anchor, bool yes) noexcept;
  static void drop_anchor(void* anchor) noexcept;

 private:
  struct Header;
  std::size_t table_bytes() const noexcept;
  std::size_t file_bytes() const noexcept { return table_bytes() + limit_bytes(); }
  Header& header() const noexcept;
  void map();
  void release() noexcept;

  int file_ = -1;
  bool writable_ = true;
  std::byte* tables_ = nullptr;  // the header, the slots, the ledger's tables
  std::byte* data_ = nullptr;
  std::byte* reading_ = nullptr;
  std::uint64_t id_ = 0;
  std::uint32_t granules_ = 0;
  unsigned granule_shift_ = 0;
  SharedLedger ledger_;
};

}  // namespace tailrace::pool
