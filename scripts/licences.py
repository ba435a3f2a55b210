#!/usr/bin/env python3
"""Holds what stands in Cargo.lock against .deny.toml: every licence allowed, no package twice unless excused.

Reads what `cargo metadata` says, for all platforms; does what `cargo deny` would, without building it first."""

import collections
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def is_allowed(expression, allowed):
    """Whether an SPDX expression can be satisfied by allowed licences. Old crates write / for OR."""
    tokens = re.findall(r"\(|\)|[^()\s]+", expression.replace("/", " OR "))

    def either():
        result = both()
        while tokens and tokens[0] == "OR":
            tokens.pop(0)
            right = both()
            result = result or right
        return result

    def both():
        result = one()
        while tokens and tokens[0] == "AND":
            tokens.pop(0)
            right = one()
            result = result and right
        return result

    def one():
        token = tokens.pop(0)
        if token == "(":
            result = either()
            if tokens.pop(0) != ")":
                raise ValueError(expression)
            return result
        if tokens and tokens[0] == "WITH":
            tokens.pop(0)
            token += " WITH " + tokens.pop(0)
        return token in allowed

    try:
        result = either()
    except IndexError:
        return False
    return result and not tokens


def is_excused(name, version, skips):
    """Whether a skip like `digest@0.10` covers this version."""
    for skip in skips:
        skip_name, _, skip_version = skip["crate"].partition("@")
        if skip_name == name and (version + ".").startswith(skip_version + "."):
            return True
    return False


def faults(packages, rules):
    allowed = set(rules["licenses"]["allow"])
    versions = collections.defaultdict(list)
    for package in packages:
        name, version, licence = package["name"], package["version"], package["license"]
        versions[name].append(version)
        if not licence:
            yield f"{name} {version} does not name a licence (file: {package['license_file']})"
        elif not is_allowed(licence, allowed):
            yield f"{name} {version}: {licence} is not on the list"
    skips = rules["bans"]["skip"]
    for name, found in versions.items():
        if len([v for v in found if not is_excused(name, v, skips)]) > 1:
            yield f"{name} is there more than once: {', '.join(found)}"
    for skip in skips:
        name, _, version = skip["crate"].partition("@")
        if len(versions[name]) < 2 or not any(is_excused(name, v, [skip]) for v in versions[name]):
            yield f"{skip['crate']} needs no excuse any more"


def main():
    # The checker is checked first.
    some = {"MIT", "ISC", "Apache-2.0"}
    assert is_allowed("GPL-3.0 OR (MIT AND ISC)", some) and is_allowed("Apache-2.0/MIT", some)
    assert not is_allowed("GPL-3.0 AND MIT", some) and not is_allowed("Apache-2.0 WITH LLVM-exception", some)
    assert not is_allowed("MIT AND (ISC OR", some) and not is_allowed("(GPL-3.0 OR MIT) AND AGPL-3.0", some)

    metadata = subprocess.run(
        ["cargo", "metadata", "--locked", "--format-version", "1"], cwd=ROOT, check=True, stdout=subprocess.PIPE
    )
    packages = json.loads(metadata.stdout)["packages"]
    rules = tomllib.loads((ROOT / ".deny.toml").read_text())
    found = list(faults(packages, rules))
    for fault in found:
        print(fault, file=sys.stderr)
    print(f"{len(packages)} packages, {len(found)} faults")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
