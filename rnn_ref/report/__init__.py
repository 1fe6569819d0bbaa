"""One page of what the other commands wrote: `rnn-ref report FILE... -o report.html`.

`inputs` reads and checks the files, `growth` computes how errors grow with steps, `plots`
draws, `drawing` makes SVG of it that takes on the page's colours, and `page` fills in
`page.html`, which has the words.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

from rnn_ref.recording.record import UnusableFile, require_no_record
from rnn_ref.report.inputs import read_files

LIBRARIES = ("matplotlib", "jinja2")
"""What the page is made with, beside this package."""


def write_report(files: Sequence[str], out: str) -> None:
    """Write one self-contained HTML file of what verify, record, compare, matrix, bench wrote.

    Of two records, the first is the old one. Raises UnusableFile, in one sentence, for a file
    that is none of these, for a file that can't be written, or where a library is missing.
    """
    for library in LIBRARIES:
        if importlib.util.find_spec(library) is None:
            raise UnusableFile(
                f"report: {library} is not installed (it comes with rnn_ref[report])"
            )
    inputs = read_files(files)
    require_no_record(out)
    if any(same_file(out, file) for file in files):
        raise UnusableFile(f"refusing to overwrite {out}: the report is made of it")
    from rnn_ref.report.page import page

    text = page(inputs)
    try:
        # A file name or a message may have half a surrogate pair, which no UTF-8 has.
        Path(out).write_bytes(text.encode("utf-8", errors="replace"))
    except OSError as error:
        raise UnusableFile(f"{out!r} can't be written: {error.strerror}") from error


def same_file(one: str, other: str) -> bool:
    """Tell whether two paths lead to one file."""
    return Path(one).exists() and Path(one).samefile(other)
