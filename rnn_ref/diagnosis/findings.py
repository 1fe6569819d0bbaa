"""Find out more of a failure: which fields of its case matter, and what the fault is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from rnn_ref.arithmetic.dtypes import LOW
from rnn_ref.cases.case import SIZES, Case
from rnn_ref.cases.history import words_of
from rnn_ref.diagnosis.budget import Budget
from rnn_ref.diagnosis.causes import size
from rnn_ref.diagnosis.diagnose import diagnose
from rnn_ref.diagnosis.draws import far_as, sizes_of
from rnn_ref.diagnosis.dropout import about_dropout
from rnn_ref.diagnosis.experiment import Diagnosis, Search
from rnn_ref.diagnosis.fields import fields_that_matter
from rnn_ref.diagnosis.joining import (
    ARGUMENTS,
    CELL,
    GRADIENTS,
    JOINED,
    LATER,
    MEASURED,
    NETWORK,
    PACKED,
    PACKING,
    SETTINGS,
    SPECIAL,
    TANH,
    USES,
)
from rnn_ref.diagnosis.later_calls import about_later_calls, about_unread
from rnn_ref.diagnosis.mending import (
    forms_built,
    holds_with,
    mended_arguments,
    mended_cell,
    mended_gradients,
    mended_network,
    mended_packed,
    mended_packing,
    mended_settings,
    refusing_h_0,
    returns_nan,
)
from rnn_ref.diagnosis.packed_calls import about_packed_calls
from rnn_ref.diagnosis.probes import PROBES, lack
from rnn_ref.diagnosis.putting_back import single
from rnn_ref.diagnosis.reproducer import shown
from rnn_ref.judging.failures import Failure, Kind, SubjectFault
from rnn_ref.judging.judge import Judge
from rnn_ref.judging.properties import Property
from rnn_ref.judging.subject import Subject

LARGEST = size("")
"""The size of no case, larger than that of any."""

QUICK = 64
"""The largest size with which a form that stands for another is diagnosed."""

SECONDS = 2.0
"""How long one diagnosis may take."""


@dataclass
class Explainer:
    """Explains the failures of one process, in at most so many `seconds` together.

    Many properties shrink to the same case, and each case is diagnosed once.
    """

    seconds: float
    known: dict[Case, Diagnosis | None] = field(default_factory=dict)
    tried: dict[Case, Diagnosis | None] = field(default_factory=dict)
    smallest: dict[Any, tuple[int, int]] = field(default_factory=dict)
    later: dict[Case, Diagnosis | None] = field(default_factory=dict)
    packed: dict[Case, Diagnosis | None] = field(default_factory=dict)
    dropout: dict[str, Diagnosis | None] = field(default_factory=dict)

    def findings(
        self, judge: Judge, declared: Property, structure: str, failure: Failure
    ) -> dict[str, Any]:
        """Give what is found out of a failure that has a case, as data."""
        found: dict[str, Any] = {}
        if failure.kind == Kind.NOTHING:
            return of_nothing(judge, declared, structure)
        if not failure.case or failure.kind not in (Kind.NUMBERS, Kind.FACT, Kind.EXCEPTION):
            return found
        budget, case = Budget(self.seconds), Case.parse(failure.case)
        found["uses"] = sorted(uses(declared, case).intersection(JOINED))
        if declared.group == "packing":  # which judges functions, whose calls have no case
            mended = mended_packing(judge.subject)
            found |= {"follows": PACKING} if holds_with(mended, judge, declared, case) else {}
        else:
            with judge.around():
                found["gradients"] = shown(judge.subject, case)
            found |= self.origin(judge, declared, failure, found["gradients"])
            found |= {MEASURED: True} if declared.judges_measured else {}
            found |= of_tanh(judge, declared, case, found)
            if found.get("follows") in (USES, PACKED):
                found["nan"] = returns_nan(
                    judge.subject, lambda s: holds_with(s, judge, declared, case)
                )
            if not is_told(found) and self.seconds > budget.used:
                found |= put_back(judge.subject, lambda s: not holds_with(s, judge, declared, case))
        if judge.case is None and failure.repeatable and self.is_smallest(found, failure.case):
            fields = fields_that_matter(judge, declared, structure, case)
            found |= {"fields": str(fields), "needs": list(fields.needs)}
        self.seconds -= budget.used
        return found

    def is_smallest(self, found: dict[str, Any], line: str) -> bool:
        """Tell whether there is time, and no smaller case of the same origin: one is told of."""
        diagnosis = found.get("diagnosis")
        origin = found.get("follows"), *(diagnosis["sentences"] if diagnosis else ())
        if self.seconds <= 0 or (origin[0] and size(line) >= self.smallest.get(origin, LARGEST)):
            return False
        self.smallest[origin] = size(line)
        return True

    def origin(
        self, judge: Judge, declared: Property, failure: Failure, plain: list[str] | None
    ) -> dict[str, Any]:
        """Give what a failure `follows` from, as data: numbers, or changed settings.

        The NETWORK's numbers have a diagnosis. `plain` says how the plain call of the case is
        wrong, as `shown` does; where it is right, calls of other sizes may be wrong.
        """
        case = Case.parse(failure.case)
        direct = plain is not None and failure.kind == Kind.NUMBERS and declared.group != "cell"
        holds = direct or holds_with(mended_network(judge.subject), judge, declared, case)
        packed = "packed" in uses(declared, case)
        if packed and plain is not None:  # it is called as the plain call is
            holds = holds or holds_with(mended_packed(judge.subject), judge, declared, case)
        if holds:
            forms = [case] if direct else [case, *forms_built(judge, declared, case)]
            with judge.around():
                diagnoses = (self.diagnosis(judge, form) for form in forms)
                known = next(filter(None, diagnoses), None)
            if known:
                told = as_data(known) if known.sentences else self.otherwise(judge, case, known)
                if known.of == "gradients" and (names := written(judge, case)):
                    told |= writing(names)  # what a hypothesis says of them is so by chance
                return {"follows": NETWORK, "diagnosis": told}
            if plain is not None:
                return {"follows": NETWORK}
            if later := self.of_later_calls(judge, case):
                return {"follows": LATER, "diagnosis": as_data(later)}
        if holds and holds_with(mended_arguments(judge.subject), judge, declared, case):
            return {"follows": ARGUMENTS}
        if holds and holds_with(mended_gradients(judge.subject), judge, declared, case):
            return {"follows": GRADIENTS}
        if packed and holds_with(mended_packed(judge.subject), judge, declared, case):
            said = self.of_packed_calls(judge, case)
            return {"follows": PACKED} | ({"diagnosis": as_data(said)} if said else {})
        for dtype in dict.fromkeys(("float32", case.dtype)):  # one of them may be wrong alone
            if declared.group == "dropout" and (said := self.of_dropout(judge, dtype)):
                return {"diagnosis": as_data(said)}
        if judge.subject.cell and holds_with(mended_cell(judge.subject), judge, declared, case):
            return {"follows": CELL}
        if not holds and holds_with(mended_settings(judge.subject), judge, declared, case):
            return {"follows": SETTINGS}
        if "refusals" in declared.needs and (known := self.of_unread_h_0(judge, declared, case)):
            return {"follows": NETWORK, "diagnosis": as_data(known)}
        return {"follows": USES} if holds and failure.kind != Kind.EXCEPTION else {}

    def of_unread_h_0(self, judge: Judge, declared: Property, case: Case) -> Diagnosis | None:
        """Diagnose a plain call that does not read h_0, if only wrong ones are not refused."""
        form = replace(case, h_0=True)
        if "h_0" in judge.without or reads_h_0(judge, form):
            return None
        if not holds_with(refusing_h_0(judge.subject), judge, declared, case):
            return None
        with judge.around():
            known = self.diagnosis(judge, form)
        return known if known and known.sentences else None

    def otherwise(self, judge: Judge, case: Case, known: Diagnosis) -> dict[str, Any]:
        """Say, as data, what else spoils a plain call that no hypothesis explains.

        What the call before left, weights from elsewhere, or an argument that is written into.
        """
        if (later := self.of_later_calls(judge, case)) and later.sentences:
            return as_data(later)
        names = written(judge, case)
        return as_data(known) | (writing(names) if names else {})

    def of_later_calls(self, judge: Judge, case: Case) -> Diagnosis | None:
        """Diagnose the second call of a case's form, once."""
        form = replace(case, seed=0, variant="", loss="both", T=1, N=1, I=1, H=1)
        if form not in self.later and self.seconds > 0:
            with judge.around():
                later = about_later_calls(judge.subject, form)
                told = later and later.sentences
                self.later[form] = later if told else about_unread(judge.subject, form) or later
        return self.later.get(form)

    def of_packed_calls(self, judge: Judge, case: Case) -> Diagnosis | None:
        """Diagnose the packed calls of a case's form, once."""
        form = replace(case, seed=0, variant="", loss="both", T=1, N=1, I=1, H=1, history="")
        if form not in self.packed and self.seconds > 0:
            with judge.around():
                self.packed[form] = about_packed_calls(judge.subject, form)
        return self.packed.get(form)

    def of_dropout(self, judge: Judge, dtype: str) -> Diagnosis | None:
        """Diagnose dropout in a dtype, once."""
        if dtype not in self.dropout and dtype in judge.dtypes:
            with judge.around():
                self.dropout[dtype] = about_dropout(judge.subject, dtype)
        return self.dropout.get(dtype)

    def diagnosis(self, judge: Judge, case: Case) -> Diagnosis | None:
        """Diagnose the plain call of a case; None where that is right, or no time is left.

        What explains the fullest network, and this case too, is preferred: a fault has many
        faces in smaller ones.
        """
        form = replace(case, seed=0, variant="", loss="both")
        if form not in self.known:
            if self.seconds <= 0:
                return None
            self.known[form] = self.sought(judge, case, form)
        return self.known[form]

    def sought(self, judge: Judge, case: Case, form: Case) -> Diagnosis | None:
        """Diagnose a form by a full network, by a single layer, by itself, and by other forms."""
        subject, full = judge.subject, fullest(judge, form)
        own = sizes_of(form)
        for richer in (full, far_as(own, replace(full, L=1, D=1))):
            if richer != form and (found := left_of(subject, case, self.of_form(subject, richer))):
                return found
        known = self.of_form(subject, form, case)
        if known and len(known.sentences) > 1:
            return left_of(subject, full, known) or known
        if known is None or known.sentences:
            return known
        for other in {d.sentences: d for d in self.tried.values() if d and d.sentences}.values():
            if found := left_of(subject, case, other):
                return found
        return self.of_relu(judge, case, form) or known

    def of_relu(self, judge: Judge, case: Case, form: Case) -> Diagnosis | None:
        """Diagnose a form of tanh, whose errors hide others, by one of relu, which has none."""
        if form.nonlinearity == "relu" or "relu" in judge.without:
            return None
        sizes: dict[str, Any] = {name: min(getattr(form, name), QUICK) for name in SIZES}
        other = self.of_form(judge.subject, replace(form, nonlinearity="relu", **sizes))
        return left_of(judge.subject, case, other)

    def of_form(self, subject: Subject, form: Case, case: Case | None = None) -> Diagnosis | None:
        """Diagnose a form, once, from a case of it."""
        if form not in self.tried:
            self.tried[form] = diagnose(subject, case or form, seconds=SECONDS)
        return self.tried[form]


