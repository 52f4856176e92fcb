"""Memory orders: one file names std::atomic, and every order above relaxed carries a tag with a doc line."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

SEAM = "include/tailrace/base/atomic.hpp"
SEAM_ONLY = re.compile(
    r"\bstd\s*::\s*(atomic|memory_order)\w*|\bmemory_order_\w+|\batomic_(thread|signal)_fence\b"
    r"|\b__(atomic|sync)_\w+|#\s*include\s*<atomic>"
)
# An order is a value: `base::acquire`, or the bare word, but not a member or a call such as gate.release().
ORDER = re.compile(r"(?<![\w.])(?<!->)(acquire|release|acq_rel|seq_cst)\b(?!\s*[({<])")
TAG = re.compile(r"\[([A-Z]{1,3}\d{1,3})\]")
# An access without an order is a silent seq_cst.
ACCESS = re.compile(r"(?:\.|->)(load|store|exchange|compare_exchange_\w+|fetch_(?:add|sub|or|and|xor))\s*\(")
NAMES_ORDER = re.compile(r"\b(relaxed|acquire|release|acq_rel|seq_cst|order)\b")
REACH = 4  # lines above the use in which its tag may stand


def split_comments(text: str) -> list[tuple[str, str]]:
    """(code, comment) of every line of a C++ text; strings and character literals are emptied."""
    token = re.compile(r'"(?:\\.|[^"\\\n])*"|(?<!\w)\'(?:\\.|[^\'\\\n])*\'|//[^\n]*|/\*.*?\*/', re.DOTALL)
    code, comment, end = [], [], 0
    for match in token.finditer(text):
        between, word = text[end : match.start()], match.group()
        is_comment = word.startswith(("//", "/*"))
        newlines = "\n" * word.count("\n")
        code.append(between + (newlines if is_comment else '""'))
        comment.append("\n" * between.count("\n") + (word if is_comment else ""))
        end = match.end()
    code.append(text[end:])
    comment.append("\n" * text[end:].count("\n"))
    return list(zip("".join(code).split("\n"), "".join(comment).split("\n"), strict=True))


def sources(cpp: Path) -> dict[str, list[tuple[str, str]]]:
    # Examples are programs of somebody else, who uses the standard's atomics.
    inside = [p for p in cpp.rglob("*") if p.relative_to(cpp).parts[0] != "examples"]
    paths = sorted(p for p in inside if p.suffix in {".hpp", ".cpp", ".h"})
    return {p.relative_to(cpp).as_posix(): split_comments(p.read_text(encoding="utf-8")) for p in paths}


def outside_the_seam(cpp: Path) -> list[str]:
    """Every line but in base/atomic.hpp that names the standard's atomics, orders or fences."""
    return [
        f"{name}:{number}: {code.strip()}"
        for name, lines in sources(cpp).items()
        for number, (code, _) in enumerate(lines, 1)
        if name != SEAM and SEAM_ONLY.search(code)
    ]


def untagged(cpp: Path) -> list[str]:
    """Every order above relaxed without a tag on its line or in the comments of the four lines above."""
    found = []
    for name, lines in sources(cpp).items():
        for index, (code, _) in enumerate(lines):
            if name == SEAM or re.match(r"\s*using\b", code) or not ORDER.search(code):
                continue
            near = "\n".join(comment for _, comment in lines[max(0, index - REACH) : index + 1])
            if not TAG.search(near):
                found.append(f"{name}:{index + 1}: {code.strip()}")
    return found


def without_order(cpp: Path) -> list[str]:
    """Every atomic access that leaves its order to the default."""
    found = []
    for name, lines in sources(cpp).items():
        code = "\n".join(line for line, _ in lines)
        for match in ACCESS.finditer(code):
            depth, own = 1, ""  # the arguments of this access, without those of calls inside them
            for letter in code[match.end() :]:
                depth += {"(": 1, ")": -1}.get(letter, 0)
                own += letter if depth == 1 else ""
                if depth == 0:
                    break
            if not NAMES_ORDER.search(own):
                found.append(f"{name}:{code.count(chr(10), 0, match.start()) + 1}: {match.group(1)}")
    return found


def tags_in_code(cpp: Path) -> dict[str, str]:
    """Each tag that a comment names, with where it is first named."""
    found: dict[str, str] = {}
    for name, lines in sources(cpp).items():
        for number, (_, comment) in enumerate(lines, 1):
            for tag in TAG.findall(comment):
                found.setdefault(tag, f"{name}:{number}: {comment.strip()}")
    return found


