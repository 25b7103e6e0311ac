# SPDX-License-Identifier: Apache-2.0
"""The settings, the model and the sources on disk."""

from __future__ import annotations

from edged.doctor.check import Check
from edged.doctor.finding import CONFIGURATION, Outcome, SkippedError, ok, problem, warning
from edged.doctor.situation import Situation
from edged.errors import ConfigError, EdgedError
from edged.graph.prepare import FOLDER, REPORT_FILE, look_up, spec_digest
from edged.model_file import load_spec
from edged.stages.capture.uri import check_exists, parse


def refused(error: EdgedError, fallback: str) -> Outcome:
    """An error of edged as a problem."""
    text = f"{error.where}: {error.what}" if error.where else error.what
    return problem(error.what, [text], [error.remedy or fallback])


def _settings(situation: Situation) -> Outcome:
    if situation.config is None:
        raise SkippedError("no settings: give --config FILE")
    if situation.refusal is not None:
        return refused(situation.refusal, f"edged check --config {situation.config}")
    count = len(situation.settings().sources)
    return ok(f"{situation.config}: {count} source{'s' * (count != 1)}", [str(situation.config)])


SETTINGS = Check("settings", "the settings file and EDGED_ variables", CONFIGURATION, _settings)


def _model(situation: Situation) -> Outcome:
    path = situation.settings().model.spec
    try:
        spec = load_spec(path)
        digest = spec_digest(spec)
    except ConfigError as error:
        return refused(error, f"edged check --config {situation.config}")
    return ok(f"{spec.id}: {spec.task} from {spec.onnx.name}", [str(path), str(spec.onnx), f"digest {digest[:12]}"])


MODEL = Check("model", "model spec, ONNX file and labels", CONFIGURATION, _model, 30.0)


def _prepared(situation: Situation) -> Outcome:
    spec = situation.spec()
    cache = situation.settings().daemon.state_dir / FOLDER
    try:
        found, digest = look_up(spec, cache), spec_digest(spec)
    except ConfigError as error:
        raise SkippedError("the model cannot be read, see model") from error
    folder = cache / digest
    if found is not None:
        return ok("the prepared graph is there and whole", [found.path])
    try:
        there = (folder / REPORT_FILE).exists()
    except OSError as error:
        return problem(
            "the cache of prepared graphs may not be read",
            [f"{folder}: {error.strerror}"],
            [f"sudo chown -R edged: {cache}", f"sudo chmod -R u+rwX {cache}"],
        )
    if there:
        return warning(
            "the prepared graph is broken or may not be read: every start makes it anew",
            [f"{folder} is not what edged wrote there"],
            [f"rm -r {folder}"],
        )
    return ok("not made yet: the first start does", [f"no {folder}"])


PREPARED = Check("prepared", "the cache of prepared graphs", CONFIGURATION, _prepared, 30.0)


def _sources(situation: Situation) -> Outcome:
    wrong, seen, remedy = [], [], []
    for source in situation.settings().sources:
        try:
            uri = parse(source.uri.get_secret_value())
            check_exists(uri)
        except ConfigError as error:
            wrong.append(f"{source.name}: {error.what}")
            seen.append(f"source {source.name}: {error.where}: {error.what}")
            remedy.append(f"source {source.name}: {error.remedy}")
        else:
            seen.append(f"source {source.name}: {uri.shown}")
    if wrong:
        return problem("; ".join(wrong), seen, remedy)
    return ok(f"{len(seen)} can be opened, as far as their names tell", seen)


SOURCES = Check("sources", "URIs of the sources; files and folders exist and may be read", CONFIGURATION, _sources)
