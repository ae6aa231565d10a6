"""`art-nip paper`: makes the paper's tables and figures, and goes on where it stopped."""

from __future__ import annotations

import argparse

from art_nip.paper import registry
from art_nip.paper.setting import Setting
from art_nip.utils.frameworks import Framework
from art_nip.utils.optional import require

TINY_LIMIT, LIMIT = 20, 500


def run(arguments: argparse.Namespace) -> int:
    """Make what was asked for, print where it is, and return the exit status."""
    package = {Framework.PYTORCH: "torch", Framework.TENSORFLOW: "tensorflow"}
    require(
        package[Framework(arguments.framework)],
        to=f"make the paper's tables in {Framework(arguments.framework).label}",
        install=f"art-nip[{arguments.framework}]",
    )
    setting = Setting(
        out=arguments.out,
        weights=arguments.weights,
        data=arguments.folder,
        models=tuple(arguments.models) if arguments.models else None,
        limit=arguments.limit or (TINY_LIMIT if arguments.tiny else LIMIT),
        tiny=arguments.tiny,
        framework=arguments.framework,
        seed=arguments.seed,
        verbose=not arguments.quiet,
    )
    for name in arguments.only or registry.EXHIBITS:
        exhibit = registry.get(name)
        results = exhibit.measure(setting)
        table = exhibit.markdown(results)
        setting.out.mkdir(parents=True, exist_ok=True)
        (setting.out / f"{name}.md").write_text(table, encoding="utf-8")
        exhibit.figure(results).savefig(setting.out / f"{name}.png")
        print(table)
        print(f"Written to {setting.out}: {name}.md, {name}.png")
    return 0
