# SPDX-License-Identifier: Apache-2.0
"""Mistakes in the settings file, the environment and on the command line."""

from __future__ import annotations

from support.mistakes import SECRET, URI, Case, engine, source

CASES: dict[str, Case] = {
    "no settings file": Case(
        78, ("FOLDER/edged.toml: settings file not found", "give the right path with --config"), settings=None
    ),
    "settings are a folder": Case(
        78,
        ("FOLDER/edged.toml: settings file cannot be read", "directory", "--config"),
        settings=None,
        prepare=lambda folder: (folder / "edged.toml").mkdir(),
    ),
    "broken TOML": Case(
        78, ("FOLDER/edged.toml:11: not valid TOML", "correct this line"), settings=engine("max_batch 1")
    ),
    "unfinished TOML": Case(78, ("edged.toml:15: not valid TOML",), settings=('bind = ""\n', 'bind = ["ipc:\n')),
    "settings are no text": Case(
        78, ("edged.toml:1: not UTF-8 text",), settings=None, files={"edged.toml": b"\x80\x81\x82"}
    ),
    "unknown section": Case(
        78, ("edged.toml:10: unknown key egine", "did you mean engine?"), settings=("[engine]", "[egine]")
    ),
    "unknown key in a section": Case(
        78,
        ("edged.toml:11: unknown key engine.max_bacth", "did you mean engine.max_batch?"),
        settings=engine("max_bacth = 1"),
    ),
    "unknown key of a source": Case(
        78,
        ("edged.toml:8: unknown key sources[0].fsp", "did you mean sources[0].fps?"),
        settings=(URI, f"{URI}\nfsp = 5"),
    ),
    "wrong type": Case(
        78,
        ('edged.toml:11: engine.max_batch: expected a whole number, found the text "1"', "remove the quotes"),
        settings=engine('max_batch = "1"'),
    ),
    "out of range": Case(
        78, ("edged.toml:11: engine.slots: expected at most 8, found 99",), settings=engine("slots = 99")
    ),
    "no batch": Case(
        78, ("edged.toml:11: engine.max_batch: expected at least 1, found 0",), settings=engine("max_batch = 0")
    ),
    "unknown choice": Case(
        78,
        ("edged.toml:4: daemon.isolation: expected 'process' or 'thread', found the text \"container\"",),
        settings=('"process"', '"container"'),
    ),
    "same source name twice": Case(
        78,
        ("edged.toml:9: sources[1].name: another source is already called north",),
        settings=(URI, f'{URI}\n[[sources]]\nname = "north"\n{URI}'),
    ),
    "source name with a slash": Case(
        78, ("edged.toml:6: sources[0].name: expected text of the form",), settings=('"north"', '"north/side"')
    ),
    "no sources": Case(
        78,
        ("edged.toml: there is no source", "add [[sources]] with a name and a uri"),
        settings=(f'[[sources]]\nname = "north"\n{URI}\n', ""),
    ),
    "source without uri": Case(78, ("edged.toml:5: sources[0].uri is missing", "add it"), settings=(f"{URI}\n", "")),
    "no model": Case(
        78, ("edged.toml: model.spec is missing", "add [model]"), settings=('[model]\nspec = "shapes.toml"\n', "")
    ),
    "unknown scheme": Case(
        78,
        ("source north: ftp://***@host/clip.mp4: unknown source scheme ftp://", "known are file://"),
        settings=source(f"ftp://me:{SECRET}@host/clip.mp4"),
    ),
    "no scheme": Case(
        78, ("source north: ", "starts with a scheme", "known are file://"), settings=source("/videos/clip.mp4")
    ),
    "camera without host": Case(
        78, ("source north: ", "rtsp URL without a usable host", "write rtsp://"), settings=source("rtsp://:8554/x")
    ),
    "unknown option of a source": Case(
        78,
        ("source north: ", "unknown option 'colour'", "known are fps"),
        settings=source("synthetic://shapes?colour=1"),
    ),
    "bad option of a source": Case(
        78,
        ("source north: ", "option size is 'wide', which is not width x height", "write synthetic://"),
        settings=source("synthetic://shapes?size=wide"),
    ),
    "unknown variable": Case(
        78, ("EDGED_TYPO: unknown environment variable", "unset this one"), environ={"EDGED_TYPO": "1"}
    ),
    "unknown variable of a section": Case(
        78,
        ("EDGED_ENGINE__MAX_BACTH: unknown environment variable", "did you mean EDGED_ENGINE__MAX_BATCH?"),
        environ={"EDGED_ENGINE__MAX_BACTH": "1"},
    ),
    "bad variable": Case(
        78,
        ('EDGED_ENGINE__DEVICE: expected a whole number, found the text "first"',),
        environ={"EDGED_ENGINE__DEVICE": "first"},
    ),
    "variable that is no list": Case(
        78, ("EDGED_SOURCES: expected a JSON list", "for example"), environ={"EDGED_SOURCES": f"rtsp://a:{SECRET}@h"}
    ),
    "unknown command": Case(64, ("unknown command rum", "did you mean run?"), command=("rum",)),
    "no command": Case(64, ("unknown flag --config", "flags follow the command"), command=("--config", "edged.toml")),
    "unknown flag": Case(64, ("unknown flag --exit-when-don for edged",), flags=("--exit-when-don",)),
    "unknown setting": Case(
        64, ("unknown flag --engine.devise", "did you mean --engine.device?"), flags=("--engine.devise", "1")
    ),
    "flag without value": Case(
        64, ("flag --engine.device needs a value", "write --engine.device=VALUE"), flags=("--engine.device",)
    ),
    "bad value of a flag": Case(
        78, ('--engine.device: expected at least 0, found the text "-1"',), flags=("--engine.device=-1",)
    ),
}
