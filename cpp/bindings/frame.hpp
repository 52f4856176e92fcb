// frame.hpp -- what runs on this thread now, and under which runtime.
//
// What      A stack of frames for each thread, one for each body that runs; all of them also in one list.
// Why       Nested calls find their runtime, a step that waits for its own run is told so, `stuck` names who hangs.
// Threads   Under the GIL. A frame lies on its thread's C stack.
#pragma once

#include <optional>

#include "bindings.hpp"
#include "cost.hpp"
#include "gil_probe.hpp"
#include "tailrace/sched/worker.hpp"

namespace tailrace::bindings {

struct RuntimeObject;
struct RunBlock;

inline constexpr const char* kBlockingThread = "blocking";  // `thread` of a body in the blocking lane

struct Frame {
  // A step of a run (block, label: its name), a submitted task (task, label: its callable) or, with neither, callbacks.
  Frame(RuntimeObject* runtime, RunBlock* block, PyObject* task, PyObject* label, sched::Worker* worker,
        const char* thread, std::int64_t started_ns);
  // Does a body of this cost let others run beside it, this time? `others`: some are there, or will be.
  bool opens_for(const Cost& cost, GilUse said, bool others);
  // Around the body: `opens` lets others run beside it.
  void enter_body(bool opens);
  bool leave_body();  // true: nobody else came in meanwhile
  // After a body that took `ns`, and was learnt: what a probe has seen of it.
  void learn_released(Cost& cost, std::int64_t ns) const;
  // The body is about to wait, or has waited, for other work: others must be let in whatever was thought of it.
  void begin_wait();
  void end_wait();
  // The body's run has passed its deadline, and the body goes on: another worker runs in its place until it ends.
  void overrun();
  bool is_body() const noexcept { return block != nullptr || task != nullptr; }
  Frame* place() noexcept;  // the frame of the worker whose thread this is; null on other threads
  // Not a destructor: a thread that is ended at interpreter exit unwinds without the GIL and must not touch the list.
  void leave() noexcept;
  Frame(const Frame&) = delete;
  Frame& operator=(const Frame&) = delete;

  RuntimeObject* const runtime;
  RunBlock* const block;
  PyObject* const task;
  PyObject* const label;
  sched::Worker* const worker;  // null on a thread that is not a worker's
  const char* const thread;
  const std::int64_t started_ns;
  const unsigned long ident;
  Frame* const outer;  // on this thread
  Frame* next = nullptr;  // in the list of all
  Frame* previous = nullptr;
  bool innermost = true;
  RunBlock* waits_for = nullptr;  // the run that the body waits for, without a limit

 private:
  void step_aside();
  void step_back();

  sched::Worker* replaced_ = nullptr;
  bool opened_ = false;
  bool probed_ = false;
  bool holds_long_ = false;  // a long body with the gate closed: guests need not spare it
  GilProbe::Seen seen_;
  std::uint64_t gate_ = 0;  // who had the permit when the body began
  int stepped_out_ = 0;
};

// In the child of a fork: the frames of other threads lie on stacks that new threads will get.
void keep_own_frames() noexcept;

extern thread_local Frame* top_frame;
extern Frame* all_frames;

// Around callbacks and log handlers: code of the user's that is no body, but may take long or wait like one. It runs in a
// copy of `context`, or of this thread's: what it sets there is not seen by the next run that ends on this thread.
class UserCode {
 public:
  explicit UserCode(RuntimeObject* runtime, PyObject* context = nullptr);
  void leave();

 private:
  std::optional<Frame> frame_;
  Ref context_;
};

// Does this thread run a body under `runtime`?
bool inside_body_of(const RuntimeObject* runtime) noexcept;

// Whose body this thread runs, in a frame or as a part of an async step; all null if none.
struct RunningBody {
  RuntimeObject* runtime = nullptr;
  PyObject* workflow = nullptr;  // its name; null for a submitted task
  PyObject* label = nullptr;  // the step's name, or the task's callable
};
RunningBody running_body() noexcept;

// New references; null with an exception set.
PyObject* current_runtime();  // None outside of a body
PyObject* current_step();  // (workflow, step), or None

}  // namespace tailrace::bindings
