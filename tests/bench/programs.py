"""What is measured, built and named."""

import os
import subprocess

import machine
import servers

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))


def build(options, needs_appliance):
    """Release builds of the load generator and, where one is needed and none given, of the appliance; their paths."""
    packages = []
    if options.bench is None:
        packages += ["-p", "luxchat-bench"]
    if options.appliance is None and needs_appliance:
        packages += ["-p", "luxchat-appliance"]
    cargo = os.environ.get("CARGO", "cargo")
    if packages:
        subprocess.run([cargo, "build", "--release", *packages], cwd=ROOT, check=True)
    release = os.path.join(os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target")), "release")
    names = (options.appliance or os.path.join(release, "luxchat-appliance"),
             options.bench or os.path.join(release, "luxchat-bench"))
    return [os.path.abspath(name) for name in names]


def versions(options, labels):
    """Lines of Markdown about what is measured; installs Synapse where that is still to be done."""
    lines = []
    if "appliance" in labels:
        commit = machine.output_of("git", "-C", ROOT, "describe", "--always", "--dirty")
        lines.append(f"- appliance: {commit}, release build")
    if any(label.startswith("synapse") for label in labels):
        synapse = servers.install_synapse(options.venv)
        python = os.path.join(options.venv, "bin", "python")
        sqlite = machine.output_of(python, "-c", "import sqlite3; print(sqlite3.sqlite_version)")
        lines.append(f"- Synapse {synapse} on {machine.output_of(python, '--version')}, SQLite {sqlite}")
    if "synapse-postgresql" in labels:
        postgres = os.path.join(servers.postgresql_folder(), "postgres")
        lines.append(f"- {machine.output_of(postgres, '--version')}")
    return lines
