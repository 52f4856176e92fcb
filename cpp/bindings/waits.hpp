// waits.hpp -- waits that could never end are refused.
//
// What      Follows from a run to the bodies in it that wait for other runs, and from there on.
// Why       A step that waits for its own run, by whatever detour, would hang for ever without a word.
// Threads   Under the GIL, so nobody begins to wait meanwhile.
#pragma once

#include "run_block.hpp"

namespace tailrace::bindings {

// Can `wanted` end only after a body that this thread is in, or after the async step `token` (may be null), which is
// about to wait for it? Then true, with Deadlock set: whoever closes a circle is told so and does not wait, thus there is
// none among the others.
bool refuse_deadlock(RunBlock* wanted, const TokenObject* token);

}  // namespace tailrace::bindings