def reads_h_0(judge: Judge, case: Case) -> bool:
    """Tell whether another h_0 changes the bits of a plain call's results; so if it raises."""
    subject, one = judge.subject, judge.subject.problem(case)
    assert one.h_0 is not None
    other = replace(one, h_0=one.h_0 + one.h_0.dtype.type(1))
    with judge.around():
        try:
            results = [subject.run(problem).results for problem in (one, other)]
        except SubjectFault:
            return True
    pairs = zip(*results, strict=True)
    return not all(np.array_equal(a, b, equal_nan=True) for a, b in pairs)


def written(judge: Judge, case: Case) -> list[str]:
    """Name the arguments that a plain call writes into; none if it raises."""
    subject, problem = judge.subject, judge.subject.problem(case)
    with judge.around(), torch.no_grad():
        leaves = subject.leaves(problem)
        before = {name: leaf.clone() for name, leaf in leaves.items()}
        try:
            subject.forward(problem, subject.build(problem), leaves)
        except SubjectFault:
            return []
    return [name for name, leaf in leaves.items() if not torch.equal(leaf, before[name])]


def writing(names: Sequence[str]) -> dict[str, Any]:
    """Say, as data, into which arguments a call writes."""
    said = f"a call writes into {' and '.join(names)}"
    return {"sentences": [said], "text": "what reads them later reads other numbers"}


