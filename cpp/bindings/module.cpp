// module.cpp -- the module `tailrace._core`: its types, one line each.
#include "bindings.hpp"
#include "context.hpp"
#include "frame.hpp"
#include "future.hpp"
#include "map_job.hpp"
#include "pybind.hpp"

using namespace tailrace::bindings;

namespace {

py::object checked(PyObject* made) {
  if (made == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(made);
}

}  // namespace

PYBIND11_MODULE(_core, m, py::multiple_interpreters::not_supported()) {
  m.doc() = "The compiled core of tailrace.";
  m.attr("__version__") = TAILRACE_VERSION;
  m.attr("SYNC") = 0;
  m.attr("ASYNC") = 1;
  m.attr("BLOCKING") = 2;
  make_core_section();
  find_context_layout();
  bind_step(m.ptr());
  bind_plan(m.ptr());
  bind_run(m.ptr());
  bind_token(m.ptr());
  bind_future(m.ptr());
  bind_completions(m.ptr());
  bind_awaiting(m.ptr());
  bind_runtime(m.ptr());
  bind_executor(m.ptr());
  bind_native(m.ptr());
  bind_activity(m.ptr());
  bind_shared(m.ptr());
  bind_map(m.ptr());
  bind_pool(m.ptr());
  m.def(
      "set_hooks",
      [](py::object make_error, py::object launch_async, py::object open_wait, py::object make_record,
         py::object log_failure, py::object name_thread, py::object forget_thread) {
        hooks = {make_error.release().ptr(),   launch_async.release().ptr(), open_wait.release().ptr(),
                 make_record.release().ptr(),  log_failure.release().ptr(),  name_thread.release().ptr(),
                 forget_thread.release().ptr()};
      },
      py::kw_only(), py::arg("make_error"), py::arg("launch_async"), py::arg("open_wait"), py::arg("make_record"),
      py::arg("log_failure"), py::arg("name_thread"), py::arg("forget_thread"),
      "Give the core the Python functions it calls back.");
  m.def("after_fork", &after_fork, "In the child of a fork: forget what belonged to other threads.");
  m.def(
      "current_runtime", [] { return checked(current_runtime()); },
      "The runtime of the step that runs on this thread, or None.");
  m.def(
      "current_step", [] { return checked(current_step()); },
      "(workflow, step) of the step that runs on this thread, or None.");
}
