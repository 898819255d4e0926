"""Images whose given class is probably wrong, by confident learning.

Northcutt, Jiang and Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels", 2021
(https://jair.org/index.php/jair/article/view/12125).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analysis.exploration.data import Indices

Probabilities = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Suspects:
    """Images whose given class is probably wrong, the surest first.

    Attributes:
        rows: int64 [S], of Data.
        suggested: int64 [S], the class that the networks find most probable.
        probability: float64 [S], of the suggested class.
        given: float64 [S], the probability of the given class.
    """

    rows: Indices
    suggested: Indices
    probability: Probabilities
    given: Probabilities


def find_suspects(given: Indices, probabilities: Probabilities, rows: Indices) -> Suspects:
    """Finds the images whose given class is probably wrong, by cleanlab.

    Args:
        given: int64 [n], the given classes.
        probabilities: [n, classes], of a model that was not trained on these images.
        rows: int64 [n], what the images are called in the answer.
    """
    from cleanlab.filter import find_label_issues

    place = np.asarray(
        find_label_issues(given, probabilities, return_indices_ranked_by="self_confidence", n_jobs=1), np.int64
    )
    suggested = probabilities[place].argmax(axis=1)
    # Pruned by counts, an image may be among them whose given class is the most probable all the same.
    place, suggested = place[suggested != given[place]], suggested[suggested != given[place]]
    return Suspects(rows[place], suggested, probabilities[place, suggested], probabilities[place, given[place]])