def of_tanh(judge: Judge, declared: Property, case: Case, found: dict[str, Any]) -> dict[str, Any]:
    """Tell, as data, whether a failure follows from how far the subject's tanh is off.

    What has a sentence of its own keeps it beside that.
    """
    subject, known = judge.subject, judge.subject.measured
    needed = known.tanh_needed(case.dtype)
    told = bool(found.get("diagnosis", {"sentences": ()})["sentences"])
    if case.nonlinearity != "tanh" or not known.is_off(case.dtype) or needed is None:
        return {}
    wider = replace(subject, tanh=max(subject.tanh, needed))
    if subject.tanh >= needed or not holds_with(wider, judge, declared, case):
        return {}
    sentence = f"tanh is off by up to {known.tanh[case.dtype]} in {case.dtype}"
    said = {"of": "tanh", "sentences": [sentence], "text": f"holds with --tanh {needed:g}"}
    return {TANH: True} | ({} if told else {"follows": TANH, "diagnosis": said})


def of_nothing(judge: Judge, declared: Property, structure: str) -> dict[str, Any]:
    """Tell, as data, whether it is for the network's NaN that nothing was compared."""

    def compares(subject: Subject) -> bool:
        return replace(judge, subject=subject).judge(declared, structure).failure is None

    lost = compares(mended_network(judge.subject)) and returns_nan(judge.subject, compares)
    return {"follows": USES, "nan": True} if lost else {}


