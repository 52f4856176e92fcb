// tailrace.hpp -- all that a C++ service needs, under one name: tailrace::Scheduler, Plan, Runner, Run, fork2.
//
// What      The public names. What is not here is inside, and may change between minor versions.
// Why       Folders and namespaces follow the layers (base, sched, flow ...), which are of no concern to who embeds them.
// Threads   As said at each class; docs/embedding.md has them in one table.
// Checked   cpp/examples, built and run by ctest and, against the installed package, by tests/test_cpp_package.py.
#pragma once

#include "tailrace/base/clock.hpp"
#include "tailrace/base/outcome.hpp"
#include "tailrace/flow/plan.hpp"
#include "tailrace/flow/run_handle.hpp"
#include "tailrace/flow/runner.hpp"
#include "tailrace/flow/step.hpp"
#include "tailrace/pool/memory_pool.hpp"
#include "tailrace/sched/cancel.hpp"
#include "tailrace/sched/fork_join.hpp"
#include "tailrace/sched/item.hpp"
#include "tailrace/sched/parallel.hpp"
#include "tailrace/sched/permit_lane.hpp"
#include "tailrace/sched/raisable.hpp"
#include "tailrace/sched/scheduler.hpp"
#include "tailrace/sched/task_group.hpp"
#include "tailrace/sched/timers.hpp"
#include "tailrace/sched/worker.hpp"

namespace tailrace {

// The workers, and the ways in.
using base::kNever;
using sched::GateOptions;
using sched::GateStatistics;
using sched::Item;  // work as an object, for every lane
using sched::PermitLane;  // what Scheduler::make_gate returns
using sched::Priority;
using sched::RaisableItem;
using sched::Scheduler;
using sched::SchedulerOptions;
using sched::Timer;
using sched::Worker;

// Fork-join.
using sched::CancelSource;
using sched::CancelToken;
using sched::fork2;
using sched::fork_join;
using sched::fork_n;
using sched::ForOptions;
using sched::parallel_for;
using sched::parallel_reduce;
using sched::Place;
using sched::TaskGroup;
using sched::With;

// Fork-join: from any thread, by fork_join; inside it at the place where the body runs.
using sched::fork2;
using sched::fork_join;
using sched::parallel_for;
using sched::parallel_reduce;
using sched::Place;
using sched::TaskGroup;

// Memory.
using pool::HugePages;
using pool::MemoryPool;
using pool::PoolExhausted;
using pool::PoolOptions;
using pool::PoolStatistics;

// Plans and runs.
using base::Outcome;
using flow::CycleError;
using flow::NodeIndex;
using flow::Plan;
using flow::PlanBuilder;
using flow::Runner;
using flow::RunnerOptions;
using flow::RunnerStatistics;
using flow::RunOptions;
using Run = flow::RunHandle;  // what Runner::start returns
using RunState = flow::Run;  // the optional second parameter of a step: is my run still wanted?

}  // namespace tailrace
