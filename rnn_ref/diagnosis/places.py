"""Where in a network a change may be: everywhere, in a direction, in layers, in one run."""

from __future__ import annotations

from typing import NamedTuple

from rnn_ref.diagnosis.changes import Place, Places

KINDS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


BOTH = (", forward direction", ", reverse direction")
"""How the words end for one direction of one layer."""


class Where(NamedTuple):
    """A part of a network, and the words for it, which end a sentence."""

    words: str
    places: Places

    def named(self, sentence: str) -> str:
        """Fill in names of parameters, `{bias_hh}`, and say where.

        The parameters of one direction of one layer have their full names, which say it. In all
        other parts the words are the same whatever the network has besides.
        """
        kinds = {kind: kind for kind in KINDS}
        words = self.words
        if words.endswith(BOTH):
            (place,) = self.places
            kinds = {kind: kind + place.end for kind in KINDS}
            if sentence.format(**kinds) != sentence:
                words = ""
        return sentence.format(**kinds) + words


def everywhere(L: int, D: int) -> Where:
    """Take all directions of all layers."""
    return Where("", frozenset(Place(l, d) for l in range(L) for d in range(D)))


def parts(L: int, D: int) -> list[Where]:
    """List the parts of a network other than the whole, without repetition."""
    seen, kept = {everywhere(L, D).places}, []
    for where in named_parts(L, D):
        if where.places not in seen:
            seen.add(where.places)
            kept.append(where)
    return kept


def named_parts(L: int, D: int) -> list[Where]:
    """List the parts of a network by all their names: in a small one, several are the same."""
    whole = everywhere(L, D)
    found = [
        *(
            Where(f" in the {name} direction", frozenset(p for p in whole.places if p.d == d))
            for d, name in enumerate(("forward", "reverse"))
        ),
        Where(" in the layers above the first", frozenset(p for p in whole.places if p.l > 0)),
        Where(" in the last layer", frozenset(p for p in whole.places if p.l == L - 1)),
        *(
            Where(f" in layer {l}", frozenset(p for p in whole.places if p.l == l))
            for l in range(L)
        ),
        *(
            Where(f" in layer {p.l}, {('forward', 'reverse')[p.d]} direction", frozenset([p]))
            for p in sorted(whole.places)
        ),
        *(
            Where(
                f" in the {name} direction of the layers above the first",
                frozenset(p for p in whole.places if p.l > 0 and p.d == d),
            )
            for d, name in enumerate(("forward", "reverse"))
            if D == 2
        ),
    ]
    return [where for where in found if where.places]


def with_others(where: Where, L: int, D: int, *, above: bool) -> Places:
    """Add the layers above those of a part of the network, or the layers below them."""
    layers = [place.l for place in where.places]
    return where.places | {
        place
        for place in everywhere(L, D).places
        if (place.l > min(layers) if above else place.l < max(layers))
    }