def put_back(subject: Subject, fails: Callable[[Subject], bool]) -> dict[str, Any]:
    """Give the one thing of a module that must be put back, as data, if there is one."""
    thing = single(subject, fails)
    return {"single": [*thing]} if thing else {}


def is_told(found: dict[str, Any]) -> bool:
    """Tell whether a plain call has a hypothesis, or something else than the module is to blame."""
    if found.get("follows") in (CELL, SETTINGS):
        return True
    said = found.get("diagnosis", {"sentences": ()})["sentences"]
    return bool(said) and found.get("follows") in (NETWORK, PACKED)


def uses(declared: Property, case: Case) -> set[str]:
    """Name what a property, or a case's history, uses besides plain calls."""
    hooks = ["hook"] if "unwritten.hooks" in declared.promises else []
    special = [SPECIAL] if "unwritten.special" in declared.promises else []
    return {*declared.needs, *words_of(case.history), *hooks, *special}


def of_probe(judge: Judge, name: str, failure: Failure) -> dict[str, Any]:
    """Give what is found out of a capability that a probe found lacking, as data."""
    case = Case.parse(failure.case)
    with judge.around():
        found: dict[str, Any] = {"gradients": shown(judge.subject, case)}

    def lacks(mended: Subject) -> bool:
        with judge.around():
            return lack(PROBES[name], mended, case) is not None

    if lacks(mended_network(judge.subject)) and not lacks(mended_settings(judge.subject)):
        return found | {"follows": SETTINGS}
    return found | put_back(judge.subject, lacks)


def fullest(judge: Judge, form: Case) -> Case:
    """Give a form three layers, two directions and an h_0, where the subject has them.

    Of two layers one can't tell what is so of the last, of the second, or of all but the first.
    What is wrong in a 16-bit dtype is looked for in float32, whose bounds tell more apart.
    """
    sharp = form.dtype in LOW and "float32" in judge.dtypes
    return replace(
        form,
        dtype="float32" if sharp else form.dtype,
        L=form.L if "deep" in judge.without else max(form.L, 3),
        D=form.D if "bidirectional" in judge.without else 2,
        h_0=form.h_0 or "h_0" not in judge.without,
        T=1, N=1, I=1, H=1,
    )  # fmt: skip


def left_of(subject: Subject, case: Case, of: Diagnosis | None) -> Diagnosis | None:
    """Say which sentences of a diagnosis explain another form of case as well; None if none."""
    if of is None or not of.sentences:
        return None
    search = Search(subject, case, of.of, Budget(SECONDS))
    return search.left_of(of) if search.find_wrong() else None


def as_data(diagnosis: Diagnosis) -> dict[str, Any]:
    """Give a diagnosis as data: of what, its sentences, and how well they explain it."""
    d = diagnosis
    data: dict[str, Any] = {"of": d.of, "sentences": list(d.sentences), "text": d.evidence}
    data |= {"base": d.base} if d.base else {}
    return data | ({"kind": d.kind, "limit": d.limit} if d.kind else {})
