"""Faults of the process: settings, random numbers and standard output are not left alone."""

import os
import random
import time
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tests.faults.catalogue import fault
from tests.subjects.plain_rnn import Direction, PlainRNN

SETTINGS = "settings_of_the_process_are_left_as_they_were"
DRAWS = "a_call_without_dropout_draws_nothing"
SILENT = "nothing_is_printed"
BACKWARD = "backward_leaves_the_process_as_it_was"


@fault(SETTINGS)
class SetsTheDefaultDtype(PlainRNN):
    """A call sets the default dtype."""

    def run_layers(self, x: Tensor, h_0: Tensor) -> tuple[Tensor, Tensor]:
        torch.set_default_dtype(torch.float64)
        return super().run_layers(x, h_0)


@fault(SETTINGS)
class LeavesGradientsOff(PlainRNN):
    """A call leaves the recording of gradients off."""

    def run_layers(self, x: Tensor, h_0: Tensor) -> tuple[Tensor, Tensor]:
        results = super().run_layers(x, h_0)
        torch.set_grad_enabled(False)
        return results


@fault(SETTINGS)
class TakesOneThreadMore(PlainRNN):
    """Each call sets the number of threads to one more."""

    def run_layers(self, x: Tensor, h_0: Tensor) -> tuple[Tensor, Tensor]:
        torch.set_num_threads(torch.get_num_threads() + 1)
        return super().run_layers(x, h_0)


@fault(SETTINGS)
class TakesOneThread(PlainRNN):
    """A call leaves the process with one thread."""

    def run_layers(self, x: Tensor, h_0: Tensor) -> tuple[Tensor, Tensor]:
        torch.set_num_threads(1)
        return super().run_layers(x, h_0)


@fault(SETTINGS, seen="apache/mxnet#19361")
class FlushesSubnormals(PlainRNN):
    """A call leaves subnormals flushed to zero from then on."""

    def run_layers(self, x: Tensor, h_0: Tensor) -> tuple[Tensor, Tensor]:
        results = super().run_layers(x, h_0)
        torch.set_flush_denormal(True)
        return results


@fault(DRAWS)
class SeedsTorch(PlainRNN):
    """A call seeds torch's generator."""

    def run_layers(self, x: Tensor, h_0: Tensor) -> tuple[Tensor, Tensor]:
        torch.manual_seed(0)
        return super().run_layers(x, h_0)


@fault(DRAWS)
class DrawsAMaskForNothing(PlainRNN):
    """A call draws a mask where nothing is dropped."""

    def run_layers(self, x: Tensor, h_0: Tensor) -> tuple[Tensor, Tensor]:
        y, h_n = super().run_layers(x, h_0)
        return y * (torch.rand_like(y) < 2), h_n


@fault(DRAWS)
class SeedsPython(PlainRNN):
    """A call seeds Python's generator."""

    def run_layers(self, x: Tensor, h_0: Tensor) -> tuple[Tensor, Tensor]:
        random.seed(0)
        return super().run_layers(x, h_0)


@fault(DRAWS)
class SeedsNumPy(PlainRNN):
    """A call seeds NumPy's generator."""

    def run_layers(self, x: Tensor, h_0: Tensor) -> tuple[Tensor, Tensor]:
        np.random.seed(0)  # noqa: NPY002
        return super().run_layers(x, h_0)


@fault("dropout_draws_from_torchs_generator_alone")
class SeedsNumPyWithDropout(PlainRNN):
    """Dropout seeds NumPy's generator by torch's."""

    def drop(self, x: Tensor) -> Tensor:
        if self.training and self.dropout:
            np.random.seed(int(torch.randint(2**31, ())))  # noqa: NPY002
        return super().drop(x)


@fault(SILENT)
class Prints(PlainRNN):
    """A call prints."""

    def run_layers(self, x: Tensor, h_0: Tensor) -> tuple[Tensor, Tensor]:
        print(x.shape)
        return super().run_layers(x, h_0)


@fault(SILENT)
class WritesBelowPython(PlainRNN):
    """A call writes to file descriptor 1."""

    def run_layers(self, x: Tensor, h_0: Tensor) -> tuple[Tensor, Tensor]:
        os.write(1, b"step")
        return super().run_layers(x, h_0)


@fault(BACKWARD)
class SeedsInBackward(Direction):
    """Backward seeds torch's generator."""

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        torch.manual_seed(0)
        return Direction.backward(ctx, dy)


@fault(BACKWARD)
class PrintsInBackward(Direction):
    """Backward prints."""

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        print(dy.shape)
        return Direction.backward(ctx, dy)


@fault(SETTINGS, seen="facebookresearch/fairchem#2108")
class SetsThePrecisionOfProducts(PlainRNN):
    """The constructor sets the process's precision of float32 products."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        torch.set_float32_matmul_precision("high")


@fault(SETTINGS)
class TurnsBenchmarksOn(PlainRNN):
    """A call lets cuDNN choose its kernels by benchmarks from then on."""

    def run_layers(self, x: Tensor, h_0: Tensor) -> tuple[Tensor, Tensor]:
        torch.backends.cudnn.benchmark = True
        return super().run_layers(x, h_0)


@fault("a_call_in_a_forked_child_comes_back", seen="pytorch/pytorch#3490")
class HangsInAChild(PlainRNN):
    """A call in a forked child waits for a thread that is in the parent."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.process = os.getpid()

    def run_layers(self, x: Tensor, h_0: Tensor) -> tuple[Tensor, Tensor]:
        while os.getpid() != self.process:
            time.sleep(0.1)
        return super().run_layers(x, h_0)


@fault("a_call_in_a_forked_child_comes_back")
class ForgetsItsWeightsInAChild(PlainRNN):
    """A call in a forked child computes with other weights."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.process = os.getpid()

    def weights_of(self, l: int, d: int) -> list[Tensor]:
        weights = super().weights_of(l, d)
        return weights if os.getpid() == self.process else [w + 1 for w in weights]
