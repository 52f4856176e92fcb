// core_section.hpp -- what stands for the GIL where there is none.
//
// What      `guarded<fn>`, `guarded_dealloc<fn>`: fn as Python may call it. `outside(f)`: around code of the user's.
//           `enter_core`, `leave_core`: for threads of our own. With a GIL all are nothing: `guarded<fn>` is fn itself.
// Why       What the files of this folder read and write was written for one thread at a time. A critical section of
//           CPython's keeps that, and like the GIL it is given up wherever its thread waits: it cannot make a deadlock
//           that the GIL could not. Bodies run outside of it, so they run beside each other.
// Threads   Any, attached to the interpreter. None of it is a guard object: a thread that CPython ends at exit is unwound
//           through its frames, and must not touch the interpreter any more.
// Checked   tests/python/test_free_threading.py; tests/house/test_core_section.py finds an entry that is not guarded.
#pragma once

#include <Python.h>

#include <type_traits>

namespace tailrace::bindings {

#ifdef Py_GIL_DISABLED

inline constexpr bool kHasGil = false;

// One stretch of a thread inside the section.
struct CoreStay {
  void begin();
  void end();

  PyCriticalSection section;
  CoreStay* outer;
  bool entered;  // false: the thread was inside, right here
};

// The innermost stay is interrupted: returns it, or null where there is none.
CoreStay* step_outside();
void step_inside(CoreStay* stay);

void enter_core();
void leave_core();

void make_core_section();

template <auto F>
struct Guard;
template <class R, class... Args, R (*F)(Args...)>
struct Guard<F> {
  static R call(Args... args) {
    CoreStay stay;
    stay.begin();
    if constexpr (std::is_void_v<R>) {
      F(args...);
      stay.end();
    } else {
      R result = F(args...);
      stay.end();
      return result;
    }
  }
};
template <auto F>
inline constexpr auto guarded = &Guard<F>::call;

// An object that dies while its thread waits to come in must not be the collector's any more: it would find the object
// without references, take it for garbage and free it a second time.
template <auto F>
struct DeallocGuard {
  static void call(PyObject* object) {
    if (PyType_IS_GC(Py_TYPE(object))) PyObject_GC_UnTrack(object);
    Guard<F>::call(object);
  }
};
template <auto F>
inline constexpr auto guarded_dealloc = &DeallocGuard<F>::call;

template <class F>
auto outside(F&& f) {
  CoreStay* const stay = step_outside();
  auto result = f();
  step_inside(stay);
  return result;
}

#else

inline constexpr bool kHasGil = true;

inline void enter_core() {}
inline void leave_core() {}
inline void make_core_section() {}

template <auto F>
inline constexpr auto guarded = F;
template <auto F>
inline constexpr auto guarded_dealloc = F;

template <class F>
auto outside(F&& f) {
  return f();
}

#endif

}  // namespace tailrace::bindings
