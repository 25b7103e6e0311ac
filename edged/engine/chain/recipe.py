# SPDX-License-Identifier: Apache-2.0
"""``recipe.json``: what a build has found, as a small file by which another box builds without searching again."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from edged.engine.chain.calibrating import Subject
from edged.engine.evaluate.result import Evaluation
from edged.engine.int8.plan import QuantizationPlan
from edged.engine.store import RECIPE_FILE
from edged.errors import EngineError

SCHEMA: Literal["edged.recipe/1"] = "edged.recipe/1"


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """The file.

    Attributes:
        model_id: the spec's id.
        model: digest of the prepared graph with its spec and labels.
        plan: which nodes are in INT8, and the scales.
        share: part of the multiply-adds in INT8, 0 to 1.
        method: how most ranges were found.
        images: how many they were taken from.
        calibration: digest of these images and of all else that the ranges depend on.
        judged_by: digest of the images and labels that judged it.
        evaluation: how good it was there, on ``device``.
        bound: points that it might lose.
        agreement_bound: see `edged.engine.manifest.Manifest`.
        chosen: the precision that was the fastest there, and why.
        why: reasons, a sentence each.
        device: what it was found on.
        edged: version that found it.
        schema: of this file.
    """

    model_id: str
    model: str
    plan: QuantizationPlan
    share: float
    method: str
    images: int
    calibration: str
    judged_by: str
    evaluation: Evaluation
    bound: float
    agreement_bound: float | None
    chosen: str
    why: tuple[str, ...]
    device: str
    edged: str
    schema: Literal["edged.recipe/1"] = SCHEMA


def encode(recipe: Recipe) -> bytes:
    """The file's content; equal recipes give equal bytes."""
    return msgspec.json.format(msgspec.json.encode(recipe, order="sorted"), indent=1) + b"\n"


def read_recipe(path: Path, subject: Subject) -> Recipe:
    """Read a recipe and hold it against the graph that it is for.

    Raises:
        EngineError: it is missing, broken, or made for another model.
    """
    where = str(path)
    try:
        recipe = msgspec.json.decode(path.read_bytes(), type=Recipe)
    except OSError as error:
        raise EngineError(
            f"the recipe cannot be read: {error.strerror}", where=where, remedy="correct --recipe"
        ) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise EngineError(
            f"is no recipe: {error}", where=where, remedy=f"give the {RECIPE_FILE} that lies beside an INT8 engine"
        ) from error
    if recipe.model_id != subject.job.spec.id or recipe.model != subject.job.prepared.digest:
        raise EngineError(
            f"the recipe is for another model: {recipe.model_id} ({recipe.model[:12]}), here {subject.job.spec.id} "
            f"({subject.job.prepared.digest[:12]})",
            where=where,
            remedy="give the same ONNX file, labels and model spec as where it was made, or build with --calibrate",
        )
    recipe.plan.check(subject.digest, subject.view, where)
    return recipe
