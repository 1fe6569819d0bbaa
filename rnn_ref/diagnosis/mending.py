"""Tell what follows from wrong numbers: a property that holds as soon as these are put right.

A mended subject does all that the subject does, but its calls return what torch.nn.RNN
returns for the same weights and arguments. This decides which entry a failure stands in;
no verdict depends on it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
from torch.nn.utils import rnn
from torch.nn.utils.rnn import PackedSequence

from rnn_ref.cases.case import Case
from rnn_ref.cases.problem import Problem
from rnn_ref.diagnosis.draws import Sizes, far_as
from rnn_ref.diagnosis.reclassing import derived
from rnn_ref.judging.judge import Judge, fails
from rnn_ref.judging.properties import Property
from rnn_ref.judging.subject import Subject
from rnn_ref.process.settings import restore, restoring_settings, settings


def holds_with(subject: Subject, judge: Judge, declared: Property, case: Case) -> bool:
    """Tell whether a property holds for a case if it is judged with another subject."""
    return not fails(replace(judge, subject=subject), declared, case)


@dataclass(frozen=True)
class Recording(Subject):
    """A subject that notes the problems for which modules are built."""

    built: list[Problem] = field(default_factory=list)

    def build(self, problem: Problem, **options: Any) -> torch.nn.Module:
        """Make a module, and note its problem."""
        self.built.append(problem)
        return super().build(problem, **options)


def forms_built(judge: Judge, declared: Property, case: Case) -> list[Case]:
    """List the forms of the networks that a property builds for a case, as cases."""
    recording = Recording(**vars(judge.subject))
    fails(replace(judge, subject=recording), declared, case)
    return list(dict.fromkeys(form_of(problem, case) for problem in recording.built))


def form_of(p: Problem, case: Case) -> Case:
    """Give a case the form of a problem. Sizes do not belong to it, unless they are far out."""
    T, N, I = p.input.shape
    form = replace(
        case,
        nonlinearity=p.nonlinearity, L=p.L, D=p.D, bias=p.bias, dtype=p.dtype,
        h_0=p.h_0 is not None, variant="",
    )  # fmt: skip
    return far_as(Sizes(T, N, I, p.H), form)


def mended_network(subject: Subject) -> Subject:
    """Make a subject whose network returns the right results, for arguments left as they were."""
    return replace(subject, factory=partial(made, subject.factory, torch.nn.RNN, torch.Tensor))


def mended_arguments(subject: Subject) -> Subject:
    """Make a subject whose network is called with copies of its arguments, laid out plainly."""
    return replace(subject, factory=partial(copying, subject.factory))


def copying(factory: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Make a module that is called with copies."""
    module = factory(*arguments, **options)
    if isinstance(module, torch.nn.Module):
        if "forward" in vars(module):  # no class has a say in it
            module.register_forward_pre_hook(copied, with_kwargs=True)
        else:
            module.__class__ = with_copies(type(module))
    return module


def with_copies(of: type) -> type:
    """Make a class whose calls get copies, those that it makes itself too."""

    def forward(self: Any, *arguments: Any, **named: Any) -> Any:
        arguments, named = copied(self, arguments, named)
        return of.forward(self, *arguments, **named)  # type: ignore[attr-defined]

    return derived(of, with_copies, {"forward": forward})


def mended_gradients(subject: Subject) -> Subject:
    """Make a subject whose backward pass gets copies of what is handed to it, laid out plainly."""
    return replace(subject, factory=partial(handing_copies, subject.factory))