def tags_in_docs(text: str) -> list[str]:
    """The tags that have a row of their own (first cell) in docs/memory_orders.md."""
    cells = (line.split("|")[1] for line in text.splitlines() if line.startswith("|"))
    return [tag for cell in cells for tag in TAG.findall(cell)]


def test_only_the_seam_names_standard_atomics_orders_and_fences(repo: Path) -> None:
    found = outside_the_seam(repo / "cpp")
    assert not found, "\n".join(found)


def test_every_order_above_relaxed_has_a_tag(repo: Path) -> None:
    found = untagged(repo / "cpp")
    assert not found, "\n".join(found)


def test_no_atomic_access_leaves_its_order_to_the_default(repo: Path) -> None:
    found = without_order(repo / "cpp")
    assert not found, "\n".join(found)


def test_every_tag_in_the_code_has_one_row_in_the_docs_and_the_other_way_round(repo: Path) -> None:
    code = tags_in_code(repo / "cpp")
    docs = tags_in_docs((repo / "docs" / "memory_orders.md").read_text(encoding="utf-8"))
    undocumented = [where for tag, where in sorted(code.items()) if tag not in docs]
    assert not undocumented, "without a row in docs/memory_orders.md:\n" + "\n".join(undocumented)
    stale = [tag for tag in docs if tag not in code]
    assert not stale, f"rows whose tag no code names: {stale}"
    assert len(docs) == len(set(docs)), "two rows for one tag"


def test_atomics_outside_the_seam_are_found(make_tree: Callable[[dict[str, str]], Path]) -> None:
    cpp = make_tree(
        {
            SEAM: "#include <atomic>\nusing order = std::memory_order;\n",
            "src/sched/a.cpp": '// std::atomic in a comment\nstd::atomic<int> x;\nauto s = "std::atomic";\n',
            "src/sched/b.cpp": "f(memory_order_acquire);\natomic_thread_fence(y);\n__sync_synchronize();\n",
        }
    )
    assert [v.split(": ")[0] for v in outside_the_seam(cpp)] == [
        "src/sched/a.cpp:2",
        "src/sched/b.cpp:1",
        "src/sched/b.cpp:2",
        "src/sched/b.cpp:3",
    ]


def test_an_order_without_a_tag_is_found_and_a_method_of_that_name_is_not(
    make_tree: Callable[[dict[str, str]], Path],
) -> None:
    cpp = make_tree(
        {
            "src/queue/good.cpp": (
                "// [R1] release: pairs with [R2].\n//\n//\n//\nx.store(1, base::release);\n"
                "y.load(base::acquire);  // [R2] acquire: pairs with [R1]\n"
                "/* base::seq_cst\n acquire */ gate.release(); slots->acquire (); base::relaxed;\n"
                "using base::acquire;\n"
            ),
            "src/queue/far.cpp": "// [R3] too far\n\n\n\n\nx.store(1, base::release);\n",
            "src/queue/bare.cpp": 'x.load(base::acquire);\nfetch_add(1, acq_rel); const char* a = "[R9]";\n',
        }
    )
    assert [v.split(": ")[0] for v in untagged(cpp)] == [
        "src/queue/bare.cpp:1",
        "src/queue/bare.cpp:2",
        "src/queue/far.cpp:6",
    ]


def test_an_access_without_an_order_is_found(make_tree: Callable[[dict[str, str]], Path]) -> None:
    cpp = make_tree(
        {
            "src/a.cpp": (
                "x.load();\nx.load(base::relaxed);\np->fetch_add(f(1),\n  base::relaxed);\n"
                "x.store(y.load(base::relaxed));\nx.exchange(f(2));\n"
            )
        }
    )
    assert without_order(cpp) == ["src/a.cpp:1: load", "src/a.cpp:5: store", "src/a.cpp:6: exchange"]


def test_a_tag_counts_as_documented_only_in_the_first_cell_of_a_row(
    make_tree: Callable[[dict[str, str]], Path],
) -> None:
    cpp = make_tree({"src/a.cpp": "// [D1] pairs with\nint a[R9]; /*\n [D2] */\n"})
    assert sorted(tags_in_code(cpp)) == ["D1", "D2"]
    assert tags_in_docs("| tag | x |\n|---|---|\n| [D1] | pairs with [D2] |\nprose [D3]\n") == ["D1"]