def handing_copies(factory: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Make a module whose backward pass gets copies."""
    module = factory(*arguments, **options)
    if isinstance(module, torch.nn.Module):
        module.register_forward_hook(copying_gradients)
    return module


class WithCopies(torch.autograd.Function):
    """Hands a tensor on, and a copy of its gradient back."""

    @staticmethod
    def forward(_: Any, results: torch.Tensor) -> torch.Tensor:
        """Hand a tensor on."""
        return results.view_as(results)

    @staticmethod
    def backward(_: Any, gradient: torch.Tensor) -> Any:
        """Hand a copy back, laid out plainly."""
        return gradient.clone(memory_format=torch.contiguous_format)


def copying_gradients(*call: Any) -> Any:
    """Let a call's backward pass get copies of the gradients of two tensors."""
    results = call[-1]
    if not (isinstance(results, tuple) and all(isinstance(r, torch.Tensor) for r in results)):
        return None
    return tuple(WithCopies.apply(each) for each in results)  # type: ignore[no-untyped-call]


def copied(_: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
    """Copy tensors, each into memory of its own."""

    def copy(a: Any) -> Any:
        plain = torch.contiguous_format
        return a.clone(memory_format=plain) if isinstance(a, torch.Tensor) else a

    return tuple(map(copy, arguments)), {name: copy(a) for name, a in named.items()}


def mended_packed(subject: Subject) -> Subject:
    """Make a subject whose network returns the right results for packed sequences."""
    return replace(subject, factory=partial(made, subject.factory, torch.nn.RNN, PackedSequence))


def mended_packing(subject: Subject) -> Subject:
    """Make a subject whose sequences are packed by torch; what unpacks and pads is its own."""
    right = {name: getattr(rnn, name) for name in ("pack_sequence", "pack_padded_sequence")}
    return replace(subject, packing=SimpleNamespace(**{**vars(subject.packing), **right}))


def mended_cell(subject: Subject) -> Subject:
    """Make a subject whose cell returns the right results; all else is as it was."""
    cell: Any = subject.cell
    return replace(subject, cell=partial(made, cell, torch.nn.RNNCell, torch.Tensor))


def mended_settings(subject: Subject) -> Subject:
    """Make a subject whose network leaves settings and its own mode as they were, and is right.

    Calls change settings midway; what then goes wrong in the same call is put right as well.
    """
    restored = replace(subject, factory=partial(restoring, subject.factory))
    return mended_packed(mended_network(restored))


def restoring(factory: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Make a module, and calls of it, that put the settings back."""
    with restoring_settings():
        module = factory(*arguments, **options)
    if isinstance(module, torch.nn.Module):
        if "forward" in vars(module):  # no class has a say in it
            module.register_forward_pre_hook(note_settings)
            module.register_forward_hook(put_settings_back)
        else:
            module.__class__ = restored(type(module))
    return module


def restored(of: type) -> type:
    """Make a class whose calls put the settings, and the module's mode, back."""

    def forward(self: Any, *arguments: Any, **named: Any) -> Any:
        training = self.training
        with restoring_settings():
            try:
                return of.forward(self, *arguments, **named)  # type: ignore[attr-defined]
            finally:
                self.training = training

    return derived(of, restored, {"forward": forward})


def note_settings(module: Any, _: Any) -> None:
    """Keep the settings before a call."""
    module.__dict__["settings_before"] = settings()


def put_settings_back(module: Any, *_: Any) -> None:
    """Put the settings back after a call."""
    restore(module.settings_before)


class Mend(NamedTuple):
    """What puts the results of calls right: torch's module, where the input is of a type.

    It is made with the arguments and the options of the module itself.
    """

    right: type
    of: type
    arguments: tuple[Any, ...] = ()
    options: tuple[tuple[str, Any], ...] = ()


def made(
    factory: Callable[..., Any], right: type, of: type, *arguments: Any, **options: Any
) -> Any:
    """Make a module whose calls with one type of input end in right results."""
    module = factory(*arguments, **options)
    if isinstance(module, torch.nn.Module):
        mend = Mend(right, of, arguments, tuple(options.items()))
        if "forward" in vars(module):  # no class has a say in it
            module.register_forward_pre_hook(note_call, with_kwargs=True)
            module.register_forward_hook(partial(put_right, mend))
        else:
            module.__class__ = righted(type(module), mend)
    return module


def righted(of: type, mend: Mend) -> type:
    """Make a class whose calls end in right results, whatever hooks made of their arguments.

    The module's own code gets copies, as it may write into them.
    """

    def forward(self: Any, *arguments: Any, **named: Any) -> Any:
        noted = arguments, named, torch.get_rng_state()
        arguments, named = copied(self, arguments, named)
        results = of.forward(self, *arguments, **named)  # type: ignore[attr-defined]
        mended = right_results(mend, self, noted, results)
        return results if mended is None else mended

    return derived(of, partial(righted, mend=mend), {"forward": forward})


def returns_nan(subject: Subject, judging: Callable[[Subject], object]) -> bool:
    """Tell whether calls return NaN, in judging a subject, where torch's module does not."""
    lost: list[bool] = []

    def noting(of: type, mend: Mend) -> type:
        def forward(self: Any, *arguments: Any, **named: Any) -> Any:
            noted = arguments, named, torch.get_rng_state()
            results = of.forward(self, *arguments, **named)  # type: ignore[attr-defined]
            right = right_results(mend, self, noted, results)
            lost.append(right is not None and has_nan(results) and not has_nan(right))
            return results

        return derived(of, partial(noting, mend=mend), {"forward": forward})

    def noted(*arguments: Any, **options: Any) -> Any:
        module = subject.factory(*arguments, **options)
        mend = Mend(torch.nn.RNN, torch.Tensor, arguments, tuple(options.items()))
        if isinstance(module, torch.nn.Module):
            module.__class__ = noting(type(module), mend)
        return module

    judging(replace(subject, factory=noted))
    return any(lost)


def has_nan(results: Any) -> bool:
    """Tell whether one of several tensors has NaN."""
    return any(bool(r.isnan().any()) for r in results if isinstance(r, torch.Tensor))


def note_call(module: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
    """Keep a call's arguments, and the state of torch's generator, for the right results."""
    noted = module.__dict__.setdefault("noted_calls", [])  # a call may call the module itself
    noted.append((arguments, named, torch.get_rng_state()))
    return copied(module, arguments, named)


def put_right(mend: Mend, module: Any, _: Any, results: Any) -> Any:
    """Return right results in place of a call's, or None to leave them."""
    return right_results(mend, module, module.__dict__["noted_calls"].pop(), results)


def right_results(mend: Mend, module: Any, noted: Any, results: Any) -> Any:
    """Compute what torch's module returns; None if the input is of another type, or it raises."""
    arguments, named, generator = noted
    if not isinstance(arguments[0] if arguments else named.get("input"), mend.of):
        return None
    try:
        with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
            warnings.simplefilter("ignore")
            torch.set_rng_state(generator)
            # The module's own code may draw less than torch's, and later calls go on from there.
            torch.manual_seed(int(torch.randint(2**62, ())))
            mended = called_right(mend, module, arguments, named)
    except (AttributeError, RuntimeError, ValueError, TypeError):
        return None
    mended = in_dtype_of(results, mended)
    return mended if forms(mended) == forms(results) else None


def called_right(mend: Mend, module: Any, arguments: Any, named: dict[str, Any]) -> Any:
    """Call torch's module with a module's weights."""
    skeleton = mend.right(*mend.arguments, **{**dict(mend.options), "device": "meta"})
    skeleton.train(module.training)
    weights = {name: getattr(module, name) for name, _ in skeleton.named_parameters()}
    return torch.func.functional_call(skeleton, weights, arguments, named)


def refusing_h_0(subject: Subject) -> Subject:
    """Make a subject that refuses an h_0 as torch does, of an input that torch takes."""
    return replace(subject, factory=partial(made_to_check, subject.factory))


def made_to_check(factory: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Make a module whose h_0 is checked."""
    module = factory(*arguments, **options)
    if isinstance(module, torch.nn.Module) and "forward" not in vars(module):
        mend = Mend(torch.nn.RNN, object, arguments, tuple(options.items()))
        module.__class__ = checking_h_0(type(module), mend)
    return module


def checking_h_0(of: type, mend: Mend) -> type:
    """Make a class whose calls raise what torch's raise for their h_0."""

    def forward(self: Any, input: Any, hx: Any = None) -> Any:
        with torch.no_grad(), torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if takes(mend, self, input):
                called_right(mend, self, (input, hx), {})
        return of.forward(self, input, hx)  # type: ignore[attr-defined]

    return derived(of, partial(checking_h_0, mend=mend), {"forward": forward})


def takes(mend: Mend, module: Any, input: Any) -> bool:
    """Tell whether torch takes an input, without an h_0."""
    try:
        called_right(mend, module, (input,), {})
    except (AttributeError, IndexError, RuntimeError, ValueError, TypeError):
        return False
    return True


def in_dtype_of(results: Any, mended: Any) -> Any:
    """Bring what torch returns under autocast, in a lower dtype, to the dtype of the results.

    Elsewhere the results' dtype is torch's, or they are wrong: those are left.
    """
    if not (isinstance(results, tuple) and len(results) == len(mended) == 2):
        return mended
    output, h_n = mended
    if h_n.dtype not in LOWER or not isinstance(results[1], torch.Tensor):
        return mended
    dtype = results[1].dtype
    data = output.data if isinstance(output, PackedSequence) else output
    raised = data.to(dtype)
    output = output._replace(data=raised) if isinstance(output, PackedSequence) else raised
    return output, h_n.to(dtype)


LOWER = (torch.bfloat16, torch.float16)
"""The dtypes in which calls under autocast compute."""


def forms(results: Any) -> Any:
    """List shapes and dtypes of a tensor, or of several."""
    if isinstance(results, PackedSequence):
        return forms(results.data), results.batch_sizes.tolist(), results.sorted_indices is None
    if isinstance(results, tuple):
        return [forms(each) for each in results]
    return (results.shape, results.dtype) if isinstance(results, torch.Tensor) else None
